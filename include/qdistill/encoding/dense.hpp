/// Full precision, or half of it.
#pragma once

#include <vector>

#include "qdistill/core/half.hpp"
#include "qdistill/encoding/encoding_checks.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// The values themselves, row-major.
struct DenseEncoding {
  std::vector<float> values;
  bool half = false;  ///< stored as float16; every value must be one exactly (round_to_half)

  bool operator==(const DenseEncoding&) const = default;
};

namespace detail {

inline void check_encoding(std::string_view op, Index n, const DenseEncoding& e) {
  check<ShapeError>(static_cast<Index>(e.values.size()) == n, op, "got ", e.values.size(), " values, expected ", n,
                    " for the shape");
  if (!e.half) return;
  for (std::size_t i = 0; i < e.values.size(); ++i)
    check(is_half(e.values[i]), op, "got value ", e.values[i], " at element ", i, ", expected a float16 number");
}

inline std::vector<float> decode(const DenseEncoding& e) { return e.values; }

inline Index plain_bits(const DenseEncoding& e) { return static_cast<Index>(e.values.size()) * (e.half ? 16 : 32); }

}  // namespace detail

}  // namespace qdistill::inline QDISTILL_ABI
