/// What the softmax and loss kernels share: write-or-add, exp of non-positive numbers, and sums in a fixed order.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"
#include "qdistill/kernels/cpu/math.hpp"

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

/// exp(x) for x <= 0 (up to rounding), about a third cheaper than math::exp; 0 below -87.33, NaN for NaN.
QDISTILL_INLINE float exp_nonpositive(float x) {
  const math::detail::ExpParts e = math::detail::exp_parts(math::select(x < -87.33f, -87.33f, x));
  return math::select(x < -87.33f, 0.0f, (1.0f + e.p) * math::detail::power_of_two(e.n));
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

/// Calls f(row), marked QDISTILL_ISA_BODY, for `rows` rows of n elements: in parallel, a fixed number of rows at a
/// time.
template <class F>
void for_each_row(Index rows, Index n, F f) {
  const Index grain = n >= memory_grain / 4 ? 1 : memory_grain / 4 / (n > 0 ? n : 1);
  parallel_for(rows, grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index row = begin; row < end; ++row) f(row);
    });
  });
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
