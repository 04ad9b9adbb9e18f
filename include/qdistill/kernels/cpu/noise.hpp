/// Noise of the size of a rounding error, by index: a function of (seed, stream, i), so that a backward pass recomputes
/// it instead of keeping it (Defossez, Adi, Synnaeve 2022).
///
///   gaussian   n_i = N(0, 1) / 2            uniform   n_i = U(-1/2, 1/2)
///
/// Normal numbers by Box and Muller from 24 bits each, in float for every T: r cos(phi) and r sin(phi) with
/// r = sqrt(-2 log u), at most 5.8.
#pragma once

#include "qdistill/kernels/cpu/optim.hpp"  // sqrt_nonnegative
#include "qdistill/kernels/cpu/philox.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Which noise, and where from.
template <class T>
struct PseudoNoise {
  bool gaussian = true;
  RandomStream stream = {};
  const T* given = nullptr;  ///< N(0, 1) or U(0, 1) instead of the stream's numbers (tests)
};

inline constexpr Index noise_batch = 64;  ///< numbers that are made at a time

namespace detail {

/// sin(2 pi y) for |y| <= 1/4, to 1e-7: its series.
QDISTILL_INLINE float sin_turn(float y) noexcept {
  const float s = y * y;
  float p = -15.0946426f;
  p = p * s + 42.0586940f;
  p = p * s - 76.7058598f;
  p = p * s + 81.6052493f;
  p = p * s - 41.3417022f;
  p = p * s + 6.28318531f;
  return y * p;
}

/// Noise of the elements 64 batch to 64 batch + 63.
QDISTILL_INLINE void noise_numbers(RandomStream stream, bool gaussian, Index batch, float* out) {
  alignas(64) std::uint32_t bits[noise_batch];
  philox_batch(stream, static_cast<std::uint64_t>(batch), bits);
  if (!gaussian) {
    QDISTILL_SIMD
    for (int i = 0; i < 64; ++i) out[i] = static_cast<float>(static_cast<std::int32_t>(bits[i] >> 8)) * 0x1p-24f - 0.5f;
    return;
  }
  QDISTILL_SIMD
  for (int i = 0; i < 32; ++i) {
    const float u = (static_cast<float>(static_cast<std::int32_t>(bits[i] >> 8)) + 1.0f) * 0x1p-24f;  // (0, 1]
    const float turn = static_cast<float>(static_cast<std::int32_t>(bits[i + 32] >> 8)) * 0x1p-24f - 0.5f;
    const float a = math::abs(turn), half_r = 0.5f * sqrt_nonnegative(-2.0f * math::log(u));
    const float folded = math::select(a > 0.25f, 0.5f - a, a);
    out[i] = half_r * sin_turn(0.25f - a);  // cos(2 pi turn)
    out[i + 32] = half_r * math::copysign(sin_turn(folded), turn);
  }
}

}  // namespace detail

/// Room that noise_block needs for `count` elements.
constexpr Index noise_room(Index count) noexcept { return count + 2 * noise_batch; }

/// n_i for i in [begin, begin + count), in `buffer` of noise_room(count) elements; returns where the first one is. Goes
/// inside an ISA body.
template <class T>
QDISTILL_INLINE const T* noise_block(const PseudoNoise<T>& noise, Index begin, Index count, T* buffer) {
  if (noise.given) {
    for (Index i = 0; i < count; ++i)
      buffer[i] = noise.gaussian ? noise.given[begin + i] * T(0.5) : noise.given[begin + i] - T(0.5);
    return buffer;
  }
  const Index first = begin / noise_batch, last = (begin + count - 1) / noise_batch;
  for (Index batch = first; batch <= last; ++batch) {
    alignas(64) float numbers[noise_batch];
    detail::noise_numbers(noise.stream, noise.gaussian, batch, numbers);
    T* const to = buffer + (batch - first) * noise_batch;
    QDISTILL_SIMD
    for (int i = 0; i < 64; ++i) to[i] = static_cast<T>(numbers[i]);
  }
  return buffer + begin % noise_batch;
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
