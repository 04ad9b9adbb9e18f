/// Average pooling over windows and adaptive bins.
#pragma once

#include <new>

#include "qdistill/kernels/cpu/pool_average.hpp"
#include "qdistill/ops/pool_max.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Of avg_pool2d: a stride of 0 stands for the kernel's size. The sum is divided by the size of the window clipped to
/// the padded input, or to the input without `count_include_pad`, or by `divisor_override` if it is not 0.
struct AvgPool2dOptions {
  Size2d stride = 0;
  Size2d padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
  Index divisor_override = 0;
};

namespace detail {

/// The bins of one output dim and then the other, in pool memory.
class BinTable {
 public:
  BinTable(Index rows, Index cols) : memory_(Tensor<Index>::empty({rows + cols, 3})), rows_(rows), cols_(cols) {
    for (Index i = 0; i < rows + cols; ++i) new (memory_.data() + 3 * i) kernels::Bin{0, 0, 1};
  }
  kernels::Bin& row(Index i) noexcept { return bins()[i]; }
  kernels::Bin& col(Index j) noexcept { return bins()[rows_ + j]; }
  /// The kernel's view of planes of h x w.
  kernels::BinGrid grid(Index planes, Index h, Index w, Index divisor) const noexcept {
    const kernels::Bin* const first = const_cast<BinTable*>(this)->bins();
    return {planes, h, w, rows_, cols_, first, first + rows_, divisor};
  }

 private:
  kernels::Bin* bins() noexcept { return std::launder(reinterpret_cast<kernels::Bin*>(memory_.data())); }
  Tensor<Index> memory_;
  Index rows_, cols_;
};

/// Means of x's planes (h x w) over the bins; y has shape `shape`.
template <class T>
Tensor<T> average(const char* op, const Tensor<T>& x, const Shape& shape, const BinTable& bins, Index h, Index w,
                  Index divisor) {
  const Index planes = h * w > 0 ? x.numel() / (h * w) : 0;
  const Tensor<T> in = dense(x);
  Tensor<T> y = Tensor<T>::empty(shape, x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::average_pool(dev, bins.grid(planes, h, w, divisor), in.data(), y.data()); });
  return record(op, y, inputs(x), [bins, planes, h, w, divisor](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      kernels::average_pool_backward(dev, bins.grid(planes, h, w, divisor), dy.data(), dx[0].data(), dx[0].mode());
    });
  });
}

/// Average pool of x seen with the shape `wide`; the output's shape goes to `shape` through its last two dims.
template <class T>
Tensor<T> avg_pool(const char* op, const Tensor<T>& x, const Shape& wide, Size2d kernel, const AvgPool2dOptions& o,
                   bool flat) {
  check(o.divisor_override >= 0, op, "got divisor_override ", o.divisor_override,
        ", expected at least 1, or 0 for none");
  const kernels::PoolShape s = pool_shape(op, wide, kernel, o.stride, o.padding, 1, o.ceil_mode);
  BinTable bins(s.out_h, s.out_w);
  for (Index i = 0; i < s.out_h; ++i)
    bins.row(i) = kernels::window_bin(i, s.h, s.kh, s.stride_h, s.pad_h, o.count_include_pad);
  for (Index j = 0; j < s.out_w; ++j)
    bins.col(j) = kernels::window_bin(j, s.w, s.kw, s.stride_w, s.pad_w, o.count_include_pad);
  Shape shape = pooled_shape(wide, s);
  if (flat) shape.erase(wide.rank() - 2);
  return average(op, x, shape, bins, s.h, s.w, o.divisor_override);
}

/// The bins of an adaptive pool of x, seen with the shape `wide`, to `size`. Throws ShapeError and ValueError.
inline BinTable adaptive_bins(const char* op, const Shape& x, const Shape& wide, Size2d size) {
  const Index h = wide[wide.rank() - 2], w = wide[wide.rank() - 1];
  check<ShapeError>(h > 0 && w > 0, op, "got input ", x, ", expected planes of at least one element");
  constexpr Index most = Index{1} << 24;
  check(size.h >= 1 && size.w >= 1 && size.h <= most && size.w <= most, op, "got output size ", Shape{size.h, size.w},
        ", expected 1 to ", most);
  BinTable bins(size.h, size.w);
  for (Index i = 0; i < size.h; ++i) bins.row(i) = kernels::adaptive_bin(i, h, size.h);
  for (Index j = 0; j < size.w; ++j) bins.col(j) = kernels::adaptive_bin(j, w, size.w);
  return bins;
}

/// Its output's shape.
inline Shape adaptive_shape(const Shape& wide, Size2d size, bool flat) {
  Shape shape = wide;
  shape[wide.rank() - 2] = size.h, shape[wide.rank() - 1] = size.w;
  if (flat) shape.erase(wide.rank() - 2);
  return shape;
}

template <class T>
Tensor<T> adaptive_avg_pool(const char* op, const Tensor<T>& x, const Shape& wide, Size2d size, bool flat) {
  const BinTable bins = adaptive_bins(op, x.shape(), wide, size);
  return average(op, x, adaptive_shape(wide, size, flat), bins, wide[wide.rank() - 2], wide[wide.rank() - 1], 0);
}

/// (N, C, H, W) or (C, H, W).
inline const Shape& with_planes(const char* op, const Shape& x) {
  check<ShapeError>(x.rank() == 3 || x.rank() == 4, op, "got input ", x, ", expected (N, C, H, W) or (C, H, W)");
  return x;
}

/// (N, C, L) or (C, L) with a height of 1.
inline Shape with_height(const char* op, const Shape& x) {
  check<ShapeError>(x.rank() == 2 || x.rank() == 3, op, "got input ", x, ", expected (N, C, L) or (C, L)");
  Shape wide = x;
  wide.insert(x.rank() - 1, 1);
  return wide;
}

}  // namespace detail

/// Mean of each window, the padding counting as zeros.  x (N, C, H, W) or (C, H, W).  Throws ShapeError and ValueError.
template <class T>
Tensor<T> avg_pool2d(const Tensor<T>& x, Size2d kernel, const AvgPool2dOptions& options = {}) {
  detail::check_defined("avg_pool2d", x);
  return detail::avg_pool("avg_pool2d", x, x.shape(), kernel, options, false);
}

/// Of avg_pool1d; see AvgPool2dOptions.
struct AvgPool1dOptions {
  Index stride = 0;
  Index padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
};

/// As avg_pool2d with one spatial dim: x (N, C, L) or (C, L).
template <class T>
Tensor<T> avg_pool1d(const Tensor<T>& x, Index kernel, const AvgPool1dOptions& o = {}) {
  detail::check_defined("avg_pool1d", x);
  const AvgPool2dOptions options{{1, o.stride}, {0, o.padding}, o.ceil_mode, o.count_include_pad, 0};
  return detail::avg_pool("avg_pool1d", x, detail::with_height("avg_pool1d", x.shape()), {1, kernel}, options, true);
}

/// Means over size.h x size.w bins that cover each plane; bin i of O over H rows reaches from floor(i H / O) to
/// ceil((i + 1) H / O).  x (N, C, H, W) or (C, H, W).  Throws ShapeError and ValueError.
template <class T>
Tensor<T> adaptive_avg_pool2d(const Tensor<T>& x, Size2d size) {
  const char* const op = "adaptive_avg_pool2d";
  detail::check_defined(op, x);
  return detail::adaptive_avg_pool(op, x, detail::with_planes(op, x.shape()), size, false);
}

/// As adaptive_avg_pool2d with one spatial dim: x (N, C, L) or (C, L).
template <class T>
Tensor<T> adaptive_avg_pool1d(const Tensor<T>& x, Index size) {
  const char* const op = "adaptive_avg_pool1d";
  detail::check_defined(op, x);
  return detail::adaptive_avg_pool(op, x, detail::with_height(op, x.shape()), {1, size}, true);
}

}  // namespace qdistill::inline QDISTILL_ABI
