/// The end of a residual block: a sum and its ReLU in one pass.
#pragma once

#include "qdistill/ops/arithmetic.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// y = max(a + b, 0), of one shape.  dL/da = dL/db = dL/dy where y > 0, 0 elsewhere: one tensor for both. Works in a's
/// or b's buffer when that was its last use. Throws ShapeError.
template <class T>
Tensor<T> add_relu(Tensor<T> a, Tensor<T> b) {
  const char* const op = "add_relu";
  detail::check_defined(op, a), detail::check_defined(op, b);
  check<ShapeError>(a.shape() == b.shape(), op, "got shapes ", a.shape(), " and ", b.shape(), ", expected equal ones");
  Tensor<T> y = detail::binary_result(a, b, a.shape());
  const Tensor<T> da = detail::dense(a), db = detail::dense(b);
  on_device(a.device(), [&](auto dev) {
    kernels::map(dev, y.numel(), da.data(), db.data(), y.data(),
                 [](T u, T v) QDISTILL_ISA_BODY { return kernels::Relu{}(kernels::Add{}(u, v)); });
  });
  return record(op, y, inputs(a, b), [y = save(y)](Tensor<T>& dy, Gradients<T>& dx) {
    const Tensor<T> dz = detail::through_relu(dy, y.get());
    dx[0].accumulate(dz);
    dx[1].accumulate(dz);
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
