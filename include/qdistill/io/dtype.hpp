/// Element types of safetensors files, and the conversion of 16-bit floats on reading.
#pragma once

#include <bit>
#include <string_view>

#include "qdistill/core/error.hpp"
#include "qdistill/core/half.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// Those that are read and written. F16 and BF16 are read (converted), and written only as raw bytes.
/// In the order of the reference writer, which sorts tensors by it, descending: wide types first.
enum class Dtype { BOOL, U8, I8, I16, F16, BF16, I32, F32, F64, I64 };

inline const char* name(Dtype dtype) noexcept {
  constexpr const char* names[] = {"BOOL", "U8", "I8", "I16", "F16", "BF16", "I32", "F32", "F64", "I64"};
  return names[static_cast<int>(dtype)];
}

/// Bytes of an element.
inline Index size_of(Dtype dtype) noexcept {
  constexpr int sizes[] = {1, 1, 1, 2, 2, 2, 4, 4, 8, 8};
  return sizes[static_cast<int>(dtype)];
}

/// Sets `dtype` from its name; false for a name that is not supported.
inline bool parse_dtype(std::string_view text, Dtype& dtype) noexcept {
  for (int i = 0; i <= static_cast<int>(Dtype::I64); ++i) {
    if (text != name(static_cast<Dtype>(i))) continue;
    dtype = static_cast<Dtype>(i);
    return true;
  }
  return false;
}

/// The Dtype of a C++ type: dtype_of<float> is F32. bool is U8 in memory and has none.
template <class T>
inline constexpr Dtype dtype_of = [] {
  if constexpr (std::is_same_v<T, float>) return Dtype::F32;
  else if constexpr (std::is_same_v<T, double>) return Dtype::F64;
  else if constexpr (std::is_same_v<T, std::int64_t>) return Dtype::I64;
  else if constexpr (std::is_same_v<T, std::int32_t>) return Dtype::I32;
  else if constexpr (std::is_same_v<T, std::int16_t>) return Dtype::I16;
  else if constexpr (std::is_same_v<T, std::int8_t>) return Dtype::I8;
  else {
    static_assert(std::is_same_v<T, std::uint8_t>, "no safetensors type for this C++ type");
    return Dtype::U8;
  }
}();

/// bfloat16 to float; exact.
inline float bfloat16_to_float(std::uint16_t value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

}  // namespace qdistill::inline QDISTILL_ABI::io
