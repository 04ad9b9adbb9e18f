/// What the elementwise functions of one input, and operations with a ReLU inside, share.
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/elementwise_functions.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI::detail {

template <class T, class F>
void elementwise_backward(F f, const Tensor<T>& dy, const T* kept, GradientSlot<T>& dx) {
  dx.reuse(dy);
  on_device(dy.device(), [&](auto dev) {
    kernels::map_backward(dev, dy.numel(), dy.data(), kept, dx.data(), dx.mode(),
                          [f](T d, T v) QDISTILL_ISA_BODY { return f.gradient(d, v); });
  });
}

/// y = f(x), with f one of kernels/cpu/elementwise_functions.hpp. Works in x's buffer when that was its last use.
template <class T, class F>
Tensor<T> elementwise(const char* op, Tensor<T> x, F f) {
  check_defined(op, x);
  Tensor<T> y = reuse_or_empty(x);
  const Tensor<T> in = dense(x);
  on_device(x.device(), [&](auto dev) {
    kernels::map(dev, in.numel(), in.data(), y.data(), [f](T v) QDISTILL_ISA_BODY { return f(v); });
  });
  if constexpr (F::keep == kernels::Keep::nothing) {
    return record(op, y, inputs(x),
                  [f](const Tensor<T>& dy, Gradients<T>& dx) { elementwise_backward(f, dy, dy.data(), dx[0]); });
  } else {
    return record(op, y, inputs(x),
                  [kept = save(F::keep == kernels::Keep::output ? y : in), f](const Tensor<T>& dy, Gradients<T>& dx) {
                    elementwise_backward(f, dy, kept.data(), dx[0]);
                  });
  }
}

/// dL/d(z) of y = max(z, 0) from dL/dy and y: dy where y > 0, else 0. In dy's own buffer if nobody else holds it.
template <class T>
Tensor<T> through_relu(Tensor<T>& dy, const Tensor<T>& y) {
  Tensor<T> dz = dy.sole_owner() ? std::move(dy) : Tensor<T>::empty(dy.shape(), dy.device());
  const T* const from = dy.defined() ? dy.data() : dz.data();
  on_device(dz.device(), [&](auto dev) {
    kernels::map(dev, dz.numel(), from, y.data(), dz.data(),
                 [](T g, T v) QDISTILL_ISA_BODY { return v > T(0) ? g : T(0); });
  });
  return dz;
}

}  // namespace qdistill::inline QDISTILL_ABI::detail
