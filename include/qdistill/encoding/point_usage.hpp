/// How the weights of a tensor spread over its points. Differentiable quantization can degenerate (Polino, Pascanu,
/// Alistarh 2018, section 4): all weights on one point, or a few weights that have many points to themselves. The same
/// figures for the levels and codewords of the other encodings.
#pragma once

#include <algorithm>
#include <array>

#include "qdistill/encoding/encoding.hpp"

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
  /// Part of the weights that lie on the point that has the most, 0 to 1; 0 without weights.
  double largest_share() const noexcept {
    return weights > 0 ? static_cast<double>(largest) / static_cast<double>(weights) : 0.0;
  }
};

namespace detail {

inline PointUsage usage_of(const std::vector<Index>& counts) {
  PointUsage u;
  u.points = static_cast<Index>(counts.size());
  for (const Index n : counts) u.weights += n, u.used += n > 0, u.largest = std::max(u.largest, n);
  return u;
}
inline PointUsage usage_of(std::span<const std::uint16_t> codes, std::size_t points) {
  std::vector<Index> counts(points);
  for (const auto code : codes) ++counts[code];
  return usage_of(counts);
}
inline PointUsage usage_of(const DenseEncoding&) { return {}; }
inline PointUsage usage_of(const UniformEncoding& e) { return usage_of(e.codes, std::size_t{1} << e.bits); }
inline PointUsage usage_of(const TableEncoding& e) { return usage_of(e.codes, e.points.size()); }
inline PointUsage usage_of(const ProductEncoding& e) { return usage_of(e.codes, static_cast<std::size_t>(e.count())); }
inline PointUsage usage_of(const GroupedEncoding& e) {
  const auto size = e.group_size > 0 ? static_cast<std::size_t>(e.group_size) : e.codes.size();
  std::array<std::vector<Index>, 17> counts;  // by width
  for (std::size_t g = 0; g < e.widths.size(); ++g) {
    auto& count = counts[e.widths[g]];
    count.resize(std::size_t{1} << e.widths[g]);
    for (std::size_t i = g * size; i < (g + 1) * size; ++i) ++count[e.codes[i]];
  }
  std::vector<Index> all;
  for (const auto& count : counts) all.insert(all.end(), count.begin(), count.end());
  return usage_of(all);
}

}  // namespace detail

/// Throws as `validate` does.
inline PointUsage point_usage(const TableEncoding& e) {
  detail::check_encoding("point_usage", static_cast<Index>(e.codes.size()), e);
  return detail::usage_of(e);
}

/// The same for any encoding: points are the levels that its codes can say, of grouped ones those of each width in use;
/// of a product, codewords, whose weights are blocks; of dense ones there are none. Throws as `validate` does.
inline PointUsage point_usage(const Encoding& e) {
  validate(e, "point_usage");
  return std::visit([](const auto& data) { return detail::usage_of(data); }, e.data);
}

}  // namespace qdistill::inline QDISTILL_ABI
