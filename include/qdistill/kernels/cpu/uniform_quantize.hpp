/// Bucketed uniform quantization, one pass over memory (Polino, Pascanu, Alistarh 2018, section 2).
///
///   v: n values, cut into buckets of `bucket_size` consecutive ones (the last may be short; 0: one bucket)
///   linear:            alpha = max - min, beta = min of the bucket;  z = (v - beta) / alpha
///   absmax, absnorm:   alpha = largest magnitude or 2-norm;          z = |v| / alpha, the sign is kept
///   q = alpha round(z (s - 1)) / (s - 1) + beta,  s levels, half to even
///
/// A scale below 1e-10 becomes 1, so that a constant bucket comes back exactly. Each bucket is read once from memory
/// (its range and its rounding both work in L1) and written once. The formula itself is in
/// kernels/cpu/uniform_formula.hpp, shared with every decoder; kernels/cpu/uniform_block.hpp computes it for blocks.
#pragma once

#include <cmath>
#include <optional>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"
#include "qdistill/kernels/cpu/philox.hpp"
#include "qdistill/kernels/cpu/uniform_block.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// What is quantized and how; the fields are those of quant::Uniform, resolved.
template <class T>
struct UniformRule {
  Index levels = 16;      ///< s, at least 2
  Index bucket_size = 0;  ///< 0: one bucket
  Scaling scaling = Scaling::linear;
  T mean = 0;                   ///< subtracted first, added back at the end
  T max_element = 0;            ///< then clamped to [-m, m]; 0: not
  bool stochastic = false;      ///< level = floor(z (s-1)) + [u <= fraction]
  RandomStream stream = {};     ///< u of element i is its number i
  const T* uniforms = nullptr;  ///< u given instead (tests)
};

/// Where the results go; null pointers are skipped.
template <class T>
struct UniformResult {
  T* values = nullptr;             ///< n
  std::uint16_t* codes = nullptr;  ///< n; with absmax and absnorm the sign is the bit above the level
  T* alpha = nullptr;              ///< one per bucket
  T* beta = nullptr;               ///< one per bucket, 0 with absmax and absnorm
};

namespace detail {

/// Takes rows of values into the lanes' smallest and largest, Rows of them at a time: lanes that are in memory between
/// the iterations of a loop cost more than the comparisons. A NaN is passed over.
template <int Rows, class T>
QDISTILL_INLINE void widen_range(const T* __restrict v, T* __restrict low, T* __restrict high) {
  QDISTILL_SIMD
  for (int l = 0; l < uniform_lanes; ++l) {
    T lo = low[l], hi = high[l];
    const auto take = [&](T x) QDISTILL_ISA_BODY { lo = x < lo ? x : lo, hi = x > hi ? x : hi; };
    take(v[l]);
    if constexpr (Rows == 4) take(v[l + uniform_lanes]), take(v[l + 2 * uniform_lanes]), take(v[l + 3 * uniform_lanes]);
    low[l] = lo, high[l] = hi;
  }
}

/// Smallest and largest of v[0..n), n > 0; NaN if v[0] is, otherwise of those that are numbers.
template <class T>
QDISTILL_INLINE void range_of(const T* v, Index n, T& lo, T& hi) {
  alignas(64) T low[uniform_lanes], high[uniform_lanes];
  QDISTILL_SIMD
  for (int l = 0; l < uniform_lanes; ++l) low[l] = high[l] = v[0];
  Index i = 0;
  for (; i + 4 * uniform_lanes <= n; i += 4 * uniform_lanes) widen_range<4>(v + i, low, high);
  for (; i + uniform_lanes <= n; i += uniform_lanes) widen_range<1>(v + i, low, high);
  for (; i < n; ++i) {
    low[0] = v[i] < low[0] ? v[i] : low[0];
    high[0] = v[i] > high[0] ? v[i] : high[0];
  }
  lo = fold_lanes(low, [](T a, T b) QDISTILL_ISA_BODY { return b < a ? b : a; });
  hi = fold_lanes(high, [](T a, T b) QDISTILL_ISA_BODY { return b > a ? b : a; });
}

/// v after mean subtraction and clamping.
template <class T>
QDISTILL_INLINE T preprocessed(T v, T mean, T limit) noexcept {
  v -= mean;
  if (limit > 0) v = v < -limit ? -limit : v > limit ? limit : v;
  return v;
}

/// alpha and beta of v[0..n). `padding` copies of the last value count in a 2-norm, as in the authors' code.
template <class T>
QDISTILL_INLINE void bucket_scale(const T* v, Index n, Index padding, const UniformRule<T>& rule, T& alpha, T& beta) {
  beta = 0;
  if (rule.scaling == Scaling::absnorm) {
    double sum = 0;
    for (Index i = 0; i < n; ++i) {
      const auto x = static_cast<double>(preprocessed(v[i], rule.mean, rule.max_element));
      sum += x * x;
    }
    const auto last = static_cast<double>(preprocessed(v[n - 1], rule.mean, rule.max_element));
    alpha = static_cast<T>(std::sqrt(sum + static_cast<double>(padding) * last * last));
  } else {
    T lo, hi;
    range_of(v, n, lo, hi);  // clamping and the shift by the mean are monotone, so they commute with min and max
    lo = preprocessed(lo, rule.mean, rule.max_element), hi = preprocessed(hi, rule.mean, rule.max_element);
    if (rule.scaling == Scaling::linear) alpha = hi - lo, beta = lo;
    else alpha = -lo > hi ? -lo : hi;
  }
  if (!(alpha >= T(1e-10)) && !(alpha != alpha)) alpha = 1;
}

/// The value of a level, of an element that was negative or not.
template <class T>
QDISTILL_INLINE T level_value(T level, bool negative, const UniformRule<T>& rule, T divisor, T alpha, T beta) {
  const T q = dequantize<T>(level, divisor, alpha, beta);
  const T with_sign = negative ? -q : q;
  return rule.mean != 0 ? with_sign + rule.mean : with_sign;
}
/// Of a NaN: 0.
template <class T>
QDISTILL_INLINE std::uint16_t level_code(T level, bool negative, const UniformRule<T>& rule) {
  const auto sign_bit = static_cast<std::uint16_t>(rule.levels);
  return static_cast<std::uint16_t>((level > 0 ? static_cast<std::uint16_t>(level) : 0) | (negative ? sign_bit : 0));
}

/// The same as quantize_run, each element to the level below or above it at random.
template <class T>
QDISTILL_INLINE void quantize_run_stochastic(const T* v, Index begin, Index end, const UniformRule<T>& rule, T alpha,
                                             T beta, const UniformResult<T>& out) {
  constexpr Index batch = 64;
  const T divisor = static_cast<T>(rule.levels - 1);
  const bool with_sign = rule.scaling != Scaling::linear;
  for (Index at = begin; at < end;) {
    const Index first = at / batch * batch, stop = end - first < batch ? end : first + batch;
    alignas(64) T u[batch], level[batch];
    if (rule.uniforms) {
      for (Index i = at; i < stop; ++i) u[i - first] = rule.uniforms[i];
    } else {
      alignas(64) std::uint32_t bits[batch];
      philox_batch(rule.stream, static_cast<std::uint64_t>(first / batch), bits);
      QDISTILL_SIMD
      for (int i = 0; i < 64; ++i) u[i] = static_cast<T>(static_cast<std::int32_t>(bits[i] >> 8)) * T(0x1p-24);
    }
    QDISTILL_SIMD
    for (Index i = at; i < stop; ++i) {
      const T x = preprocessed(v[i], rule.mean, rule.max_element);
      const T scaled = ((with_sign && x < 0 ? -x : x) - beta) / alpha * divisor;
      const T near = round_half_even<T>(scaled), floor = near > scaled ? near - 1 : near;
      const T up = floor + (u[i - first] <= scaled - floor ? T(1) : T(0));
      level[i - first] = up < 0 ? T(0) : up > divisor ? divisor : up;
    }
    const auto negative = [&](Index i) { return with_sign && preprocessed(v[i], rule.mean, rule.max_element) < 0; };
    if (out.codes)
      for (Index i = at; i < stop; ++i) out.codes[i] = level_code(level[i - first], negative(i), rule);
    if (out.values) {
      QDISTILL_SIMD
      for (Index i = at; i < stop; ++i)
        out.values[i] = level_value(level[i - first], negative(i), rule, divisor, alpha, beta);
    }
    at = stop;
  }
}

/// Values (and codes) of the elements [begin, end) of a bucket with the given scale.
template <class T>
QDISTILL_INLINE void quantize_run(const T* v, Index begin, Index end, const UniformRule<T>& rule, T alpha, T beta,
                                  const UniformResult<T>& out, bool fused) {
  if (rule.stochastic) return quantize_run_stochastic(v, begin, end, rule, alpha, beta, out);
  const T divisor = static_cast<T>(rule.levels - 1);
  if (rule.mean == 0 && rule.max_element == 0 && rule.scaling == Scaling::linear) {
    const BucketScale<T> scale{divisor, alpha, beta};
    const LevelValues<T> values(scale, fused);
    for (Index at = begin; at < end; at += uniform_block) {
      const Index n = end - at < uniform_block ? end - at : uniform_block;
      alignas(64) T level[uniform_block];
      block_levels(v + at, n, scale, level);
      if (out.codes)
        for (Index i = 0; i < n; ++i) out.codes[at + i] = level_code(level[i], false, rule);
      if (out.values) values(level, n, out.values + at);
    }
    return;
  }
  for (Index i = begin; i < end; ++i) {
    const T x = preprocessed(v[i], rule.mean, rule.max_element);
    const bool negative = rule.scaling != Scaling::linear && x < 0;
    const T level = quantize_level<T>(negative ? -x : x, divisor, alpha, beta);
    if (out.codes) out.codes[i] = level_code(level, negative, rule);
    if (out.values) out.values[i] = level_value(level, negative, rule, divisor, alpha, beta);
  }
}

/// The first i with v[i] == value; 0 if there is none.
template <class T>
Index first_equal(const T* v, Index n, T value) {
  Index found = 0;
  with_isa([&]() QDISTILL_ISA_BODY {
    constexpr int lanes = 256;
    Index i = 0;
    for (; i + lanes <= n; i += lanes) {
      int hits = 0;
      for (int l = 0; l < lanes; ++l) hits |= v[i + l] == value ? 1 : 0;
      if (hits) break;
    }
    while (i < n && !(v[i] == value)) ++i;
    found = i < n ? i : 0;
  });
  return found;
}

}  // namespace detail

/// The mean of v, summed in double in fixed blocks.
template <class T>
T mean_of(Cpu, const T* v, Index n) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += static_cast<double>(v[i]);
  return n > 0 ? static_cast<T>(sum / static_cast<double>(n)) : T(0);
}

/// Where the first smallest and the first largest of some values are.
struct RangePlaces {
  Index lowest = 0, highest = 0;
};

/// Smallest and largest of n values, in parallel; 0 and 0 if there are none. `places` may be null.
template <class T>
void value_range(Cpu, const T* v, Index n, T& lo, T& hi, RangePlaces* places = nullptr) {
  lo = hi = 0;
  if (n <= 0) return;
  constexpr Index most = 64;
  T low[most] = {}, high[most] = {};
  const Index part = n <= memory_grain ? n : (n + most - 1) / most, parts = (n + part - 1) / part;
  const auto size = [=](Index c) { return (c + 1) * part < n ? part : n - c * part; };
  parallel_for(parts, 1, [&](Index begin, Index end) {
    with_isa([&, begin, end]() QDISTILL_ISA_BODY {
      for (Index c = begin; c < end; ++c) detail::range_of(v + c * part, size(c), low[c], high[c]);
    });
  });
  Index lowest = 0, highest = 0;
  for (Index c = 1; c < parts; ++c) {
    if (low[c] < low[lowest]) lowest = c;
    if (high[c] > high[highest]) highest = c;
  }
  lo = low[lowest], hi = high[highest];
  if (!places) return;
  places->lowest = lowest * part + detail::first_equal(v + lowest * part, size(lowest), lo);
  places->highest = highest * part + detail::first_equal(v + highest * part, size(highest), hi);
}

/// Quantizes n values. Results do not depend on the number of threads. `out.values` may be v itself when there is more
/// than one bucket or alpha is not wanted afterwards.
template <class T>
void uniform_quantize(Cpu, Index n, const T* v, const UniformRule<T>& rule, const UniformResult<T>& out) {
  if (n <= 0) return;
  const Index buckets = bucket_count(n, rule.bucket_size);
  const bool fused = active_isa() != Isa::baseline;
  if (buckets == 1) {  // one range for all, then the elements in chunks
    T alpha = 1, beta = 0;
    if (rule.scaling == Scaling::absnorm) {
      with_isa([&]() QDISTILL_ISA_BODY { detail::bucket_scale(v, n, 0, rule, alpha, beta); });
    } else {
      T ends[2];
      value_range(Cpu{}, v, n, ends[0], ends[1]);
      detail::bucket_scale(ends, 2, 0, rule, alpha, beta);
    }
    if (out.alpha) out.alpha[0] = alpha;
    if (out.beta) out.beta[0] = beta;
    if (!out.values && !out.codes) return;
    parallel_for(n, memory_grain, [&](Index begin, Index end) {
      with_isa([&, begin, end]()
                   QDISTILL_ISA_BODY { detail::quantize_run(v, begin, end, rule, alpha, beta, out, fused); });
    });
    return;
  }
  const Index size = rule.bucket_size;
  const Index per_chunk = size < memory_grain ? memory_grain / size : 1;
  parallel_for(buckets, per_chunk, [&](Index first, Index last) {
    with_isa([&, first, last]() QDISTILL_ISA_BODY {
      for (Index b = first; b < last; ++b) {
        const Index begin = b * size, end = n - begin < size ? n : begin + size;
        T alpha = 1, beta = 0;
        detail::bucket_scale(v + begin, end - begin, size - (end - begin), rule, alpha, beta);
        if (out.alpha) out.alpha[b] = alpha;
        if (out.beta) out.beta[b] = beta;
        if (out.values || out.codes) detail::quantize_run(v, begin, end, rule, alpha, beta, out, fused);
      }
    });
  });
}

/// The gradient through rounding and scaling ("complicated" in the authors' code): with v01 = (v - beta) / alpha and
/// q01 its quantized value, dv = g + (e_argmax - e_argmin) * sum over the bucket of g (q01 - v01). argmax and argmin
/// are the first occurrences. Linear scaling only.
template <class T>
void uniform_quantize_backward_full(Cpu, Index n, const T* v, const T* g, T* dv, Write write,
                                    const UniformRule<T>& rule) {
  if (n <= 0) return;
  const Index buckets = bucket_count(n, rule.bucket_size);
  const Index size = buckets == 1 ? n : rule.bucket_size;
  parallel_for(buckets, size < memory_grain ? memory_grain / size : 1, [&](Index first, Index last) {
    for (Index b = first; b < last; ++b) {
      const Index begin = b * size, end = n - begin < size ? n : begin + size;
      Index low = begin, high = begin;
      for (Index i = begin; i < end; ++i) {
        if (v[i] < v[low]) low = i;
        if (v[i] > v[high]) high = i;
      }
      T alpha = 1, beta = 0;
      detail::bucket_scale(v + begin, end - begin, 0, rule, alpha, beta);
      const T divisor = static_cast<T>(rule.levels - 1);
      double sum = 0;
      for (Index i = begin; i < end; ++i) {
        const T v01 = (v[i] - rule.mean - beta) / alpha;
        const T q01 = quantize_level<T>(v[i] - rule.mean, divisor, alpha, beta) / divisor;
        sum += static_cast<double>(g[i] * (q01 - v01));
        dv[i] = write == Write::add ? dv[i] + g[i] : g[i];
      }
      dv[high] += static_cast<T>(sum);
      dv[low] -= static_cast<T>(sum);
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
