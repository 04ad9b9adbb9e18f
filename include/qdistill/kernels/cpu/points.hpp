/// Nearest of m learned points (Polino, Pascanu, Alistarh 2018, section 4). v: n values, cut into buckets of
/// `bucket_size` consecutive ones (the last may be short; 0: one bucket). p_0 <= ... <= p_{m-1}: the points in scaled
/// space, one set for all buckets.
///
///   scaled     z_i = (v_i - beta) / alpha              alpha = max - min, beta = min of the bucket
///   code       c_i = number of j >= 1 with z_i >= (p_{j-1} + p_j) / 2: the nearest point, half way the upper one
///   value      q_i = alpha p_{c_i} + beta              in the arithmetic of `point_value`
///   gradient   dL/dp_j = sum over the i with c_i = j of alpha dL/dq_i
///
/// Each direction is one pass over memory in memory order. Up to 32 points are found by comparing with every threshold
/// in registers, without a branch, and a bucket's values are computed once; more by a branch-free binary search. The
/// gradient compares or finds the codes again, which is cheaper than to keep them. Its sums run over fixed lanes and
/// fixed chunks, so they do not depend on threads.
#pragma once

#include <limits>
#include <span>
#include <type_traits>
#include <utility>

#include "qdistill/kernels/cpu/scratch.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"
#if QDISTILL_X86
#include <immintrin.h>
#endif

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Scaled values, the scales of their buckets, and 1 to 65536 sorted points.
template <class T>
struct PointsInput {
  Index n = 0;
  const T* z = nullptr;
  Index bucket_size = 0;
  const T* alpha = nullptr;  ///< one per bucket
  const T* beta = nullptr;
  std::span<const T> points = {};

  Index per_bucket() const noexcept { return bucket_size > 0 ? bucket_size : n; }
};

namespace detail {

inline constexpr Index points_block = 1024;   ///< elements whose codes stay in L1
inline constexpr Index register_points = 32;  ///< most points that are found by comparison alone
inline constexpr Index points_lanes = 8;      ///< of the gradient's sums

/// f(begin, end, bucket) for the parts of [begin, end) that lie in one bucket.
template <class F>
QDISTILL_INLINE void each_run(Index begin, Index end, Index per_bucket, F f) {
  for (Index b = begin < end ? begin / per_bucket : 0; begin < end; ++b) {
    const Index stop = end - b * per_bucket < per_bucket ? end : (b + 1) * per_bucket;
    f(begin, stop, b);
    begin = stop;
  }
}

/// The smallest power of two that is at least m and at least 2.
inline Index padded_points(Index m) noexcept {
  Index padded = 2;
  while (padded < m) padded *= 2;
  return padded;
}

/// thresholds[j]: the code is at least j from there on. From m to padded_points(m) - 1 they are NaN, which no value
/// reaches.
template <class T>
void fill_thresholds(std::span<const T> points, T* thresholds) {
  const Index m = static_cast<Index>(points.size()), padded = padded_points(m);
  thresholds[0] = -std::numeric_limits<T>::infinity();
  for (Index j = 1; j < padded; ++j)
    thresholds[j] = j < m ? (points[j - 1] + points[j]) / 2 : std::numeric_limits<T>::quiet_NaN();
}

/// table[code of z], and the code, by comparison with thresholds[1], thresholds[2], ...
template <class T, std::size_t... K>
QDISTILL_INLINE T choose(T z, const T* thresholds, const T* table, std::index_sequence<K...>) noexcept {
  T chosen = table[0];
  ((chosen = z >= thresholds[K + 1] ? table[K + 1] : chosen), ...);
  return chosen;
}
template <class T, std::size_t... K>
QDISTILL_INLINE std::int32_t count_reached(T z, const T* thresholds, std::index_sequence<K...>) noexcept {
  return (0 + ... + static_cast<std::int32_t>(z >= thresholds[K + 1]));
}

template <int Padded, class T>
QDISTILL_INLINE void values_by_comparison(const T* __restrict z, Index n, const T* thresholds, const T* points, T alpha,
                                          T beta, T* __restrict q) {
  T table[Padded];
  QDISTILL_SIMD
  for (int j = 0; j < Padded; ++j) table[j] = point_value<T>(points[j], alpha, beta);
  QDISTILL_SIMD
  for (Index i = 0; i < n; ++i) q[i] = choose(z[i], thresholds, table, std::make_index_sequence<Padded - 1>());
}
template <int Padded, class T>
QDISTILL_INLINE void codes_by_comparison(const T* __restrict z, Index n, const T* thresholds,
                                         std::int32_t* __restrict codes) {
  QDISTILL_SIMD
  for (Index i = 0; i < n; ++i) codes[i] = count_reached(z[i], thresholds, std::make_index_sequence<Padded - 1>());
}

/// The codes of n values, for any number of points.
template <class T>
QDISTILL_INLINE void find_codes(const T* __restrict z, Index n, const T* thresholds, Index padded,
                                std::int32_t* __restrict codes) {
  if (padded == 2) return codes_by_comparison<2>(z, n, thresholds, codes);
  if (padded == 4) return codes_by_comparison<4>(z, n, thresholds, codes);
  if (padded == 8) return codes_by_comparison<8>(z, n, thresholds, codes);
  if (padded == 16) return codes_by_comparison<16>(z, n, thresholds, codes);
  if (padded == 32) return codes_by_comparison<32>(z, n, thresholds, codes);
  for (Index i = 0; i < n; ++i) codes[i] = 0;
  for (auto half = static_cast<std::int32_t>(padded / 2); half > 0; half /= 2) {
    QDISTILL_SIMD
    for (Index i = 0; i < n; ++i) codes[i] += z[i] >= thresholds[codes[i] + half] ? half : 0;
  }
}

#if QDISTILL_X86
/// above[j][lane] += alpha g over the n elements with z >= thresholds[j].
using AddAbove = void (*)(const float* z, const float* g, Index n, float alpha, const float* thresholds, float* above);

template <std::size_t... K>
QDISTILL_TARGET_AVX512 void add_above_avx512(const float* z, const float* g, Index n, float alpha,
                                             const float* thresholds, float* above) {
  const __m512 scale = _mm512_set1_ps(alpha), threshold[] = {_mm512_set1_ps(thresholds[K])...};
  __m512 sum[] = {_mm512_loadu_ps(above + 16 * K)...};
  for (Index i = 0; i < n; i += 16) {
    const bool whole = n - i >= 16;  // masked loads of whole vectors are slower
    const auto some = static_cast<__mmask16>(whole ? 0xFFFF : (1 << (n - i)) - 1);
    const __m512 x = whole ? _mm512_loadu_ps(z + i) : _mm512_maskz_loadu_ps(some, z + i);
    const __m512 dq = _mm512_mul_ps(scale, whole ? _mm512_loadu_ps(g + i) : _mm512_maskz_loadu_ps(some, g + i));
    ((sum[K] = _mm512_mask_add_ps(sum[K], _mm512_cmp_ps_mask(x, threshold[K], _CMP_GE_OQ), sum[K], dq)), ...);
  }
  (_mm512_storeu_ps(above + 16 * K, sum[K]), ...);
}

template <std::size_t... K>
QDISTILL_TARGET_AVX2 void add_above_avx2(const float* z, const float* g, Index n, float alpha, const float* thresholds,
                                         float* above) {
  const __m256 scale = _mm256_set1_ps(alpha), threshold[] = {_mm256_set1_ps(thresholds[K])...};
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256 sum[] = {_mm256_loadu_ps(above + 8 * K)...};
  for (Index i = 0; i < n; i += 8) {
    const bool whole = n - i >= 8;
    const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32(whole ? 8 : static_cast<int>(n - i)), lane);
    const __m256 x = whole ? _mm256_loadu_ps(z + i) : _mm256_maskload_ps(z + i, some);
    const __m256 dq = _mm256_mul_ps(scale, whole ? _mm256_loadu_ps(g + i) : _mm256_maskload_ps(g + i, some));
    ((sum[K] = _mm256_add_ps(sum[K], _mm256_and_ps(_mm256_cmp_ps(x, threshold[K], _CMP_GE_OQ), dq))), ...);
  }
  (_mm256_storeu_ps(above + 8 * K, sum[K]), ...);
}

/// The functions above for the thresholds 0, 1, ...
template <std::size_t... K>
AddAbove add_above(bool avx512, std::index_sequence<K...>) {
  return avx512 ? &add_above_avx512<K...> : &add_above_avx2<K...>;
}

/// As add_chunk below, for at most 32 points and registers of Lanes floats, which hold the sums above Lanes thresholds
/// from block to block. A point's own sum is the difference to the next, to the rounding of the block's sums; that of a
/// point without weights is exactly 0.
template <Index Lanes>
QDISTILL_INLINE void add_chunk_above(const PointsInput<float>& in, const float* g, Index begin, Index end,
                                     const float* thresholds, Index padded, double* bins) {
  constexpr bool avx512 = Lanes == 16;
  constexpr Index block = 4 * Lanes * Lanes;  // short sums, since small differences are taken of them
  const AddAbove add = padded == 2   ? add_above(avx512, std::make_index_sequence<2>())
                       : padded == 4 ? add_above(avx512, std::make_index_sequence<4>())
                       : padded == 8 ? add_above(avx512, std::make_index_sequence<8>())
                                     : add_above(avx512, std::make_index_sequence<Lanes>());
  float above[(register_points + 1) * Lanes];
  float* const sums = above;
  for (Index at = begin; at < end; at += block) {
    for (Index k = 0; k < (padded + 1) * Lanes; ++k) above[k] = 0;
    const Index stop = end - at < block ? end : at + block;
    each_run(at, stop, in.per_bucket(), [=, &in](Index first, Index last, Index b) QDISTILL_ISA_BODY {
      for (Index j = 0; j < padded; j += Lanes)
        add(in.z + first, g + first, last - first, in.alpha[b], thresholds + j, sums + Lanes * j);
    });
    const auto wide = [](float x) QDISTILL_ISA_BODY { return static_cast<double>(x); };
    for (Index j = 0; j < padded; ++j) {
      const float *const a = above + Lanes * j, *const next = a + Lanes;
      QDISTILL_SIMD
      for (Index l = 0; l < points_lanes; ++l) {
        double sum = wide(a[l]) - wide(next[l]);
        if constexpr (avx512) sum += wide(a[l + 8]) - wide(next[l + 8]);
        bins[j * points_lanes + l] += sum;
      }
    }
  }
}
#endif

/// bins[code][lane] += alpha g over [begin, end). With one lane there are more points than L1 has room for.
template <class T>
void add_chunk(const PointsInput<T>& in, const T* g, Index begin, Index end, const T* thresholds, Index padded,
               Index lanes, double* bins) {
#if QDISTILL_X86
  if constexpr (std::is_same_v<T, float>)
    if (padded <= register_points && active_isa() != Isa::baseline)
      return with_isa([=, &in]() QDISTILL_ISA_BODY {
        if (active_isa() == Isa::avx512) add_chunk_above<16>(in, g, begin, end, thresholds, padded, bins);
        else add_chunk_above<8>(in, g, begin, end, thresholds, padded, bins);
      });
#endif
  with_isa([=]() QDISTILL_ISA_BODY {
    std::int32_t found[points_block];
    for (Index at = begin; at < end; at += points_block) {
      const Index stop = end - at < points_block ? end : at + points_block;
      find_codes(in.z + at, stop - at, thresholds, padded, found);
      const std::int32_t* const here = found;
      each_run(at, stop, in.per_bucket(), [=](Index first, Index last, Index b) QDISTILL_ISA_BODY {
        const T alpha = in.alpha[b];
        if (lanes == 1)
          for (Index i = first; i < last; ++i) bins[here[i - at]] += static_cast<double>(alpha * g[i]);
        else
          for (Index i = first; i < last; ++i)
            bins[here[i - at] * points_lanes + (i - first) % points_lanes] += static_cast<double>(alpha * g[i]);
      });
    }
  });
}

}  // namespace detail

/// alpha and beta of each bucket of v, and z, which is written while the bucket is in L1.
template <class T>
void scale_buckets(Cpu dev, Index n, const T* v, Index bucket_size, T* alpha, T* beta, T* z) {
  UniformRule<T> rule;
  rule.bucket_size = bucket_size;
  const auto scale_run = [=](Index first, Index last, Index b) QDISTILL_ISA_BODY {
    const T scale = alpha[b], offset = beta[b];
    QDISTILL_SIMD
    for (Index i = first; i < last; ++i) z[i] = (v[i] - offset) / scale;
  };
  const Index buckets = bucket_count(n, bucket_size);
  if (buckets <= 1) {
    uniform_quantize(dev, n, v, rule, UniformResult<T>{.alpha = alpha, .beta = beta});
    parallel_for(n, memory_grain,
                 [=](Index begin, Index end) { with_isa([=]() QDISTILL_ISA_BODY { scale_run(begin, end, 0); }); });
    return;
  }
  parallel_for(buckets, bucket_size < memory_grain ? memory_grain / bucket_size : 1, [=](Index first, Index last) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index b = first; b < last; ++b) {
        const Index begin = b * bucket_size, end = n - begin < bucket_size ? n : begin + bucket_size;
        detail::bucket_scale(v + begin, end - begin, 0, rule, alpha[b], beta[b]);
        scale_run(begin, end, b);
      }
    });
  });
}

/// Values q and codes of n elements; null pointers are skipped.
template <class T>
void points_quantize(Cpu, const PointsInput<T>& in, T* q, std::uint16_t* codes) {
  const Index m = static_cast<Index>(in.points.size()), padded = detail::padded_points(m);
  const Workspace workspace(2 * padded * static_cast<Index>(sizeof(T)), 0, 1);
  T* const thresholds = reinterpret_cast<T*>(workspace.shared());
  T* const points = thresholds + padded;
  detail::fill_thresholds(in.points, thresholds);
  for (Index j = 0; j < padded; ++j) points[j] = in.points[static_cast<std::size_t>(j < m ? j : m - 1)];
  const bool compare = padded <= detail::register_points;
  parallel_for(in.n, memory_grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      if (compare && q)
        detail::each_run(begin, end, in.per_bucket(), [=](Index first, Index last, Index b) QDISTILL_ISA_BODY {
          const T *const z = in.z + first, alpha = in.alpha[b], beta = in.beta[b];
          const Index n = last - first;
          T* const out = q + first;
          if (padded == 2) detail::values_by_comparison<2>(z, n, thresholds, points, alpha, beta, out);
          else if (padded == 4) detail::values_by_comparison<4>(z, n, thresholds, points, alpha, beta, out);
          else if (padded == 8) detail::values_by_comparison<8>(z, n, thresholds, points, alpha, beta, out);
          else if (padded == 16) detail::values_by_comparison<16>(z, n, thresholds, points, alpha, beta, out);
          else detail::values_by_comparison<32>(z, n, thresholds, points, alpha, beta, out);
        });
      if (compare && !codes) return;
      std::int32_t found[detail::points_block];
      for (Index at = begin; at < end; at += detail::points_block) {
        const Index stop = end - at < detail::points_block ? end : at + detail::points_block;
        detail::find_codes(in.z + at, stop - at, thresholds, padded, found);
        if (codes)
          for (Index i = at; i < stop; ++i) codes[i] = static_cast<std::uint16_t>(found[i - at]);
        if (compare || !q) continue;
        const std::int32_t* const here = found;
        detail::each_run(at, stop, in.per_bucket(), [=](Index first, Index last, Index b) QDISTILL_ISA_BODY {
          const T alpha = in.alpha[b], beta = in.beta[b];
          QDISTILL_SIMD
          for (Index i = first; i < last; ++i) q[i] = point_value<T>(points[here[i - at]], alpha, beta);
        });
      }
    });
  });
}

/// dp = dL/dp, m sums, from g = dL/dq.
template <class T>
void points_gradient(Cpu, const PointsInput<T>& in, const T* g, T* dp, Write write) {
  const Index m = static_cast<Index>(in.points.size()), padded = detail::padded_points(m);
  const bool many = m > 256;
  const Index lanes = many ? 1 : detail::points_lanes, grain = many ? 16 * memory_grain : memory_grain;
  const Index chunks = in.n > 0 ? (in.n + grain - 1) / grain : 0;
  constexpr Index wide = sizeof(double);
  Workspace workspace((padded + chunks * m) * wide, padded * lanes * wide, chunks);
  double* const sums = reinterpret_cast<double*>(workspace.shared());
  T* const thresholds = reinterpret_cast<T*>(sums + chunks * m);
  detail::fill_thresholds(in.points, thresholds);
  parallel_for(in.n, grain, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    double* const bins = reinterpret_cast<double*>(task.data());
    double* const sum = sums + begin / grain * m;
    for (Index k = 0; k < padded * lanes; ++k) bins[k] = 0;
    detail::add_chunk(in, g, begin, end, thresholds, padded, lanes, bins);
    for (Index j = 0; j < m; ++j) {
      sum[j] = 0;
      for (Index l = 0; l < lanes; ++l) sum[j] += bins[j * lanes + l];
    }
  });
  for (Index j = 0; j < m; ++j) {
    double sum = write == Write::add ? static_cast<double>(dp[j]) : 0.0;
    for (Index c = 0; c < chunks; ++c) sum += sums[c * m + j];
    dp[j] = static_cast<T>(sum);
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
