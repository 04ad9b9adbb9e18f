/// Uniform levels with one scale (and offset) per bucket (Polino, Pascanu, Alistarh 2018, section 2).
#pragma once

#include <optional>
#include <vector>

#include "qdistill/encoding/encoding_checks.hpp"
#include "qdistill/kernels/cpu/uniform_formula.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Uniform levels with one scale (and offset) per bucket of consecutive elements of the flat tensor.
///
/// A code has `bits` bits. With linear scaling it is the level. With absmax and absnorm its highest bit is the sign
/// (1: negative) and the other bits - 1 are the level of the magnitude, so such a code needs at least 2 bits.
struct UniformEncoding {
  int bits = 0;                      ///< width of a code, 1 to 16
  Index bucket_size = 0;             ///< elements of a bucket; 0: the whole tensor is one bucket; the last may be short
  std::vector<std::uint16_t> codes;  ///< one per element, row-major
  std::vector<float> scale;          ///< alpha, one per bucket
  std::vector<float> offset;         ///< beta, one per bucket; empty with absmax and absnorm
  Scaling scaling = Scaling::linear;
  std::optional<float> mean;  ///< subtracted before scaling, added back after

  /// s, the number of levels: 2^bits, or 2^(bits - 1) of a magnitude.
  Index levels() const noexcept { return Index{1} << (scaling == Scaling::linear ? bits : bits - 1); }
  bool operator==(const UniformEncoding&) const = default;
};

namespace detail {

/// What holds for every uniform encoding, whether its codes are in memory yet or not.
inline void check_uniform_layout(std::string_view op, int bits, Index bucket_size, Scaling scaling) {
  check(scaling == Scaling::linear || scaling == Scaling::absmax || scaling == Scaling::absnorm, op,
        "got an unknown scaling, expected linear, absmax or absnorm");
  const int least = scaling == Scaling::linear ? 1 : 2;
  check(bits >= least && bits <= 16, op, "got ", bits, " bits, expected ", least, " to 16 with ", name(scaling),
        " scaling");
  check(bucket_size >= 0, op, "got bucket_size ", bucket_size, ", expected 0 (no buckets) or more");
}

inline void check_encoding(std::string_view op, Index n, const UniformEncoding& e) {
  check_uniform_layout(op, e.bits, e.bucket_size, e.scaling);
  check<ShapeError>(static_cast<Index>(e.codes.size()) == n, op, "got ", e.codes.size(), " codes, expected ", n,
                    " for the shape");
  const Index buckets = bucket_count(n, e.bucket_size);
  check<ShapeError>(static_cast<Index>(e.scale.size()) == buckets, op, "got ", e.scale.size(), " scales, expected ",
                    buckets, " (", n, " elements in buckets of ", e.bucket_size, ')');
  const Index offsets = e.scaling == Scaling::linear ? buckets : 0;
  check<ShapeError>(static_cast<Index>(e.offset.size()) == offsets, op, "got ", e.offset.size(), " offsets, expected ",
                    offsets, " with ", name(e.scaling), " scaling");
  check_finite(op, "scale", e.scale);
  check_finite(op, "offset", e.offset);
  if (e.mean) check_finite(op, "mean", std::span<const float>(&*e.mean, 1));
  const std::uint32_t limit = std::uint32_t{1} << e.bits;
  for (std::size_t i = 0; i < e.codes.size(); ++i)
    check(e.codes[i] < limit, op, "got code ", e.codes[i], " at element ", i, ", expected less than ", limit, " (",
          e.bits, " bits)");
}

inline std::vector<float> decode(const UniformEncoding& e) {
  const Index n = static_cast<Index>(e.codes.size()), buckets = bucket_count(n, e.bucket_size);
  const Index per_bucket = e.bucket_size > 0 ? e.bucket_size : n;
  const auto divisor = static_cast<float>(e.levels() - 1);
  const float mean = e.mean.value_or(0.0f);
  std::vector<float> out(e.codes.size());
  for (Index b = 0; b < buckets; ++b) {
    const Index begin = b * per_bucket, end = n - begin < per_bucket ? n : begin + per_bucket;
    for (Index i = begin; i < end; ++i) {
      float value = 0;
      if (e.scaling == Scaling::linear) {
        value = dequantize<float>(e.codes[i], divisor, e.scale[b], e.offset[b]);
      } else {
        const int sign_bit = 1 << (e.bits - 1), level = e.codes[i] & (sign_bit - 1);
        value = dequantize<float>(static_cast<float>(level), divisor, e.scale[b], 0.0f);
        if (e.codes[i] & sign_bit) value = -value;
      }
      out[i] = e.mean ? value + mean : value;
    }
  }
  return out;
}

inline Index plain_bits(const UniformEncoding& e) {
  return static_cast<Index>(e.codes.size()) * e.bits + static_cast<Index>(e.scale.size() + e.offset.size()) * 32;
}

}  // namespace detail

}  // namespace qdistill::inline QDISTILL_ABI
