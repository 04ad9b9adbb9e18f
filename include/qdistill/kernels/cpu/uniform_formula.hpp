/// The one formula of uniform quantization (Polino, Pascanu, Alistarh 2018, section 2), shared by the fake-quantize
/// kernel and by every decoder, so that training and inference see the same values.
///
///   scaled   z = (v - beta) / alpha                      alpha = max - min, beta = min of the bucket
///   level    l = round_half_even(z (s - 1))              s = 2^bits levels, both ends included
///   decoded  q = alpha l / (s - 1) + beta
///
/// With absmax and absnorm scaling it takes the magnitude of v, with beta = 0.
///
/// In float the results have the same bits on every instruction set and compiler: no product here can be fused with
/// a later addition in a way that changes a rounding (a float product is exact in double). In double they agree to
/// rounding.
#pragma once

#include <cmath>
#include <type_traits>

#include "qdistill/core/isa.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// How a bucket is scaled (Polino et al. 2018, section 2; absmax and absnorm as in the authors' code).
///   linear   alpha = max - min, beta = min
///   absmax   alpha = largest magnitude; the sign is kept apart
///   absnorm  alpha = 2-norm of the bucket; the sign is kept apart
enum class Scaling { linear, absmax, absnorm };

inline const char* name(Scaling scaling) noexcept {
  return scaling == Scaling::absnorm ? "absnorm" : scaling == Scaling::absmax ? "absmax" : "linear";
}

/// Buckets of a tensor of n elements: none if it is empty, one if bucket_size is 0 or larger than n.
inline Index bucket_count(Index n, Index bucket_size) noexcept {
  if (n <= 0) return 0;
  return bucket_size <= 0 ? 1 : n / bucket_size + (n % bucket_size != 0);
}

/// alpha * point + beta: the value of a learned point in a bucket.
template <class T>
QDISTILL_INLINE T point_value(T point, T alpha, T beta) noexcept {
  if constexpr (std::is_same_v<T, float>)
    return static_cast<float>(static_cast<double>(alpha) * static_cast<double>(point) + static_cast<double>(beta));
  else return alpha * point + beta;
}

/// alpha * (level / divisor) + beta, with divisor = s - 1. `level` is an integer value from 0 to `divisor`.
template <class T>
QDISTILL_INLINE T dequantize(T level, T divisor, T alpha, T beta) noexcept {
  return point_value<T>(level / divisor, alpha, beta);
}

/// The nearest integer, half way to the even one, for |x| < 2^22. Vectorises on every instruction set.
template <class T>
QDISTILL_INLINE T round_half_even(T x) noexcept {
  if constexpr (std::is_same_v<T, float>) {
    constexpr double shift = 0x1.8p52;  // leaves no bits for a fraction
    return static_cast<float>((static_cast<double>(x) + shift) - shift);
  } else {
    return std::nearbyint(x);
  }
}

/// The level of v, an integer value clamped to [0, divisor]. alpha > 0 (1 where the bucket is constant).
template <class T>
QDISTILL_INLINE T quantize_level(T v, T divisor, T alpha, T beta) noexcept {
  const T z = (v - beta) / alpha;
  const T level = round_half_even<T>(z * divisor);
  return level < T(0) ? T(0) : level > divisor ? divisor : level;
}

}  // namespace qdistill::inline QDISTILL_ABI
