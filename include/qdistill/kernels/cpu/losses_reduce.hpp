/// What the softmax and loss kernels share: write-or-add, exp of non-positive numbers, and sums in a fixed order.
#pragma once

#include <bit>
#include <cmath>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Lanes of the sums below. Constant, so that the order of additions does not depend on the instruction set.
inline constexpr int sum_lanes = 32;

/// to = value, or to += value.
template <bool Add, class T>
QDISTILL_INLINE void put(T& to, T value) {
  if constexpr (Add) to += value;
  else to = value;
}

/// Calls f(std::true_type) for Write::add and f(std::false_type) for Write::set.
template <class F>
void with_write(Write write, F&& f) {
  if (write == Write::add) f(std::true_type{});
  else f(std::false_type{});
}

/// exp(x) for x <= 0 (up to rounding), to 1.5 units in the last place; 0 below -87.33, NaN for NaN.
QDISTILL_INLINE float exp_nonpositive(float x) {
  const float clamped = x < -87.33f ? -87.33f : x;
  // x = k ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to the integer k and leaves it in the low mantissa bits.
  const float shifted = clamped * 1.44269504f + 12582912.0f;
  const float k = shifted - 12582912.0f;
  const float r = (clamped - k * 0.693145752f) - k * 1.42860677e-6f;
  float p = 1.9875691500e-4f;  // Cephes expf
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scale = std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 127u) << 23);
  return x < -87.33f ? 0.0f : p * scale;
}
QDISTILL_INLINE double exp_nonpositive(double x) { return std::exp(x); }

/// Sum of f(i) for i in [0, n): lanes first, then the lanes in order. Goes inside an ISA body; f inlines.
template <class T, class F>
QDISTILL_INLINE T lane_sum(Index n, F f) {
  T lane[sum_lanes] = {};
  Index i = 0;
  for (; i + sum_lanes <= n; i += sum_lanes) {
    QDISTILL_SIMD
    for (int l = 0; l < sum_lanes; ++l) lane[l] += f(i + l);
  }
  T rest = 0;
  for (; i < n; ++i) rest += f(i);
  for (int width = sum_lanes / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
  return lane[0] + rest;
}

/// Largest of f(i) for i in [0, n), n > 0. Goes inside an ISA body.
template <class T, class F>
QDISTILL_INLINE T lane_max(Index n, F f) {
  T best = f(0);
  Index i = 0;
  if (n >= sum_lanes) {
    T lane[sum_lanes];
    QDISTILL_SIMD
    for (int l = 0; l < sum_lanes; ++l) lane[l] = f(l);
    for (i = sum_lanes; i + sum_lanes <= n; i += sum_lanes) {
      QDISTILL_SIMD
      for (int l = 0; l < sum_lanes; ++l) {
        const T v = f(i + l);
        lane[l] = lane[l] > v ? lane[l] : v;
      }
    }
    for (int l = 0; l < sum_lanes; ++l) best = best > lane[l] ? best : lane[l];
  }
  for (; i < n; ++i) {
    const T v = f(i);
    best = best > v ? best : v;
  }
  return best;
}

/// Sum of f(i) for i in [0, n) in parallel, in double beyond blocks of 4096. At most 64 partial sums, whose number
/// depends on n alone.
template <class T, class F>
double sum_map(Cpu, Index n, F f) {
  constexpr Index block = 4096, most = 64;
  double partial[most] = {};
  Index grain = memory_grain;
  if ((n + grain - 1) / grain > most) grain = ((n + most - 1) / most + block - 1) / block * block;
  double* const sums = partial;
  parallel_for(n, grain, [=](Index begin, Index end) {
    double sum = 0;
    with_isa([&]() QDISTILL_ISA_BODY {
      for (Index b = begin; b < end; b += block) {
        const Index count = end - b < block ? end - b : block;
        sum += static_cast<double>(lane_sum<T>(count, [=](Index i) QDISTILL_ISA_BODY { return f(b + i); }));
      }
    });
    sums[begin / grain] = sum;
  });
  double total = 0;
  for (const double p : partial) total += p;
  return total;
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
