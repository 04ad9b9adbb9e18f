/// Noise of the size of a rounding error, by index: a function of (seed, stream, i), so that a backward pass recomputes
/// it instead of keeping it (Defossez, Adi, Synnaeve 2022).
///
///   gaussian   n_i = N(0, 1) / 2            uniform   n_i = U(-1/2, 1/2)
///
/// A number takes 16 of the stream's bits, since noise that stands for a rounding error needs no more: uniform numbers
/// are the odd multiples of 2^-17, normal ones come in pairs by Box and Muller, r cos(phi) and r sin(phi) with
/// r = sqrt(-2 log u), to a relative 1e-5, of 2^16 radii, at most 4.9, in 2^16 directions. In float for every T.
#pragma once

#include "qdistill/kernels/cpu/math.hpp"
#include "qdistill/kernels/cpu/philox.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Which noise, and where from.
template <class T>
struct PseudoNoise {
  bool gaussian = true;
  RandomStream stream = {};
  const T* given = nullptr;  ///< N(0, 1) or U(0, 1) instead of the stream's numbers (tests)
};

inline constexpr Index noise_batch = 128;  ///< numbers that are made at a time

namespace detail {

/// sin(2 pi y) for |y| <= 1/4, to 4e-6: its series.
QDISTILL_INLINE float sin_turn(float y) noexcept {
  const float s = y * y;
  float p = 42.0586940f;
  p = p * s - 76.7058598f;
  p = p * s + 81.6052493f;
  p = p * s - 41.3417022f;
  p = p * s + 6.28318531f;
  return y * p;
}

/// sqrt(x) for x in [1e-30, 1e30], to 5e-6: two of Newton's iterations for 1 / sqrt(x).
QDISTILL_INLINE float sqrt_roughly(float x) noexcept {
  const float h = 0.5f * x;
  float r = std::bit_cast<float>(0x5F3759DFu - (std::bit_cast<std::uint32_t>(x) >> 1));
  r = r * (1.5f - (h * r) * r);
  r = r * (1.5f - (h * r) * r);
  return x * r;
}

/// (k + 1/2) / 2^16 - 1/2 for 16 bits k: symmetric about 0.
QDISTILL_INLINE float centred(std::uint32_t k) noexcept {
  return (static_cast<float>(static_cast<std::int32_t>(k)) - 32767.5f) * 0x1p-16f;
}

/// Noise of the elements 128 batch to 128 batch + 127.
QDISTILL_INLINE void noise_numbers(RandomStream stream, bool gaussian, Index batch, float* out) {
  constexpr int half = noise_batch / 2;
  alignas(64) std::uint32_t bits[half];
  philox_batch(stream, static_cast<std::uint64_t>(batch), bits);
  if (!gaussian) {
    QDISTILL_SIMD
    for (int i = 0; i < half; ++i) out[i] = centred(bits[i] & 0xFFFF), out[i + half] = centred(bits[i] >> 16);
    return;
  }
  QDISTILL_SIMD
  for (int i = 0; i < half; ++i) {
    const float u = 0.5f + centred(bits[i] & 0xFFFF), turn = centred(bits[i] >> 16), a = math::abs(turn);
    const float half_r = 0.5f * sqrt_roughly(-2.0f * math::detail::log_normal(u));
    const float folded = 0.25f - math::abs(a - 0.25f);
    out[i] = half_r * sin_turn(0.25f - a);  // cos(2 pi turn)
    out[i + half] = half_r * math::copysign(sin_turn(folded), turn);
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
    T* const to = buffer + (batch - first) * noise_batch;
    if constexpr (std::is_same_v<T, float>) {
      detail::noise_numbers(noise.stream, noise.gaussian, batch, to);
    } else {
      float numbers[noise_batch];
      detail::noise_numbers(noise.stream, noise.gaussian, batch, numbers);
      for (int i = 0; i < noise_batch; ++i) to[i] = static_cast<T>(numbers[i]);
    }
  }
  return buffer + begin % noise_batch;
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
