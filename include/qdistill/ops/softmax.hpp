/// Softmax and log-softmax over one dimension.
#pragma once

#include "qdistill/kernels/cpu/softmax.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Softmax over `dim`.  dL/dx = y (dL/dy - <dL/dy, y>).  x: any shape; y: the same.
/// Throws ShapeError for a dim out of range, also for a scalar x.
template <class T>
Tensor<T> softmax(const Tensor<T>& x, Index dim) {
  detail::check_defined("softmax", x);
  const detail::DimSplit rows = detail::split_at(x.shape(), wrap_dim("softmax", dim, x.rank()));
  const Tensor<T> in = detail::dense(x);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(), [&](auto dev) { kernels::softmax(dev, in.data(), y.data(), rows.outer, rows.n, rows.inner); });
  return record("softmax", y, inputs(x), [y = save(y), rows](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      kernels::softmax_backward(dev, y.data(), dy.data(), dx[0].data(), rows.outer, rows.n, rows.inner, dx[0].mode());
    });
  });
}

/// log(softmax(x)) over `dim`, without overflow.  dL/dx = dL/dy - exp(y) sum(dL/dy).  x: any shape; y: the same.
/// Throws ShapeError for a dim out of range, also for a scalar x.
template <class T>
Tensor<T> log_softmax(const Tensor<T>& x, Index dim) {
  detail::check_defined("log_softmax", x);
  const detail::DimSplit rows = detail::split_at(x.shape(), wrap_dim("log_softmax", dim, x.rank()));
  const Tensor<T> in = detail::dense(x);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::log_softmax(dev, in.data(), y.data(), rows.outer, rows.n, rows.inner); });
  return record("log_softmax", y, inputs(x), [y = save(y), rows](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      kernels::log_softmax_backward(dev, y.data(), dy.data(), dx[0].data(), rows.outer, rows.n, rows.inner,
                                    dx[0].mode());
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
