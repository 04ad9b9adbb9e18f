/// The pools that the runtime executes; see runtime/layers.hpp. Attributes: `kernel`, `stride` (0 or missing: the
/// kernel's size), `padding` (at most half the kernel), `ceil_mode`; max_pool2d also `dilation`, avg_pool2d also
/// `count_include_pad` (true if missing) and `divisor_override` (0 or missing: none); adaptive_avg_pool2d has
/// `output_size` alone.
#pragma once

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

/// Sizes of a pool over the last two dims of a sample [C, H, W].
inline kernels::PoolShape pool_shape(const OpReader& op, bool dilated) {
  op.expect_roles({});
  const Shape& x = op.input_of_rank(3, "[C, H, W]");
  const auto kernel = op.pair("kernel", 1), stride = op.pair_or("stride", 0, 0), padding = op.pair_or("padding", 0, 0);
  const auto dilation = dilated ? op.pair_or("dilation", 1, 1) : OpReader::Pair{1, 1};
  const bool ceil = op.get_or<bool>("ceil_mode", false);
  kernels::PoolShape s;
  s.planes = x[0], s.h = x[1], s.w = x[2];
  s.kh = kernel.h, s.kw = kernel.w, s.pad_h = padding.h, s.pad_w = padding.w;
  s.stride_h = stride.h == 0 ? kernel.h : stride.h, s.stride_w = stride.w == 0 ? kernel.w : stride.w;
  s.dil_h = dilation.h, s.dil_w = dilation.w;
  s.out_h = pool_windows(op, s.h, s.kh, s.stride_h, s.pad_h, s.dil_h, ceil);
  s.out_w = pool_windows(op, s.w, s.kw, s.stride_w, s.pad_w, s.dil_w, ceil);
  return s;
}

struct MaxPoolLayer {
  explicit MaxPoolLayer(const OpReader& op) : s(pool_shape(op, true)), shape{s.planes, s.out_h, s.out_w} {}

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

/// Means over rectangles of [C, H, W]: windows, or (Adaptive) `output_size` bins that cover the plane, of which bin i
/// of O over H rows reaches from floor(i H / O) to ceil((i + 1) H / O).
template <bool Adaptive>
struct AveragePoolLayer {
  explicit AveragePoolLayer(const OpReader& op) {
    if constexpr (Adaptive) {
      op.expect_roles({});
      const Shape& x = op.input_of_rank(3, "[C, H, W]");
      planes = x[0], h = x[1], w = x[2];
      const auto size = op.pair("output_size", 1);
      check_bins(op, size.h, size.w);
      for (Index i = 0; i < size.h; ++i) rows.push_back(adaptive_bin(i, h, size.h));
      for (Index j = 0; j < size.w; ++j) cols.push_back(adaptive_bin(j, w, size.w));
    } else {
      const kernels::PoolShape s = pool_shape(op, false);
      const bool whole = op.get_or<bool>("count_include_pad", true);
      planes = s.planes, h = s.h, w = s.w, divisor = op.get_or<std::int64_t>("divisor_override", 0);
      check_bins(op, s.out_h, s.out_w);
      for (Index i = 0; i < s.out_h; ++i) rows.push_back(window_bin(i, h, s.kh, s.stride_h, s.pad_h, whole));
      for (Index j = 0; j < s.out_w; ++j) cols.push_back(window_bin(j, w, s.kw, s.stride_w, s.pad_w, whole));
    }
    shape = Shape{planes, static_cast<Index>(rows.size()), static_cast<Index>(cols.size())};
  }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    Tensor<float> y = Tensor<float>::empty(batched(n, shape));
    kernels::average_pool(Cpu{}, {planes * n, h, w, shape[1], shape[2], rows.data(), cols.data(), divisor},
                          std::as_const(x[0]).data(), y.data());
    return y;
  }

  static kernels::Bin window_bin(Index i, Index size, Index kernel, Index stride, Index padding, bool count_padding) {
    const Index begin = i * stride - padding, end = std::min(begin + kernel, size + padding);
    const Index first = std::max<Index>(begin, 0), past = std::min(end, size);
    return {first, past, count_padding ? end - begin : past - first};
  }
  static kernels::Bin adaptive_bin(Index i, Index size, Index count) {
    const Index begin = i * size / count, end = ((i + 1) * size + count - 1) / count;
    return {begin, end, end - begin};
  }
  void check_bins(const OpReader& op, Index out_h, Index out_w) const {
    const double size = static_cast<double>(planes) * static_cast<double>(out_h) * static_cast<double>(out_w);
    op.require<ShapeError>(size <= static_cast<double>(max_live_elements), "got an output of shape ",
                           Shape{planes, out_h, out_w}, ", expected at most 2^28 elements");
  }

  Index planes = 0, h = 0, w = 0, divisor = 0;
  std::vector<kernels::Bin> rows, cols;
  Shape shape;
};

}  // namespace qdistill::inline QDISTILL_ABI::runtime
