#include "qdistill/encoding/encoding.hpp"

#include <bit>
#include <catch2/catch.hpp>

#include "qdistill/core/random.hpp"

using namespace qdistill;

namespace {

UniformEncoding uniform(int bits, Index bucket_size, std::vector<std::uint16_t> codes, std::vector<float> scale,
                        std::vector<float> offset) {
  UniformEncoding e;
  e.bits = bits;
  e.bucket_size = bucket_size;
  e.codes = std::move(codes);
  e.scale = std::move(scale);
  e.offset = std::move(offset);
  return e;
}

Encoding small_uniform() { return {{5}, uniform(2, 2, {0, 3, 1, 2, 3}, {3, 6, 1}, {0, -3, 7})}; }

template <class F>
Encoding changed_uniform(F&& change) {
  Encoding e = small_uniform();
  change(e, std::get<UniformEncoding>(e.data));
  return e;
}

}  // namespace

TEST_CASE("decode_ref: linear, buckets with a short last one", "[encoding]") {
  const std::vector<float> expected{0, 3, -1, 1, 8};
  const auto plain = decode_ref(small_uniform());
  const auto shifted = decode_ref(changed_uniform([](Encoding&, UniformEncoding& u) { u.mean = 0.5f; }));
  REQUIRE(plain.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(plain[i] == Approx(expected[i]).margin(3e-7));  // 1/3 and 2/3 are rounded
    CHECK(shifted[i] == Approx(expected[i] + 0.5f).margin(3e-7));
  }
  CHECK(decode_ref({{2, 2}, uniform(1, 0, {0, 1, 1, 0}, {0.5f}, {1})}) == std::vector<float>{1, 1.5f, 1.5f, 1});
  CHECK(decode_ref({{2, 2}, uniform(1, 100, {0, 1, 1, 0}, {0.5f}, {1})}) == std::vector<float>{1, 1.5f, 1.5f, 1});
  CHECK(decode_ref({{0, 3}, uniform(4, 0, {}, {}, {})}).empty());
  CHECK(decode_ref({{}, uniform(16, 0, {65535}, {2}, {1})}) == std::vector<float>{3});
  CHECK(decode_ref({{3}, DenseEncoding{{1, 2, 3}}}) == std::vector<float>{1, 2, 3});
}

TEST_CASE("decode_ref: absmax and absnorm keep the sign in the highest bit", "[encoding]") {
  for (const Scaling scaling : {Scaling::absmax, Scaling::absnorm}) {
    UniformEncoding u = uniform(3, 0, {0, 1, 3, 5, 7}, {6}, {});
    u.scaling = scaling;
    CHECK(u.levels() == 4);
    CHECK(decode_ref({{5}, u}) == std::vector<float>{0, 2, 6, -2, -6});
    u.bits = 1;
    u.codes = {0, 1, 0, 1, 0};
    CHECK_THROWS_AS(decode_ref({{5}, u}), ValueError);
    u.bits = 3;
    u.offset = {0};
    CHECK_THROWS_AS(decode_ref({{5}, u}), ShapeError);
  }
}

TEST_CASE("validate refuses parts that do not fit together", "[encoding]") {
  using E = Encoding;
  using U = UniformEncoding;
  CHECK_NOTHROW(validate(small_uniform()));
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.bits = 0; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.bits = 40; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.bits = -1; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.codes[2] = 4; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.codes.pop_back(); })), ShapeError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.scale.pop_back(); })), ShapeError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.offset.clear(); })), ShapeError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.bucket_size = 3; })), ShapeError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.bucket_size = -2; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([&](E&, U& u) { u.scale[1] = nan; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([&](E&, U& u) { u.offset[0] = inf; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([&](E&, U& u) { u.mean = nan; })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([](E&, U& u) { u.scaling = static_cast<Scaling>(9); })), ValueError);
  CHECK_THROWS_AS(validate(changed_uniform([](E& e, U&) { e.shape = {6}; })), ShapeError);
  CHECK_THROWS_AS(validate(changed_uniform([](E& e, U&) { e.shape = {-5}; })), ShapeError);
  CHECK_THROWS_AS(validate(changed_uniform([](E& e, U&) { e.shape = {Index{1} << 40, Index{1} << 40}; })), ShapeError);
  CHECK_THROWS_AS(validate({{4}, DenseEncoding{{1, 2, 3}}}), ShapeError);
  CHECK_THROWS_WITH(decode_ref(changed_uniform([](E&, U& u) { u.codes[2] = 4; })),
                    "[decode_ref] got code 4 at element 2, expected less than 4 (2 bits)");
}

TEST_CASE("the formula has the same bits on every instruction set", "[encoding]") {
  const RandomStream random{4, 0};
  const Index n = 1000;
  std::vector<float> v(n), alpha(n), beta(n), once(n), vectorised(n), level_once(n), level_vectorised(n);
  for (Index i = 0; i < n; ++i) {
    alpha[i] = random.uniform(3 * i) + 0.01f;
    beta[i] = random.uniform(3 * i + 1) - 0.5f;
    v[i] = beta[i] + alpha[i] * random.uniform(3 * i + 2);
  }
  for (const float divisor : {1.0f, 3.0f, 15.0f, 255.0f, 65535.0f}) {
    const float *pv = v.data(), *pa = alpha.data(), *pb = beta.data();
    float *q = vectorised.data(), *l = level_vectorised.data();
    with_isa([&]() QDISTILL_ISA_BODY {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        l[i] = quantize_level<float>(pv[i], divisor, pa[i], pb[i]);
        q[i] = dequantize<float>(l[i], divisor, pa[i], pb[i]);
      }
    });
    for (Index i = 0; i < n; ++i) {
      // volatile: every step by itself, nothing fused
      volatile float z = v[i] - beta[i];
      z = z / alpha[i];
      z = z * divisor;
      level_once[i] = std::nearbyint(z);
      level_once[i] = std::min(std::max(level_once[i], 0.0f), divisor);
      volatile float ratio = level_once[i] / divisor;
      volatile double product = static_cast<double>(alpha[i]) * ratio;
      once[i] = static_cast<float>(product + beta[i]);
    }
    CHECK(level_vectorised == level_once);
    CHECK(vectorised == once);
  }
  for (const float x : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 0.49999997f, 4194303.5f})
    CHECK(round_half_even(x) == std::nearbyint(x));
  CHECK(dequantize<double>(3, 3, 0.25, -1) == -0.75);
}
