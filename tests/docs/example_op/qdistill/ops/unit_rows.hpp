// [snippet op]
/// Rows scaled to length 1.
#pragma once

#include "qdistill/kernels/cpu/unit_rows.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// x / max(|x|, eps) for each row of x [rows, n]; y: the same shape.  dL/dx = (dL/dy - y <dL/dy, y>) / max(|x|, eps).
/// Throws ShapeError for another rank, ValueError for an eps that is not above 0.
template <class T>
Tensor<T> unit_rows(const Tensor<T>& x, double eps = 1e-12) {
  detail::check_defined("unit_rows", x);
  check<ShapeError>(x.rank() == 2, "unit_rows", "got shape ", x.shape(), ", expected [rows, n]");
  check(eps > 0, "unit_rows", "got eps ", eps, ", expected it above 0");
  const Index rows = x.shape()[0], n = x.shape()[1];
  const auto least = static_cast<T>(eps);
  const Tensor<T> in = detail::dense(x);  // x itself, or a row-major copy of a view
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device()), length = Tensor<T>::empty({rows}, x.device());
  on_device(x.device(), [&](auto dev) { kernels::unit_rows(dev, in.data(), y.data(), length.data(), rows, n, least); });
  return record("unit_rows", y, inputs(x),
                [y = save(y), length = save(length), rows, n, least](const Tensor<T>& dy, Gradients<T>& dx) {
                  on_device(dy.device(), [&](auto dev) {
                    kernels::unit_rows_backward(dev, y.data(), length.data(), dy.data(), dx[0].data(), rows, n, least,
                                                dx[0].mode());
                  });
                });
}

}  // namespace qdistill::inline QDISTILL_ABI
// [end]
