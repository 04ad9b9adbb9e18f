// [snippet op case]
/// Rows scaled to length 1.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/unit_rows.hpp"

namespace qdistill_test {

inline const bool unit_rows_registered = op_case(
    {.name = "unit_rows",
     .shapes = {{Shape{3, 5}}, {Shape{1, 1}}, {Shape{2, 33}}, {Shape{0, 4}}, {Shape{4, 0}}},  // gradcheck: keep small
     .tolerance = 4e-7,
     .wrong = {{[] { unit_rows(Tensor<float>::zeros({3})); }, "[unit_rows] got shape [3], expected [rows, n]"},
               {[] {
                  unit_rows(Tensor<float>::zeros({3, 2}), 0);
                },
                "[unit_rows] got eps 0"},
               {[] { unit_rows(Tensor<float>{}); }, "[unit_rows] got an undefined tensor"}},
     .bench_shapes = {Shape{701, 1001}},  // also for 1 thread against 2 and 4, bit for bit
     .flops = 701.0 * 1001 * 3,
     .bytes = 701.0 * 1001 * 8,
     .more_shapes = {{Shape{5, 129}}}},
    [](const auto& a) { return unit_rows(a[0]); },
    [](const Args<double>& a) {  // what it should be, by plain loops
      std::vector<double> y = a[0].to_vector();
      const Index rows = a[0].shape()[0], n = a[0].shape()[1];
      for (Index r = 0; r < rows; ++r) {
        double sum = 0;
        for (Index i = r * n; i < (r + 1) * n; ++i)
          sum += y[static_cast<std::size_t>(i)] * y[static_cast<std::size_t>(i)];
        for (Index i = r * n; i < (r + 1) * n; ++i) y[static_cast<std::size_t>(i)] /= std::sqrt(sum);
      }
      return y;
    });

/// Recorded cases of another framework whose "op" is "unit_rows", if the golden folder has any.
inline const bool unit_rows_golden = golden("unit_rows", [](auto g) {
  const auto x = g.leaf("input");
  g.check(unit_rows(x, g->template param<double>("eps", 1e-12)), {{"input", x}});
});

}  // namespace qdistill_test
// [end]
