/// How the weights of a tensor spread over its points. Differentiable quantization can degenerate (Polino, Pascanu,
/// Alistarh 2018, section 4): all weights on one point, or a few weights that have many points to themselves.
#pragma once

#include <algorithm>

#include "qdistill/encoding/table.hpp"

namespace qdistill::inline QDISTILL_ABI {

struct PointUsage {
  Index weights = 0;
  Index points = 0;
  Index used = 0;     ///< points that have a weight
  Index largest = 0;  ///< weights of the point that has the most

  /// Of the points in use; 0 without weights.
  double weights_per_point() const noexcept {
    return used > 0 ? static_cast<double>(weights) / static_cast<double>(used) : 0.0;
  }
};

/// Throws as `validate` does.
inline PointUsage point_usage(const TableEncoding& e) {
  detail::check_encoding("point_usage", static_cast<Index>(e.codes.size()), e);
  std::vector<Index> counts(e.points.size());
  for (const auto code : e.codes) ++counts[code];
  PointUsage u;
  u.weights = static_cast<Index>(e.codes.size()), u.points = static_cast<Index>(counts.size());
  for (const Index n : counts) u.used += n > 0, u.largest = std::max(u.largest, n);
  return u;
}

}  // namespace qdistill::inline QDISTILL_ABI
