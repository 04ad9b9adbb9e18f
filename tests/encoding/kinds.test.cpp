/// Tables of points, widths per group, product codes and float16: what they stand for, and what is refused.
#include "kinds.hpp"

#include <catch2/catch.hpp>

#include "qdistill/encoding/encoding.hpp"

using namespace qdistill;

namespace {

template <class Kind, class F>
Encoding changed(Encoding e, F&& change) {
  change(e, std::get<Kind>(e.data));
  return e;
}

const float nan_value = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("decode_ref: tables of points", "[encoding]") {
  TableEncoding t;
  t.codes = {2, 0, 1, 2, 2};
  t.points = {-1, 0.25f, 3};
  CHECK(t.bits() == 2);
  CHECK(decode_ref({{5}, t}) == std::vector<float>{3, -1, 0.25f, 3, 3});
  t.bucket_size = 2, t.scale = {1, 2, 4}, t.offset = {0, 0.5f, -1};
  CHECK(decode_ref({{5}, t}) == std::vector<float>{3, -1, 1, 6.5f, 11});
  t.bucket_size = 0, t.scale = {2}, t.offset = {1};
  CHECK(decode_ref({{5, 1}, t}) == std::vector<float>{7, -1, 1.5f, 7, 7});
  for (const auto& [points, bits] : {std::pair<Index, int>{1, 1}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {65536, 16}}) {
    t.points.assign(static_cast<std::size_t>(points), 1);
    CHECK(t.bits() == bits);
  }
  CHECK(decode_ref({{0, 3}, TableEncoding{7, {}, {1}, {}, {}}}).empty());
}

TEST_CASE("decode_ref: widths per group", "[encoding]") {
  GroupedEncoding g;
  g.group_size = 2, g.widths = {1, 2, 4}, g.codes = {0, 1, 3, 2, 15, 5}, g.scale = 6, g.offset = -3;
  const std::vector<float> values = decode_ref({{3, 2}, g}), expected{-3, 3, 3, 1, 3, -1};
  REQUIRE(values.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) CHECK(values[i] == Approx(expected[i]).margin(4e-7));  // 2/3, 1/3 are rounded
  g.group_size = 0, g.widths = {4};
  CHECK(decode_ref({{6}, g})[4] == 3);
  CHECK(decode_ref({{0}, GroupedEncoding{}}).empty());
}

TEST_CASE("decode_ref: product codes and float16", "[encoding]") {
  ProductEncoding p;
  p.block_size = 3, p.codes = {1, 0, 1}, p.codewords = {1, 2, 3, -4, -5, -0.5f};
  CHECK(p.count() == 2);
  CHECK(p.bits() == 1);
  CHECK(decode_ref({{3, 3}, p}) == std::vector<float>{-4, -5, -0.5f, 1, 2, 3, -4, -5, -0.5f});
  CHECK(decode_ref({{3}, DenseEncoding{{1, -2.5f, infinity}, true}}) == std::vector<float>{1, -2.5f, infinity});
}

TEST_CASE("validate: parts of the newer kinds that do not fit together", "[encoding]") {
  using E = Encoding;
  using T = TableEncoding;
  const auto table = [](auto&& change) { validate(changed<T>(kinds::table({5, 3}, 5, 4, 1), change)); };
  CHECK_NOTHROW(table([](E&, T&) {}));
  CHECK_THROWS_AS(table([](E&, T& t) { t.points.clear(); }), ValueError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.points.resize(65537); }), ValueError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.codes[3] = 5; }), ValueError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.codes.pop_back(); }), ShapeError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.scale.pop_back(); }), ShapeError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.offset.clear(); }), ShapeError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.scale.clear(), t.offset.clear(); }), ValueError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.bucket_size = -1; }), ValueError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.points[1] = nan_value; }), ValueError);
  CHECK_THROWS_AS(table([](E&, T& t) { t.scale[1] = infinity; }), ValueError);
  CHECK_THROWS_AS(table([](E& e, T&) { e.shape = {5, 4}; }), ShapeError);

  using G = GroupedEncoding;
  const auto grouped = [](auto&& change) { validate(changed<G>(kinds::grouped({6, 4}, 8, 2, 5, 1), change)); };
  CHECK_NOTHROW(grouped([](E&, G&) {}));
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.group_size = 5; }), ShapeError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.group_size = 4; }), ShapeError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.group_size = -8; }), ValueError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.widths.pop_back(); }), ShapeError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.widths[0] = 0; }), ValueError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.widths[0] = 17; }), ValueError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.codes[7] = static_cast<std::uint16_t>(1 << g.widths[0]); }), ValueError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.codes.pop_back(); }), ShapeError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.scale = nan_value; }), ValueError);
  CHECK_THROWS_AS(grouped([](E&, G& g) { g.offset = infinity; }), ValueError);

  using P = ProductEncoding;
  const auto product = [](auto&& change) { validate(changed<P>(kinds::product({6, 4}, 4, 3, 1), change)); };
  CHECK_NOTHROW(product([](E&, P&) {}));
  CHECK_THROWS_AS(product([](E&, P& p) { p.block_size = 0; }), ValueError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.block_size = 5; }), ShapeError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.block_size = 8; }), ShapeError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.codes[5] = 3; }), ValueError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.codes.pop_back(); }), ShapeError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.codewords.clear(); }), ShapeError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.codewords.pop_back(); }), ShapeError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.codewords[2] = 0.1f; }), ValueError);
  CHECK_THROWS_AS(product([](E&, P& p) { p.codewords[2] = infinity; }), ValueError);

  CHECK_THROWS_AS(validate({{2}, DenseEncoding{{1, 0.1f}, true}}), ValueError);
  CHECK_THROWS_AS(validate({{2}, DenseEncoding{{1, 70000}, true}}), ValueError);
  CHECK_NOTHROW(validate({{2}, DenseEncoding{{1, 0.1f}, false}}));
}
