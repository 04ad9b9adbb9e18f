/// What the elementwise functions of one input share.
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/elementwise_functions.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI::detail {

template <class T, class F>
void elementwise_backward(F f, const Tensor<T>& dy, const T* kept, GradientSlot<T>& dx) {
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

}  // namespace qdistill::inline QDISTILL_ABI::detail
