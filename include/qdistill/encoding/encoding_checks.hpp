/// What the checks of all encodings share.
#pragma once

#include <cmath>
#include <limits>
#include <span>
#include <string_view>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Number of elements of `shape` (1 for a scalar). Throws ShapeError for a negative extent or a product above 2^63 - 1.
inline Index checked_numel(std::string_view op, std::span<const Index> shape) {
  Index n = 1;
  bool empty = false;
  for (const Index d : shape) {
    check<ShapeError>(d >= 0, op, "got shape ", shape, ", expected no negative extent");
    if (d == 0) empty = true;
  }
  if (empty) return 0;
  for (const Index d : shape) {
    check<ShapeError>(n <= std::numeric_limits<Index>::max() / d, op, "got shape ", shape,
                      ", whose number of elements does not fit 63 bits");
    n *= d;
  }
  return n;
}

namespace detail {

inline void check_finite(std::string_view op, const char* what, std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    check(std::isfinite(values[i]), op, "got ", what, '[', i, "] = ", values[i], ", expected a finite number");
}

/// Codes below `limit`.
template <class Code>
void check_codes(std::string_view op, std::span<const Code> codes, std::uint32_t limit) {
  for (std::size_t i = 0; i < codes.size(); ++i)
    check(codes[i] < limit, op, "got code ", codes[i], " at element ", i, ", expected less than ", limit);
}

}  // namespace detail

}  // namespace qdistill::inline QDISTILL_ABI
