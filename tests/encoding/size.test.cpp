#include <catch2/catch.hpp>

#include "kinds.hpp"
#include "qdistill/encoding/ledger.hpp"
#include "qdistill/encoding/paper_size.hpp"
#include "qdistill/encoding/product_size.hpp"

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

TEST_CASE("paper_size: a table counts as uniform levels do", "[size]") {
  TableEncoding t;
  t.codes = {0, 0, 0, 0, 1, 1, 2, 4};
  t.points = {1, 2, 3, 4, 5};
  t.bucket_size = 4, t.scale = {1, 2}, t.offset = {0, 0};
  UniformEncoding u;
  u.bits = 2, u.bucket_size = 0, u.codes = {0, 0, 3, 3}, u.scale = {1}, u.offset = {0};
  PaperSize size;
  size.add({{8}, t});
  size.add({{4}, u});
  CHECK(size.counts == std::vector<std::uint64_t>{6, 2, 1, 2, 1, 0, 0, 0});
  CHECK(size.plain_mb() == Approx((8 * 3 + 4 * 2 + 2 * 64) / 8e6).epsilon(1e-15));
  CHECK(size.huffman_mb() == Approx((12 * mean_bit_length(size.counts) + 2 * 64) / 8e6).epsilon(1e-15));
}

TEST_CASE("paper_size: kinds that the first paper does not have count plainly", "[size]") {
  GroupedEncoding g;
  g.group_size = 2, g.widths = {3, 5, 3}, g.codes = {0, 1, 2, 3, 4, 5};
  ProductEncoding p;
  p.block_size = 4, p.codes = {0, 1, 2}, p.codewords.assign(12, 1);
  PaperSize size;
  size.add({{6}, g});
  const double grouped = 2 * (3 + 5 + 3) + 3 * 2 + 8 + 64;  // codes, widths above 3 in 2 bits, their field, two floats
  CHECK(size.plain_mb() == Approx(grouped / 8e6).epsilon(1e-15));
  size.add({{12}, p});
  const double product = 3 * 2 + 12 * 16;
  CHECK(size.plain_mb() == Approx((grouped + product) / 8e6).epsilon(1e-15));
  size.add({{5}, DenseEncoding{{1, 2, 3, 4, 5}, true}});
  CHECK(size.plain_mb() == Approx((grouped + product + 5 * 16) / 8e6).epsilon(1e-15));
  CHECK(size.huffman_mb() == size.plain_mb());
  CHECK(size.full_precision_mb() == Approx(23 * 4 / 1e6).epsilon(1e-15));
  CHECK(size.bits() == 0);
  PaperSize none;
  none.add({{0}, GroupedEncoding{}});
  CHECK(none.plain_mb() == Approx(72 / 8e6).epsilon(1e-15));
}

TEST_CASE("product_size: of encodings, and the number of codewords", "[size]") {
  ProductSize size;
  size.add(kinds::product({8, 12}, 4, 16, 1));
  size.add(kinds::uniform({30}, 4, 0, 1));
  CHECK(size.index_bits == 24 * 4);
  CHECK(size.centroid_bits == 16 * 4 * 16);
  CHECK(size.total_mb() == Approx((96 + 1024 + 30 * 32) / 8.0 / (1 << 20)).epsilon(1e-15));
  CHECK(size.ratio() == Approx(126.0 * 32 / (96 + 1024 + 960)).epsilon(1e-15));
  for (Index blocks = 0; blocks < 5000; ++blocks) {
    const Index k = codeword_count(blocks, 1000), limit = codeword_count(blocks, 100'000);
    CHECK((limit & (limit - 1)) == 0);
    CHECK((limit == 1 || 4 * limit < blocks));
    CHECK(8 * limit >= blocks);
    CHECK(k == std::min<Index>(limit, 1000));
  }
  CHECK(codeword_count(std::numeric_limits<Index>::max(), 65536) == 65536);
  CHECK_THROWS_AS(codeword_count(-1, 256), ValueError);
  CHECK_THROWS_AS(codeword_count(100, 0), ValueError);
  CHECK_THROWS_AS(size.add_product(10, 4, 2), ValueError);
  CHECK_THROWS_AS(size.add_product(10, 0, 2), ValueError);
}

TEST_CASE("ledger: sum and text", "[size]") {
  const Ledger ledger{.codes = 100, .scales = 20, .widths = 7, .full_precision = 3, .header = 1000, .padding = 5};
  CHECK(ledger.total() == 1135);
  const std::string s = to_string(ledger);
  CHECK(s.find("codes                    100 bytes\n") == 0);
  CHECK(s.find("tables") == std::string::npos);
  CHECK(s.find("widths                     7 bytes\n") != std::string::npos);
  CHECK(s.find("total                   1135 bytes\n") != std::string::npos);
}
