/// The formula of kernels/cpu/uniform_formula.hpp for up to 256 elements of one bucket at a time, bit for bit, without
/// its divisions and, on machines with FMA, without its double arithmetic.
///
///   level   y = (v - beta) (divisor / alpha) instead of (v - beta) / alpha divisor: both are within 1.25 divisor 2^-22
///           of the exact number, so they round to one integer unless y is that close to a half. Where an element is,
///           or is not finite, its block takes the formula itself.
///   value   level / divisor = level h + level l with 1 / divisor = h + l and 16 bits in h: no quotient of two 8-bit
///           numbers lies within 2^-33 of a point half way between floats, and the sum is within 2^-39. Then
///           alpha (level / divisor) + beta in one fused float operation. The formula rounds to double in between,
///           which changes nothing if -alpha <= beta <= -2^-24 alpha or beta = 0: for quotients of at least 2^-6 the
///           exact sum has 53 bits, and for the smaller ones a search over every alpha finds none whose sum has more
///           than 53 bits and lies so close to a point half way between floats.
///
/// None of this depends on whether a compiler fuses a product with a sum. More than 256 levels, scales out of the
/// ordinary and double take the formula.
#pragma once

#include <bit>
#include <cstdint>

#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/math.hpp"
#include "qdistill/kernels/cpu/uniform_formula.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

inline constexpr Index uniform_block = 256;
inline constexpr int uniform_lanes = 32;  ///< of its reductions

/// The levels and the scale of a bucket: alpha is positive or NaN, and no element is below beta or above its maximum.
template <class T>
struct BucketScale {
  T divisor = 1, alpha = 1, beta = 0;

  bool ordinary() const noexcept { return divisor <= T(255) && alpha <= T(0x1p100) && alpha >= T(1e-10); }
};

/// f over all lanes, by halves: lane l with lane l + width first.
template <class T, class F>
QDISTILL_INLINE T fold_lanes(T* lane, F f) {
  const auto halve = [=](auto width) QDISTILL_ISA_BODY {
    QDISTILL_SIMD
    for (int l = 0; l < width; ++l) lane[l] = f(lane[l], lane[l + width]);
  };
  halve(std::integral_constant<int, 16>());
  halve(std::integral_constant<int, 8>());
  halve(std::integral_constant<int, 4>());
  return f(f(lane[0], lane[2]), f(lane[1], lane[3]));
}

/// Levels of Rows times uniform_lanes elements, and for each lane the largest distance to one as its bits, which are
/// ordered as it is; those of a NaN are above all.
template <int Rows>
QDISTILL_INLINE void near_levels(const float* __restrict v, float beta, float per_step, float* __restrict level,
                                 std::int32_t* __restrict worst) noexcept {
  constexpr float shift = 0x1.8p23f;  // leaves no bits for a fraction
  QDISTILL_SIMD
  for (int l = 0; l < uniform_lanes; ++l) {
    std::int32_t most = worst[l];
    const auto take = [&](int at) QDISTILL_ISA_BODY {
      const float x = v[at] - beta, near = (x * per_step + shift) - shift;
      const auto distance = std::bit_cast<std::int32_t>(math::abs(x * per_step - near));
      most = distance > most ? distance : most;
      level[at] = near;
    };
    take(l);
    if constexpr (Rows == 4) take(l + uniform_lanes), take(l + 2 * uniform_lanes), take(l + 3 * uniform_lanes);
    worst[l] = most;
  }
}

/// level[i] for i < n. False where an element is too close to a half, or is not finite.
QDISTILL_INLINE bool quick_levels(const float* v, Index n, const BucketScale<float>& scale, float* level) noexcept {
  const float beta = scale.beta, per_step = scale.divisor / scale.alpha;
  alignas(64) std::int32_t worst[uniform_lanes];
  QDISTILL_SIMD
  for (int l = 0; l < uniform_lanes; ++l) worst[l] = 0;
  Index i = 0;
  for (; i + 4 * uniform_lanes <= n; i += 4 * uniform_lanes) near_levels<4>(v + i, beta, per_step, level + i, worst);
  for (; i + uniform_lanes <= n; i += uniform_lanes) near_levels<1>(v + i, beta, per_step, level + i, worst);
  for (; i < n; ++i) level[i] = quantize_level<float>(v[i], scale.divisor, scale.alpha, beta);
  const std::int32_t most =
      fold_lanes(worst, [](std::int32_t a, std::int32_t b) QDISTILL_ISA_BODY { return b > a ? b : a; });
  return most < std::bit_cast<std::int32_t>(0.5f - scale.divisor * 0x1p-21f);
}

/// level[i] = quantize_level(v[i]) for i < n <= uniform_block.
template <class T>
QDISTILL_INLINE void block_levels(const T* __restrict v, Index n, const BucketScale<T>& scale, T* __restrict level) {
  if constexpr (std::is_same_v<T, float>)
    if (scale.ordinary() && quick_levels(v, n, scale, level)) return;
  QDISTILL_SIMD
  for (Index i = 0; i < n; ++i) level[i] = quantize_level<T>(v[i], scale.divisor, scale.alpha, scale.beta);
}

/// Turns levels into values.
template <class T>
class LevelValues {
 public:
  /// `fused`: the machine has an instruction for a float product and sum with one rounding.
  QDISTILL_INLINE LevelValues(const BucketScale<T>& scale, bool fused) noexcept : scale_(scale) {
    if constexpr (std::is_same_v<T, float>) {
      const float least = -scale.beta, most = scale.alpha;
      fused_ = fused && scale.ordinary() && (least == 0 || (least >= 0x1p-24f * most && least <= most));
      if (!fused_) return;
      const float inverse = 1 / scale.divisor;
      high_ = std::bit_cast<float>(std::bit_cast<std::uint32_t>(inverse) & 0xFFFFFF00u);
      low_ = static_cast<float>(1 / static_cast<double>(scale.divisor) - static_cast<double>(high_));
    }
  }
  /// q[i] = dequantize(level[i]) for i < n.
  QDISTILL_INLINE void operator()(const T* __restrict level, Index n, T* __restrict q) const noexcept {
    if constexpr (std::is_same_v<T, float>) {
      if (fused_) {
        QDISTILL_SIMD
        for (Index i = 0; i < n; ++i) q[i] = fused_value(level[i]);
        return;
      }
    }
    QDISTILL_SIMD
    for (Index i = 0; i < n; ++i) q[i] = dequantize<T>(level[i], scale_.divisor, scale_.alpha, scale_.beta);
  }

 private:
  QDISTILL_INLINE float fused_value(float level) const noexcept {
    return __builtin_fmaf(scale_.alpha, level * high_ + level * low_, scale_.beta);
  }
  BucketScale<T> scale_;
  float high_ = 0, low_ = 0;  ///< of 1 / divisor
  bool fused_ = false;
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
