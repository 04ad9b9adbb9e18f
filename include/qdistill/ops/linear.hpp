/// Linear layer as a function, also with the ReLU in the product's epilogue.
#pragma once

#include "qdistill/kernels/cpu/copy.hpp"
#include "qdistill/kernels/cpu/gemm.hpp"
#include "qdistill/ops/elementwise.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

template <class T>
Tensor<T> linear(const char* op, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias, bool relu) {
  check_defined(op, x), check_defined(op, w);
  check<ShapeError>(x.rank() >= 1 && w.rank() == 2 && x.shape()[x.rank() - 1] == w.shape()[1], op, "got input ",
                    x.shape(), " and weight ", w.shape(), ", expected (..., in) and (out, in)");
  const Index in = w.shape()[1], out = w.shape()[0];
  check<ShapeError>(!bias.defined() || (bias.rank() == 1 && bias.shape()[0] == out), op, "got bias ", bias.shape(),
                    " for weight ", w.shape(), ", expected (out)");
  Index rows = 1;
  Shape shape = x.shape();
  for (int d = 0; d + 1 < x.rank(); ++d) rows *= shape[d];
  shape[x.rank() - 1] = out;
  const Tensor<T> xd = dense(x), wd = dense(w), bd = dense(bias);
  Tensor<T> y = Tensor<T>::empty(shape, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::gemm(dev, false, true, rows, out, in, xd.data(), in, wd.data(), in, y.data(), out,
                  kernels::Epilogue<T>{nullptr, bd.data(), relu, Write::set});
  });
  return record(op, y, inputs(x, w, bias),
                [x = save_if(w.requires_grad(), xd), w = save_if(x.requires_grad(), wd), y = save_if(relu, y), rows, in,
                 out, relu](Tensor<T>& dy, Gradients<T>& dx) mutable {
                  const Tensor<T> dz = relu ? through_relu(dy, y.get()) : dy;
                  y.drop(dx.last());
                  // The weights first: x may go before dL/dx comes.
                  on_device(dz.device(), [&](auto dev) {
                    if (dx[1].wanted())
                      kernels::gemm(dev, true, false, out, in, rows, dz.data(), out, x.data(), in, dx[1].data(), in,
                                    kernels::Epilogue<T>{nullptr, nullptr, false, dx[1].mode()});
                    if (dx[2].wanted())
                      kernels::sum_repeated(dev, {rows, out}, {0, 1}, dz.data(), dx[2].data(), dx[2].mode());
                    x.drop(dx.last());
                    if (dx[0].wanted())
                      kernels::gemm(dev, false, false, rows, in, out, dz.data(), out, w.data(), in, dx[0].data(), in,
                                    kernels::Epilogue<T>{nullptr, nullptr, false, dx[0].mode()});
                  });
                });
}

}  // namespace detail

/// y = x w^T + bias.  x (..., in), w (out, in), bias (out) or undefined, y (..., out).
///   dL/dx = dL/dy w,  dL/dw = (dL/dy)^T x,  dL/dbias = sum of dL/dy over all rows.
/// Throws ShapeError.
template <class T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias = {}) {
  return detail::linear("linear", x, w, bias, false);
}

/// y = max(x w^T + bias, 0), in one pass; the gradient is that of the composition, with 0 at 0. Throws ShapeError.
template <class T>
Tensor<T> linear_relu(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias = {}) {
  return detail::linear("linear_relu", x, w, bias, true);
}

}  // namespace qdistill::inline QDISTILL_ABI
