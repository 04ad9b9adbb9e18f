/// The operation of docs/add-an-op.md: registering its OpCase here puts it through the harness of all operations
/// (ops/op_cases.test.cpp). Its files are in docs/example_op/.
#include <catch2/catch.hpp>

#include "unit_rows.case.hpp"

namespace qdistill_test {

TEST_CASE("docs/add-an-op.md: the example operation is among those that are tested", "[docs]") {
  bool found = false;
  for (const OpCase& c : op_cases()) found = found || c.name == "unit_rows";
  CHECK(found);
  CHECK(golden_handlers().count("unit_rows") == 1);
  const auto y = unit_rows(Tensor<float>::from({3, 4, 0, 0}, {2, 2}));
  CHECK(y.to_vector()[0] == Approx(0.6f));
  CHECK(y.to_vector()[3] == 0);
}

}  // namespace qdistill_test
