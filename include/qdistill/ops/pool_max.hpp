/// Max pooling.
#pragma once

#include "qdistill/kernels/cpu/pool_max.hpp"
#include "qdistill/ops/common.hpp"
#include "qdistill/ops/conv_options.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Of max_pool2d: a stride of 0 stands for the kernel's size. `ceil_mode` keeps a last window that only partly lies in
/// the input, but none that would start in the padding behind it.
struct MaxPool2dOptions {
  Size2d stride = 0;
  Size2d padding = 0;
  Size2d dilation = 1;
  bool ceil_mode = false;
};

namespace detail {

/// Number of windows along one dim, by PyTorch's rule. Throws ValueError or ShapeError.
inline Index pool_windows(const char* op, Index size, Index kernel, Index stride, Index padding, Index dilation,
                          bool ceil_mode) {
  constexpr Index most = Index{1} << 31;
  check(kernel >= 1 && kernel <= most, op, "got kernel size ", kernel, ", expected at least 1");
  check(stride >= 1 && stride <= most, op, "got stride ", stride, ", expected at least 1");
  check(dilation >= 1 && dilation <= most, op, "got dilation ", dilation, ", expected at least 1");
  check(padding >= 0 && padding <= kernel / 2, op, "got padding ", padding, " for kernel size ", kernel,
        ", expected at most half of it");
  const Index room = size + 2 * padding - dilation * (kernel - 1) - 1;
  check<ShapeError>(size >= 1 && room >= 0, op, "got size ", size, " with kernel size ", kernel, ", padding ", padding,
                    " and dilation ", dilation, ", expected a kernel that fits");
  const Index count = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  return ceil_mode && (count - 1) * stride >= size + padding ? count - 1 : count;
}

/// Sizes of a pool over the last two dims of `x`, (N, C, H, W) or (C, H, W).
inline kernels::PoolShape pool_shape(const char* op, const Shape& x, Size2d kernel, Size2d stride, Size2d padding,
                                     Size2d dilation, bool ceil_mode) {
  check<ShapeError>(x.rank() == 3 || x.rank() == 4, op, "got input ", x, ", expected (N, C, H, W) or (C, H, W)");
  kernels::PoolShape s;
  s.h = x[x.rank() - 2], s.w = x[x.rank() - 1], s.planes = 1;
  for (int d = 0; d + 2 < x.rank(); ++d) s.planes *= x[d];
  s.kh = kernel.h, s.kw = kernel.w, s.pad_h = padding.h, s.pad_w = padding.w, s.dil_h = dilation.h;
  s.dil_w = dilation.w;
  s.stride_h = stride.h == 0 ? kernel.h : stride.h, s.stride_w = stride.w == 0 ? kernel.w : stride.w;
  s.out_h = pool_windows(op, s.h, s.kh, s.stride_h, s.pad_h, s.dil_h, ceil_mode);
  s.out_w = pool_windows(op, s.w, s.kw, s.stride_w, s.pad_w, s.dil_w, ceil_mode);
  return s;
}

/// x's shape with the last two dims of the pool's output.
inline Shape pooled_shape(const Shape& x, const kernels::PoolShape& s) {
  Shape out = x;
  out[x.rank() - 2] = s.out_h, out[x.rank() - 1] = s.out_w;
  return out;
}

/// `Code` holds a tap of the window; `indices`, unless null, receives the flat positions. Codes are only kept where a
/// gradient or indices need them.
template <class Code, class T>
Tensor<T> max_pool(const char* op, const Tensor<T>& x, const kernels::PoolShape& s, const Shape& shape,
                   Tensor<Index>* indices) {
  const Tensor<T> in = dense(x);
  Inputs<T> graph = inputs(x);
  Tensor<T> y = Tensor<T>::empty(shape, x.device());
  Tensor<Code> code;
  if (indices || graph.size() > 0) code = Tensor<Code>::empty(shape, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::max_pool(dev, s, in.data(), y.data(), code.data());
    if (!indices) return;
    *indices = Tensor<Index>::empty(shape, x.device());
    kernels::max_pool_indices(dev, s, code.data(), indices->data());
  });
  return record(op, y, std::move(graph), [code, s](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      kernels::max_pool_backward(dev, s, dy.data(), code.data(), dx[0].data(), dx[0].mode());
    });
  });
}

template <class T>
Tensor<T> max_pool(const char* op, const Tensor<T>& x, const kernels::PoolShape& s, const Shape& shape,
                   Tensor<Index>* indices) {
  if (s.kh * s.kw < 255) return max_pool<std::uint8_t>(op, x, s, shape, indices);
  return max_pool<Index>(op, x, s, shape, indices);
}

template <class T>
Tensor<T> max_pool2d(const Tensor<T>& x, Size2d kernel, const MaxPool2dOptions& o, Tensor<Index>* indices) {
  check_defined("max_pool2d", x);
  const kernels::PoolShape s =
      pool_shape("max_pool2d", x.shape(), kernel, o.stride, o.padding, o.dilation, o.ceil_mode);
  return max_pool("max_pool2d", x, s, pooled_shape(x.shape(), s), indices);
}

}  // namespace detail

/// y = the largest element of each window; padding counts as -infinity, a NaN as the largest.  x (N, C, H, W) or
/// (C, H, W).  dL/dx = dL/dy at the first maximum of each window, row by row.  Throws ShapeError and ValueError.
template <class T>
Tensor<T> max_pool2d(const Tensor<T>& x, Size2d kernel, const MaxPool2dOptions& options = {}) {
  return detail::max_pool2d(x, kernel, options, nullptr);
}

/// A pool's output and the positions of the maxima, row * W + column within each plane.
template <class T>
struct PooledWithIndices {
  Tensor<T> output;
  Tensor<Index> indices;
};

/// As max_pool2d, with the positions of the maxima.
template <class T>
PooledWithIndices<T> max_pool2d_with_indices(const Tensor<T>& x, Size2d kernel, const MaxPool2dOptions& options = {}) {
  PooledWithIndices<T> out;
  out.output = detail::max_pool2d(x, kernel, options, &out.indices);
  return out;
}

/// Of max_pool1d; see MaxPool2dOptions.
struct MaxPool1dOptions {
  Index stride = 0;
  Index padding = 0;
  Index dilation = 1;
  bool ceil_mode = false;
};

/// As max_pool2d with one spatial dim: x (N, C, L) or (C, L).
template <class T>
Tensor<T> max_pool1d(const Tensor<T>& x, Index kernel, const MaxPool1dOptions& o = {}) {
  const char* const op = "max_pool1d";
  detail::check_defined(op, x);
  check<ShapeError>(x.rank() == 2 || x.rank() == 3, op, "got input ", x.shape(), ", expected (N, C, L) or (C, L)");
  Shape wide = x.shape(), shape = x.shape();
  wide.insert(x.rank() - 1, 1);
  const kernels::PoolShape s =
      detail::pool_shape(op, wide, {1, kernel}, {1, o.stride}, {0, o.padding}, {1, o.dilation}, o.ceil_mode);
  shape[x.rank() - 1] = s.out_w;
  return detail::max_pool(op, x, s, shape, static_cast<Tensor<Index>*>(nullptr));
}

}  // namespace qdistill::inline QDISTILL_ABI
