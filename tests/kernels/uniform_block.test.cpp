/// Uniform quantization in blocks against kernels/cpu/uniform_formula.hpp, element by element and bit for bit.
#include "qdistill/kernels/cpu/uniform_block.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "qdistill/core/random.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"
#include "threads.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Values and codes of the formula itself. NaN codes are left out (65535), since no integer stands for them.
template <class T>
void plain_formula(const std::vector<T>& v, Index levels, Index bucket, std::vector<T>& values,
                   std::vector<std::uint16_t>& codes) {
  const T divisor = static_cast<T>(levels - 1);
  const std::size_t size = bucket > 0 ? static_cast<std::size_t>(bucket) : v.size();
  values.resize(v.size()), codes.resize(v.size());
  for (std::size_t begin = 0; begin < v.size(); begin += size) {
    const std::size_t end = std::min(v.size(), begin + size);
    T low = v[begin], high = v[begin];
    for (std::size_t i = begin; i < end; ++i) low = v[i] < low ? v[i] : low, high = v[i] > high ? v[i] : high;
    T alpha = high - low;
    if (alpha < T(1e-10)) alpha = 1;
    for (std::size_t i = begin; i < end; ++i) {
      const T level = quantize_level<T>(v[i], divisor, alpha, low);
      values[i] = dequantize<T>(level, divisor, alpha, low);
      codes[i] = level == level ? static_cast<std::uint16_t>(level) : std::uint16_t{65535};
    }
  }
}

template <class T>
bool same_bits(T a, T b) {
  return a != a ? b != b : a == b && std::signbit(a) == std::signbit(b);
}

/// Elements whose values or codes differ from the formula's: values alone, values and codes, in place, on two threads.
template <class T>
Index differences(const std::vector<T>& v, Index levels, Index bucket) {
  const auto n = static_cast<Index>(v.size());
  std::vector<T> want, alone(v.size()), both(v.size()), in_place = v, threaded(v.size());
  std::vector<std::uint16_t> want_codes, codes(v.size());
  plain_formula(v, levels, bucket, want, want_codes);
  kernels::UniformRule<T> rule;
  rule.levels = levels, rule.bucket_size = bucket;
  {
    const Threads one(1);
    kernels::uniform_quantize(Cpu{}, n, v.data(), rule, {.values = alone.data()});
    kernels::uniform_quantize(Cpu{}, n, v.data(), rule, {.values = both.data(), .codes = codes.data()});
    kernels::uniform_quantize(Cpu{}, n, in_place.data(), rule, {.values = in_place.data()});
  }
  const Threads two(2);
  kernels::uniform_quantize(Cpu{}, n, v.data(), rule, {.values = threaded.data()});
  Index count = 0;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const bool same = same_bits(want[i], alone[i]) && same_bits(want[i], both[i]) && same_bits(want[i], in_place[i]) &&
                      same_bits(want[i], threaded[i]);
    count += same && (want_codes[i] == 65535 || want_codes[i] == codes[i]) ? 0 : 1;
  }
  return count;
}

constexpr Index level_counts[] = {2, 3, 4, 8, 16, 17, 64, 65, 128, 200, 256, 257, 4096};

std::vector<float> random(Index n, std::uint64_t stream, float scale, float offset) {
  const RandomStream r{7, stream};
  std::vector<float> v;
  for (Index i = 0; i < n; ++i)
    v.push_back(static_cast<float>(r.normal(static_cast<std::uint64_t>(i))) * scale + offset);
  return v;
}

}  // namespace

TEST_CASE("blocks have the bits of the formula at every size and bucket", "[kernels]") {
  for (const Index n : {0, 1, 2, 7, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1000})
    for (const Index bucket : {0, 7, 32, 33, 64, 100, 128, 160, 256, 300})
      for (const Index levels : {4, 16, 256}) {
        INFO(n << " elements, buckets of " << bucket << ", " << levels << " levels");
        CHECK(differences(random(n, 1, 0.1f, 0.02f), levels, bucket) == 0);
      }
}

TEST_CASE("blocks have the bits of the formula at every scale and offset", "[kernels]") {
  std::uint64_t stream = 0;
  for (const float scale : {1e-45f, 1e-40f, 1e-12f, 1e-10f, 1e-9f, 1e-3f, 0.05f, 1.0f, 1e6f, 1e25f, 1e31f, 1e37f})
    for (const float offset : {0.0f, 1.0f, -1.0f, 3.0f, -2.5f, 1e-6f, -1e4f})
      for (const Index levels : level_counts) {
        INFO("scale " << scale << ", offset " << offset << ", " << levels << " levels");
        CHECK(differences(random(3000, ++stream, scale, offset * scale), levels, 256) == 0);
      }
}

TEST_CASE("blocks have the bits of the formula in a large tensor", "[kernels]") {
  const std::vector<float> v = random(500003, 3, 0.05f, 0.0f);
  for (const Index levels : level_counts)
    for (const Index bucket : {0, 64, 256}) {
      INFO(levels << " levels, buckets of " << bucket);
      CHECK(differences(v, levels, bucket) == 0);
    }
}

TEST_CASE("half way between levels, and the floats next to it, blocks round as the formula does", "[kernels]") {
  for (const Index levels : level_counts)
    for (const float alpha : {1.0f, 0.7f, 3e-5f, 1234.5f, 15.0f, 255.0f})
      for (const float beta : {0.0f, -0.4f, -1.0f, 2.0f, -1e-9f}) {
        std::vector<float> v;
        for (Index begin = 0; begin < 20; ++begin) {  // buckets of 256 with the same range
          const float low = beta * alpha;
          v.push_back(low), v.push_back(low + alpha);
          for (Index i = 0; i < 127; ++i) {
            const Index level = (begin * 127 + i) % (levels - 1);
            const double half = (static_cast<double>(level) + 0.5) / static_cast<double>(levels - 1);
            const float at = static_cast<float>(static_cast<double>(alpha) * half) + low;
            v.push_back(i % 3 ? at : std::nextafter(at, low));
            v.push_back(i % 3 ? std::nextafter(at, low + alpha) : at);
          }
        }
        INFO(levels << " levels, alpha " << alpha << ", beta " << beta * alpha);
        CHECK(differences(v, levels, 256) == 0);
      }
}

TEST_CASE("constant buckets, zeros of either sign, NaN and infinity quantize as by the formula", "[kernels]") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const Index levels : level_counts)
    for (const Index at : {0, 1, 40, 128, 200, 255}) {
      for (const float odd : {nan, inf, -inf, 3.4e38f, -3.4e38f, 1e-45f, -0.0f}) {
        std::vector<float> v = random(700, 5, 0.3f, 0.0f);
        v[static_cast<std::size_t>(256 + at)] = odd;
        INFO(levels << " levels, " << odd << " at " << at);
        CHECK(differences(v, levels, 256) == 0);
        v[static_cast<std::size_t>((256 + at + 77) % 512)] = -odd;
        CHECK(differences(v, levels, 256) == 0);
      }
      for (const float all : {0.0f, -0.0f, 0.1f, -7.0f, 1e-45f, 1e38f, inf, nan})
        CHECK(differences(std::vector<float>(520, all), levels, 256) == 0);
    }
}

TEST_CASE("fused sums of small quotients round as the formula's, which go through double", "[kernels]") {
  if (active_isa() == Isa::baseline) return;
  constexpr Index count = 4;
  const float levels[count] = {1, 2, 3, 4};
  Index wrong = 0, longer = 0;
  for (const float divisor : {129.0f, 200.0f, 255.0f})
    for (int mantissa = 1 << 23; mantissa < 1 << 24; mantissa += 5) {
      const float alpha = static_cast<float>(mantissa) * 0x1p-23f, beta = -alpha;
      float got[count] = {};
      with_isa([&]() QDISTILL_ISA_BODY {
        kernels::detail::LevelValues<float>({.divisor = divisor, .alpha = alpha, .beta = beta}, true)(levels, count,
                                                                                                      got);
      });
      for (Index j = 0; j < count; ++j) wrong += got[j] != dequantize(levels[j], divisor, alpha, beta);
      const auto product = static_cast<double>(alpha) * static_cast<double>(1 / divisor);
      longer += (product - static_cast<double>(alpha)) + static_cast<double>(alpha) != product;
    }
  CHECK(wrong == 0);
  CHECK(longer > 0);
}

TEST_CASE("a minimum that double cannot add to the product is rounded away as in the formula", "[kernels]") {
  for (const int odd : {2, 6}) {  // of the two, one is rounded to even against the minimum
    const float alpha = static_cast<float>((3 << 22) + odd) * 0x1p-23f, beta = -1e-30f;  // 3/4 alpha lies half way
    REQUIRE((std::fma(alpha, 0.75f, beta) != point_value(0.75f, alpha, beta)) == (odd == 2));
    std::vector<float> v(256, 0.75f * alpha);
    v[5] = beta, v[6] = alpha;
    CHECK(differences(v, 5, 256) == 0);
  }
}

TEST_CASE("blocks in double agree with the formula", "[kernels]") {
  const std::vector<float> narrow = random(3000, 9, 0.05f, 0.01f);
  const std::vector<double> v(narrow.begin(), narrow.end());
  for (const Index levels : level_counts)
    for (const Index bucket : {0, 33, 256}) {
      std::vector<double> want, got(v.size());
      std::vector<std::uint16_t> codes;
      plain_formula(v, levels, bucket, want, codes);
      kernels::UniformRule<double> rule;
      rule.levels = levels, rule.bucket_size = bucket;
      kernels::uniform_quantize(Cpu{}, static_cast<Index>(v.size()), v.data(), rule, {.values = got.data()});
      for (std::size_t i = 0; i < v.size(); ++i) CHECK(got[i] == Approx(want[i]).epsilon(1e-12).margin(1e-15));
    }
}

}  // namespace qdistill_test
