/// The pools that the runtime executes, over one (Spatial 1) or two dims; see runtime/layers.hpp. Attributes: `kernel`,
/// `stride` (0 or missing: the kernel's size), `padding` (at most half the kernel), `ceil_mode`; max_pool also
/// `dilation`, avg_pool also `count_include_pad` (true if missing) and `divisor_override` (0 or missing: none);
/// adaptive_avg_pool and adaptive_max_pool have `output_size` alone.
#pragma once

#include "qdistill/kernels/cpu/pool_adaptive_max.hpp"
#include "qdistill/kernels/cpu/pool_average.hpp"
#include "qdistill/kernels/cpu/pool_max.hpp"
#include "qdistill/runtime/layers.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

/// Largest kernel of a pool that is read from a file: the loops over a window run as long as it says.
inline constexpr Index max_pool_kernel = Index{1} << 15;

/// Windows along one dim, by PyTorch's rule: `ceil` keeps a last one that only partly lies in the input, but none that
/// would start in the padding behind it.
inline Index pool_windows(const OpReader& op, Index size, Index kernel, Index stride, Index padding, Index dilation,
                          bool ceil) {
  op.require(kernel <= max_pool_kernel, "got a kernel of ", kernel, ", expected at most ", max_pool_kernel);
  op.require(padding <= kernel / 2, "got padding ", padding, " for a kernel of ", kernel,
             ", expected at most half of it");
  const Index room = size + 2 * padding - dilation * (kernel - 1) - 1;
  op.require<ShapeError>(room >= 0, "got size ", size, " for a kernel of ", kernel, ", padding ", padding,
                         " and dilation ", dilation, ", expected a kernel that fits");
  const Index count = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  return ceil && (count - 1) * stride >= size + padding ? count - 1 : count;
}

/// A sample's sizes as planes of a height, which is 1 where there is one spatial dim, and a width.
template <int Spatial>
struct PoolInput {
  explicit PoolInput(const OpReader& op) {
    op.expect_roles({});
    const Shape& x = op.input_of_rank(Spatial + 1, Spatial == 2 ? "[C, H, W]" : "[C, L]");
    planes = x[0], h = Spatial == 2 ? x[1] : 1, w = x[Spatial];
  }
  /// An attribute that must be there: a pair, or one number for the width beside `height`.
  static OpReader::Pair pair(const OpReader& op, const char* name, Index least, Index height) {
    if constexpr (Spatial == 2) return op.pair(name, least);
    op.get<std::int64_t>(name);
    return {height, op.count_or(name, least, least)};
  }
  static OpReader::Pair pair_or(const OpReader& op, const char* name, Index least, Index otherwise) {
    if constexpr (Spatial == 2) return op.pair_or(name, least, otherwise);
    return {otherwise, op.count_or(name, least, otherwise)};
  }
  static Shape output(Index planes, Index h, Index w) { return Spatial == 2 ? Shape{planes, h, w} : Shape{planes, w}; }

  Index planes = 0, h = 0, w = 0;
};

/// Sizes of a pool over the last dims of a sample.
template <int Spatial>
kernels::PoolShape pool_shape(const OpReader& op, bool dilated) {
  using Input = PoolInput<Spatial>;
  const Input x(op);
  const auto kernel = Input::pair(op, "kernel", 1, 1), stride = Input::pair_or(op, "stride", 0, 0);
  const auto padding = Input::pair_or(op, "padding", 0, 0);
  const auto dilation = dilated ? Input::pair_or(op, "dilation", 1, 1) : OpReader::Pair{1, 1};
  const bool ceil = op.get_or<bool>("ceil_mode", false);
  kernels::PoolShape s;
  s.planes = x.planes, s.h = x.h, s.w = x.w;
  s.kh = kernel.h, s.kw = kernel.w, s.pad_h = padding.h, s.pad_w = padding.w;
  s.stride_h = stride.h == 0 ? kernel.h : stride.h, s.stride_w = stride.w == 0 ? kernel.w : stride.w;
  s.dil_h = dilation.h, s.dil_w = dilation.w;
  s.out_h = pool_windows(op, s.h, s.kh, s.stride_h, s.pad_h, s.dil_h, ceil);
  s.out_w = pool_windows(op, s.w, s.kw, s.stride_w, s.pad_w, s.dil_w, ceil);
  return s;
}

template <int Spatial>
struct MaxPoolLayer {
  explicit MaxPoolLayer(const OpReader& op)
      : s(pool_shape<Spatial>(op, true)), shape(PoolInput<Spatial>::output(s.planes, s.out_h, s.out_w)) {}

  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    Tensor<float> y = Tensor<float>::empty(batched(n, shape));
    kernels::PoolShape sizes = s;
    sizes.planes *= n;
    const float* const from = std::as_const(x[0]).data();
    // Without room for the positions of the maxima only the type of their codes matters: one that holds any tap.
    if (s.kh * s.kw < 255) kernels::max_pool(Cpu{}, sizes, from, y.data(), static_cast<std::uint8_t*>(nullptr));
    else kernels::max_pool(Cpu{}, sizes, from, y.data(), static_cast<Index*>(nullptr));
    return y;
  }

  kernels::PoolShape s;
  Shape shape;
};

/// Rectangles of [C, H, W] that are pooled to one element each.
template <int Spatial>
struct PoolBins {
  kernels::BinGrid grid(Index n) const {
    return {planes * n,  h,           w,      static_cast<Index>(rows.size()), static_cast<Index>(cols.size()),
            rows.data(), cols.data(), divisor};
  }

  Index planes = 0, h = 0, w = 0, divisor = 0;
  std::vector<kernels::Bin> rows, cols;
  Shape shape;

  /// Sets the output's shape. Called before any memory is taken for the bins, whose number a file may say.
  void expect_output(const OpReader& op, Index out_h, Index out_w) {
    const double size = static_cast<double>(planes) * static_cast<double>(out_h) * static_cast<double>(out_w);
    shape = PoolInput<Spatial>::output(planes, out_h, out_w);
    op.require<ShapeError>(size <= static_cast<double>(max_live_elements), "got an output of shape ", shape,
                           ", expected at most 2^28 elements");
  }
};

/// The windows of an average pool.
template <int Spatial>
PoolBins<Spatial> window_bins(const OpReader& op) {
  const kernels::PoolShape s = pool_shape<Spatial>(op, false);
  const bool whole = op.get_or<bool>("count_include_pad", true);
  PoolBins<Spatial> b;
  b.planes = s.planes, b.h = s.h, b.w = s.w, b.divisor = op.get_or<std::int64_t>("divisor_override", 0);
  b.expect_output(op, s.out_h, s.out_w);
  for (Index i = 0; i < s.out_h; ++i) b.rows.push_back(kernels::window_bin(i, b.h, s.kh, s.stride_h, s.pad_h, whole));
  for (Index j = 0; j < s.out_w; ++j) b.cols.push_back(kernels::window_bin(j, b.w, s.kw, s.stride_w, s.pad_w, whole));
  return b;
}

/// `output_size` bins that cover the plane.
template <int Spatial>
PoolBins<Spatial> adaptive_bins(const OpReader& op) {
  const PoolInput<Spatial> x(op);
  const auto size = PoolInput<Spatial>::pair(op, "output_size", 1, 1);
  PoolBins<Spatial> b;
  b.planes = x.planes, b.h = x.h, b.w = x.w;
  b.expect_output(op, size.h, size.w);
  for (Index i = 0; i < size.h; ++i) b.rows.push_back(kernels::adaptive_bin(i, b.h, size.h));
  for (Index j = 0; j < size.w; ++j) b.cols.push_back(kernels::adaptive_bin(j, b.w, size.w));
  return b;
}

/// Means of windows or (Adaptive) bins.
template <int Spatial, bool Adaptive>
struct AveragePoolLayer {
  explicit AveragePoolLayer(const OpReader& op)
      : bins(Adaptive ? adaptive_bins<Spatial>(op) : window_bins<Spatial>(op)), shape(bins.shape) {}
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    Tensor<float> y = Tensor<float>::empty(batched(n, shape));
    kernels::average_pool(Cpu{}, bins.grid(n), std::as_const(x[0]).data(), y.data());
    return y;
  }

  PoolBins<Spatial> bins;
  Shape shape;
};

/// The largest element of each bin.
template <int Spatial>
struct AdaptiveMaxPoolLayer {
  explicit AdaptiveMaxPoolLayer(const OpReader& op) : bins(adaptive_bins<Spatial>(op)), shape(bins.shape) {}
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    Tensor<float> y = Tensor<float>::empty(batched(n, shape));
    kernels::adaptive_max_pool(Cpu{}, bins.grid(n), std::as_const(x[0]).data(), y.data(), static_cast<Index*>(nullptr));
    return y;
  }

  PoolBins<Spatial> bins;
  Shape shape;
};

}  // namespace qdistill::inline QDISTILL_ABI::runtime
