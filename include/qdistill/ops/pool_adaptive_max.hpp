/// Max pooling over adaptive bins.
#pragma once

#include "qdistill/kernels/cpu/pool_adaptive_max.hpp"
#include "qdistill/ops/pool_average.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// `indices`, unless null, receives the positions of the maxima. They are only kept where a gradient needs them.
template <class T>
Tensor<T> adaptive_max_pool(const char* op, const Tensor<T>& x, const Shape& wide, Size2d size, bool flat,
                            Tensor<Index>* indices) {
  const BinTable bins = adaptive_bins(op, x.shape(), wide, size);
  const Index h = wide[wide.rank() - 2], w = wide[wide.rank() - 1], planes = x.numel() / (h * w);
  check<ShapeError>(h < Index{1} << 31, op, "got input ", x.shape(), ", expected a height below 2^31");
  const Shape shape = adaptive_shape(wide, size, flat);
  const Tensor<T> in = dense(x);
  Inputs<T> graph = inputs(x);
  Tensor<T> y = Tensor<T>::empty(shape, x.device());
  Tensor<Index> at;
  if (indices || graph.size() > 0) at = Tensor<Index>::empty(shape, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::adaptive_max_pool(dev, bins.grid(planes, h, w, 0), in.data(), y.data(), at.data());
  });
  if (indices) *indices = graph.size() > 0 ? at.clone() : at;  // the caller may change its own
  return record(op, y, std::move(graph), [at, planes, plane = h * w](const Tensor<T>& dy, Gradients<T>& dx) {
    const Index out = planes > 0 ? dy.numel() / planes : 0;
    on_device(dy.device(), [&](auto dev) {
      kernels::adaptive_max_pool_backward(dev, planes, plane, out, dy.data(), at.data(), dx[0].data(), dx[0].mode());
    });
  });
}

}  // namespace detail

/// The largest element of each of size.h x size.w bins that cover each plane (see adaptive_avg_pool2d); a NaN counts as
/// the largest.  x (N, C, H, W) or (C, H, W).  dL/dx = dL/dy at the first maximum of each bin, row by row.  Throws
/// ShapeError and ValueError.
template <class T>
Tensor<T> adaptive_max_pool2d(const Tensor<T>& x, Size2d size) {
  const char* const op = "adaptive_max_pool2d";
  detail::check_defined(op, x);
  return detail::adaptive_max_pool(op, x, detail::with_planes(op, x.shape()), size, false,
                                   static_cast<Tensor<Index>*>(nullptr));
}

/// As adaptive_max_pool2d, with the positions of the maxima.
template <class T>
PooledWithIndices<T> adaptive_max_pool2d_with_indices(const Tensor<T>& x, Size2d size) {
  const char* const op = "adaptive_max_pool2d";
  detail::check_defined(op, x);
  PooledWithIndices<T> out;
  out.output = detail::adaptive_max_pool(op, x, detail::with_planes(op, x.shape()), size, false, &out.indices);
  return out;
}

/// As adaptive_max_pool2d with one spatial dim: x (N, C, L) or (C, L).
template <class T>
Tensor<T> adaptive_max_pool1d(const Tensor<T>& x, Index size) {
  const char* const op = "adaptive_max_pool1d";
  detail::check_defined(op, x);
  return detail::adaptive_max_pool(op, x, detail::with_height(op, x.shape()), {1, size}, true,
                                   static_cast<Tensor<Index>*>(nullptr));
}

}  // namespace qdistill::inline QDISTILL_ABI
