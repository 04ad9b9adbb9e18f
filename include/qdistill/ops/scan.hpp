/// Running sums.
#pragma once

#include "qdistill/kernels/cpu/scan.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// y_k = x_0 + ... + x_k along `dim`, added up in double.  dL/dx_k = dL/dy_k + ... + dL/dy_(n-1).  x: any shape but a
/// scalar. Throws ShapeError for a bad dim.
template <class T>
Tensor<T> cumsum(const Tensor<T>& x, Index dim) {
  detail::check_defined("cumsum", x);
  const detail::DimSplit s = detail::split_at(x.shape(), wrap_dim("cumsum", dim, x.rank()));
  const Tensor<T> in = detail::dense(x);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::cumsum(dev, in.data(), y.data(), s.outer, s.n, s.inner, false, Write::set); });
  return record("cumsum", y, inputs(x), [s](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      kernels::cumsum(dev, dy.data(), dx[0].data(), s.outer, s.n, s.inner, true, dx[0].mode());
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
