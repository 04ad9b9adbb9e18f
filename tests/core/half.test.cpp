/// Half precision against its definition, for every half and for floats around every rounding boundary.
#include "qdistill/core/half.hpp"

#include <catch2/catch.hpp>
#include <cmath>

namespace qdistill_test {

using namespace qdistill;

namespace {

double value_of(unsigned h) {
  const int exponent = static_cast<int>(h >> 10 & 31u);
  const double fraction = h & 1023u;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return h & 0x8000u ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("every half goes to float and back", "[core]") {
  for (unsigned h = 0; h < 65536; ++h) {
    const auto half = static_cast<std::uint16_t>(h);
    const float f = half_to_float(half);
    if ((h >> 10 & 31u) == 31) {
      const bool infinite = (h & 1023u) == 0;
      CHECK(std::isinf(f) == infinite);
      CHECK(std::isnan(f) == !infinite);
      if (infinite) CHECK(float_to_half(f) == half);
      else CHECK(std::isnan(half_to_float(float_to_half(f))));
      continue;
    }
    if (f != static_cast<float>(value_of(h)) || std::signbit(f) != (h >= 0x8000) || float_to_half(f) != half ||
        !is_half(f))
      FAIL("half " << h << " is " << f);
  }
}

TEST_CASE("float goes to the nearest half, half way to the even one", "[core]") {
  for (unsigned h = 0; h + 1 <= 0x7BFF; ++h) {  // between neighbours, the largest finite half included
    const double low = value_of(h), high = value_of(h + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    REQUIRE(static_cast<double>(middle) == (low + high) / 2);
    const unsigned even = h % 2 ? h + 1 : h;
    const bool right = float_to_half(middle) == even && float_to_half(std::nextafter(middle, 0.0f)) == h &&
                       float_to_half(std::nextafter(middle, 1e9f)) == h + 1 &&
                       float_to_half(-middle) == (even | 0x8000u);
    if (!right) FAIL("between " << h << " and " << h + 1);
  }
  CHECK(float_to_half(65519.0f) == 0x7BFF);
  CHECK(float_to_half(65520.0f) == 0x7C00);
  CHECK(float_to_half(-1e30f) == 0xFC00);
  CHECK(float_to_half(1e-30f) == 0);
  CHECK(std::signbit(half_to_float(float_to_half(-1e-30f))));
  CHECK(round_to_half(0.1f) == 0.0999755859375f);
  CHECK_FALSE(is_half(0.1f));
}

}  // namespace qdistill_test
