#include <catch2/catch.hpp>

#include "qdistill/encoding/ledger.hpp"
#include "qdistill/encoding/paper_size.hpp"

using namespace qdistill;

TEST_CASE("paper_size: the formulas", "[size]") {
  CHECK(size_reduction(4, 256) == Approx(32.0 * 256 / (4 * 256 + 64)).epsilon(1e-15));
  CHECK(size_reduction(8, 0) == 4);
  CHECK(paper_size_mb(1000, 0, 0, 256) == Approx(0.004));
  CHECK(paper_size_mb(10, 2560, 4, 256) == Approx((40 + 1280 + 80) / 1e6).epsilon(1e-15));
  CHECK(paper_size_mb(0, 1000, 8, 0) == Approx(0.001));
  CHECK_THROWS_AS(size_reduction(-1, 256), ValueError);
  CHECK_THROWS_AS(size_reduction(4, -256), ValueError);
  CHECK_THROWS_AS(paper_size_mb(-1, 0, 0, 0), ValueError);
}

TEST_CASE("paper_size: gathered over a model", "[size]") {
  UniformEncoding u;
  u.bits = 2;
  u.bucket_size = 3;
  u.codes = {0, 0, 0, 0, 1, 1, 2, 3};
  PaperSize size;
  size.add({{8}, u});
  size.add({{8}, u});
  size.add({{5}, DenseEncoding{{1, 2, 3, 4, 5}}});
  CHECK(size.huffman_bits() == Approx(1.75).epsilon(1e-15));
  CHECK(size.bits() == 2);
  CHECK(size.plain_mb() == Approx(paper_size_mb(5, 16, 2, 3)).epsilon(1e-15));
  CHECK(size.huffman_mb() == Approx(paper_size_mb(5, 16, 1.75, 3)).epsilon(1e-15));
  CHECK(size.full_precision_mb() == Approx(21 * 4 / 1e6).epsilon(1e-15));
  CHECK(PaperSize{}.huffman_bits() == 0);
}

TEST_CASE("ledger: sum and text", "[size]") {
  const Ledger ledger{.codes = 100, .scales = 20, .full_precision = 3, .header = 1000, .padding = 5};
  CHECK(ledger.total() == 1128);
  const std::string s = to_string(ledger);
  CHECK(s.find("codes                    100 bytes\n") == 0);
  CHECK(s.find("tables") == std::string::npos);
  CHECK(s.find("total                   1128 bytes\n") != std::string::npos);
}
