/// Parameters of convolutions and pools.
#pragma once

#include "qdistill/core/abi.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// A height and a width. One number stands for both: `.stride = 2` and `.stride = {2, 1}` both work.
struct Size2d {
  Index h = 0, w = 0;
  constexpr Size2d() noexcept = default;
  constexpr Size2d(Index both) noexcept : h(both), w(both) {}  // NOLINT: implicit on purpose
  constexpr Size2d(Index height, Index width) noexcept : h(height), w(width) {}
  constexpr Index operator[](int d) const noexcept { return d == 0 ? h : w; }
  friend constexpr bool operator==(Size2d a, Size2d b) noexcept { return a.h == b.h && a.w == b.w; }
};

/// Of conv2d: strides and dilations of at least 1, zero padding on both sides, groups that divide both channel counts.
struct Conv2dOptions {
  Size2d stride = 1;
  Size2d padding = 0;
  Size2d dilation = 1;
  Index groups = 1;
};

/// The same of conv1d.
struct Conv1dOptions {
  Index stride = 1;
  Index padding = 0;
  Index dilation = 1;
  Index groups = 1;
};

}  // namespace qdistill::inline QDISTILL_ABI
