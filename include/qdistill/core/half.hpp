/// IEEE 754 half precision ("float16") as a storage format: 1 sign, 5 exponent, 10 fraction bits.
#pragma once

#include <bit>
#include <cstdint>

#include "qdistill/core/abi.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Half precision to float; exact.
inline float half_to_float(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1Fu, fraction = half & 0x3FFu;
  if (exponent == 0) {  // zero or subnormal: fraction / 2^24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

/// The nearest half, half way to the even one. Beyond 65520 it is infinite; a NaN stays one.
inline std::uint16_t float_to_half(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);  // 65520 and more
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, rounded by an addition that leaves no more bits
    const float shifted = std::bit_cast<float>(magnitude) + 0x1.8p-1f;
    return static_cast<std::uint16_t>(
        sign | (std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0x1.8p-1f)));
  }
  const std::uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);  // a carry moves into the exponent
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

/// The nearest half as a float.
inline float round_to_half(float value) noexcept { return half_to_float(float_to_half(value)); }

/// True if `value` is a half, with its sign.
inline bool is_half(float value) noexcept {
  return std::bit_cast<std::uint32_t>(round_to_half(value)) == std::bit_cast<std::uint32_t>(value);
}

}  // namespace qdistill::inline QDISTILL_ABI
