/// Codes into a table of points: differentiable quantization (Polino, Pascanu, Alistarh 2018, section 4), weight
/// sharing, ternary and binary weights.
#pragma once

#include <vector>

#include "qdistill/encoding/encoding_checks.hpp"
#include "qdistill/kernels/cpu/uniform_formula.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// One table per tensor. With a scale and an offset per bucket of consecutive elements the value of a code is
/// scale * points[code] + offset, in the arithmetic of `point_value`; without (both empty, bucket_size 0) it is the
/// point itself.
struct TableEncoding {
  Index bucket_size = 0;             ///< elements of a bucket; 0: the whole tensor is one; the last may be short
  std::vector<std::uint16_t> codes;  ///< one per element, row-major, below points.size()
  std::vector<float> points;         ///< 1 to 65536, in any order
  std::vector<float> scale;          ///< alpha, one per bucket, or empty
  std::vector<float> offset;         ///< beta, one per bucket, or empty

  /// Width of a code, 1 to 16.
  int bits() const noexcept {
    int b = 1;
    while (b < 16 && (std::size_t{1} << b) < points.size()) ++b;
    return b;
  }
  bool operator==(const TableEncoding&) const = default;
};

namespace detail {

inline void check_encoding(std::string_view op, Index n, const TableEncoding& e) {
  check(e.bucket_size >= 0, op, "got bucket_size ", e.bucket_size, ", expected 0 (no buckets) or more");
  check(!e.points.empty() && e.points.size() <= 65536, op, "got ", e.points.size(), " points, expected 1 to 65536");
  check<ShapeError>(static_cast<Index>(e.codes.size()) == n, op, "got ", e.codes.size(), " codes, expected ", n,
                    " for the shape");
  const bool scaled = !e.scale.empty() || !e.offset.empty();
  check(scaled || n == 0 || e.bucket_size == 0, op, "got bucket_size ", e.bucket_size, " without scales");
  const Index buckets = scaled ? bucket_count(n, e.bucket_size) : 0;
  check<ShapeError>(static_cast<Index>(e.scale.size()) == buckets && static_cast<Index>(e.offset.size()) == buckets, op,
                    "got ", e.scale.size(), " scales and ", e.offset.size(), " offsets, expected ", buckets,
                    " of each");
  check_finite(op, "point", e.points);
  check_finite(op, "scale", e.scale);
  check_finite(op, "offset", e.offset);
  check_codes<std::uint16_t>(op, e.codes, static_cast<std::uint32_t>(e.points.size()));
}

inline std::vector<float> decode(const TableEncoding& e) {
  const Index n = static_cast<Index>(e.codes.size());
  const Index per_bucket = e.bucket_size > 0 ? e.bucket_size : n;
  std::vector<float> out(e.codes.size());
  for (Index i = 0; i < n; ++i) {
    const float point = e.points[e.codes[i]];
    out[i] = e.scale.empty() ? point : point_value(point, e.scale[i / per_bucket], e.offset[i / per_bucket]);
  }
  return out;
}

inline Index plain_bits(const TableEncoding& e) {
  return static_cast<Index>(e.codes.size()) * e.bits() +
         static_cast<Index>(e.points.size() + e.scale.size() + e.offset.size()) * 32;
}

}  // namespace detail

}  // namespace qdistill::inline QDISTILL_ABI
