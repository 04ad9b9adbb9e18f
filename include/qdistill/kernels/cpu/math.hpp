/// exp, log, tanh, sigmoid, erf and relatives on one scalar, for loops inside with_isa().
///
/// The float versions are branch-free, so such a loop vectorises for each instruction set: selections are made on bits,
/// since a conditional around floating-point arithmetic keeps compilers from it. Their coefficients are Chebyshev fits.
/// Errors are about 1 to 3 units in the last place, subnormal results included; NaN passes through, infinities and
/// overflow give the exact limits. They rely on IEEE arithmetic (no -ffast-math). The double versions are the standard
/// library's.
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include "qdistill/core/isa.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::math {

/// condition ? a : b, without a branch.
QDISTILL_INLINE float select(bool condition, float a, float b) noexcept {
  const std::uint32_t mask = condition ? 0xFFFFFFFFu : 0u;
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(a) & mask) | (std::bit_cast<std::uint32_t>(b) & ~mask));
}
QDISTILL_INLINE double select(bool condition, double a, double b) noexcept { return condition ? a : b; }

QDISTILL_INLINE float abs(float x) noexcept {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFu);
}
QDISTILL_INLINE double abs(double x) noexcept { return std::fabs(x); }

/// |x| with the sign bit of s.
QDISTILL_INLINE float copysign(float x, float s) noexcept {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFu) |
                              (std::bit_cast<std::uint32_t>(s) & 0x80000000u));
}
QDISTILL_INLINE double copysign(double x, double s) noexcept { return std::copysign(x, s); }

/// The nearest integer, ties to even.
QDISTILL_INLINE float round(float x) noexcept {
  // Below 2^23, adding and subtracting 2^23 leaves no place for a fraction; above it every float is an integer.
  const float a = abs(x);
  const float whole = copysign((a + 0x1p23f) - 0x1p23f, x);
  return select(a < 0x1p23f, whole, x);
}
QDISTILL_INLINE double round(double x) noexcept {
  const double a = std::fabs(x);
  return a < 0x1p52 ? std::copysign((a + 0x1p52) - 0x1p52, x) : x;
}

namespace detail {

/// exp(x) = 2^n (1 + p) with p = exp(r) - 1 and |r| <= log(2) / 2; x in [-104, 89] or NaN.
struct ExpParts {
  float p;
  std::int32_t n;
};
QDISTILL_INLINE ExpParts exp_parts(float x) noexcept {
  const float shifted = x * 1.44269504f + 0x1.8p23f;  // rounds x / log 2 in the low bits
  const std::int32_t n = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(0x1.8p23f);
  const float whole = shifted - 0x1.8p23f;
  const float r =
      (x - whole * 0.693145752f) - whole * 1.42860677e-6f;  // log 2 in two parts; the first product is exact
  float q = 0.0001989118f;
  q = q * r + 0.0013933821f;
  q = q * r + 0.0083333105f;
  q = q * r + 0.041666463f;
  q = q * r + 0.16666667f;
  q = q * r + 0.5f;
  return {r + r * r * q, n};
}
/// 2^n for n in [-126, 127].
QDISTILL_INLINE float power_of_two(std::int32_t n) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23);
}

}  // namespace detail

QDISTILL_INLINE float exp(float x) noexcept {
  x = select(x > 89.0f, 89.0f, x);
  x = select(x < -104.0f, -104.0f, x);
  const detail::ExpParts e = detail::exp_parts(x);
  const std::int32_t n = e.n < -160 ? 0 : e.n > 160 ? 0 : e.n;  // n is arbitrary for NaN
  const std::int32_t half = n >> 1;                             // two factors, so that neither leaves the range
  return (1.0f + e.p) * detail::power_of_two(half) * detail::power_of_two(n - half);
}
QDISTILL_INLINE double exp(double x) noexcept { return std::exp(x); }

/// exp(x) - 1 without cancellation near 0.
QDISTILL_INLINE float expm1(float x) noexcept {
  const float z = select(x > 89.0f, 89.0f, select(x < -20.0f, -20.0f, x));
  const detail::ExpParts e = detail::exp_parts(z);
  const std::int32_t n = e.n < -160 ? 0 : e.n > 160 ? 0 : e.n;
  const std::int32_t less = n - (n > 126 ? 2 : 0);
  const float s = detail::power_of_two(less);
  const float y = (s * e.p + (s - 1.0f)) * (n > 126 ? 4.0f : 1.0f);
  return select(abs(x) < 1e-30f, x, y);
}
QDISTILL_INLINE double expm1(double x) noexcept { return std::expm1(x); }

namespace detail {

/// log(x) - less log(2) for x positive, finite and not subnormal.
QDISTILL_INLINE float log_normal(float x, float less = 0.0f) noexcept {
  // x = 2^e (1 + m), 1 + m in [2/3, 4/3).
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t exponent = (bits - 0x3F2AAAABu) & 0xFF800000u;
  const float m = std::bit_cast<float>(bits - exponent) - 1.0f;
  const float e = static_cast<float>(static_cast<std::int32_t>(exponent) >> 23) - less;
  float q = 0.11346257f;
  q = q * m - 0.12439087f;
  q = q * m + 0.10913052f;
  q = q * m - 0.122859105f;
  q = q * m + 0.14291987f;
  q = q * m - 0.16673446f;
  q = q * m + 0.19999947f;
  q = q * m - 0.24999943f;
  q = q * m + 0.33333334f;
  const float log1pm = m + m * m * (m * q - 0.5f);
  const float y = log1pm + e * 1.42860677e-6f;
  return y + e * 0.693145752f;
}

}  // namespace detail

QDISTILL_INLINE float log(float x) noexcept {
  const bool tiny = x < 1.17549435e-38f;
  float y = detail::log_normal(select(tiny, x * 0x1p23f, x), select(tiny, 23.0f, 0.0f));
  constexpr float inf = std::numeric_limits<float>::infinity();
  y = select(x > 3.40282347e+38f, x, y);
  y = select(x == 0.0f, -inf, y);
  return select(x < 0.0f, std::numeric_limits<float>::quiet_NaN(), select(x != x, x, y));
}
QDISTILL_INLINE double log(double x) noexcept { return std::log(x); }

/// log(1 + x) without cancellation near 0.
QDISTILL_INLINE float log1p(float x) noexcept {
  const float u = 1.0f + x;
  const float lost = x - (u - 1.0f);  // what the sum rounded away; log(u + lost) = log(u) + lost / u
  const float y = log(u);
  return y + select(u > 0.0f, select(u < 1e30f, lost / u, 0.0f), 0.0f);
}
QDISTILL_INLINE double log1p(double x) noexcept { return std::log1p(x); }

QDISTILL_INLINE float tanh(float x) noexcept {
  const float e = expm1(-2.0f * abs(x));  // in [-1, 0]
  return copysign(e / (e + 2.0f), x);
}
QDISTILL_INLINE double tanh(double x) noexcept { return std::tanh(x); }

/// 1 / (1 + exp(-x))
template <class T>
QDISTILL_INLINE T sigmoid(T x) noexcept {
  const T z = math::exp(-math::abs(x));
  return select(x < T(0), z, T(1)) / (T(1) + z);
}

QDISTILL_INLINE float erf(float x) noexcept {
  const float t = abs(x), s = x * x;
  float small = -0.0005967311f;
  small = small * s + 0.004988906f;
  small = small * s - 0.026763994f;
  small = small * s + 0.11281754f;
  small = small * s - 0.3761249f;
  small = small * s + 0.12837915f;
  small = t + t * small;
  // log(erfc(t)) on [0.92, 4]; beyond 4, erf is 1 to float precision.
  const float c = select(t > 4.0f, 4.0f, t);
  float l = 1.6435697e-06f;
  l = l * c - 4.6177913e-05f;
  l = l * c + 0.0005977435f;
  l = l * c - 0.0047635753f;
  l = l * c + 0.026431018f;
  l = l * c - 0.11009448f;
  l = l * c - 0.63181454f;
  l = l * c - 1.1302376f;
  l = l * c + 0.00032044153f;
  return copysign(select(t > 0.92f, 1.0f - math::exp(l), small), x);
}
QDISTILL_INLINE double erf(double x) noexcept { return std::erf(x); }

template <class T>
QDISTILL_INLINE T sqrt(T x) noexcept {
  return std::sqrt(x);
}
/// Not vectorised; the two-argument function needs more precision inside than its type has.
template <class T>
QDISTILL_INLINE T pow(T x, T y) noexcept {
  return std::pow(x, y);
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels::math
