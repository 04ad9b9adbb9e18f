/// What the elementwise functions of one input share.
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI::detail {

/// y = f(x), with f one of kernels/cpu/elementwise_functions.hpp. Works in x's buffer when that was its last use.
template <class T, class F>
Tensor<T> elementwise(const char* op, Tensor<T> x, F f) {
  check_defined(op, x);
  Tensor<T> y = reuse_or_empty(x);
  const Tensor<T> in = dense(x);
  on_device(x.device(), [&](auto dev) {
    kernels::map(dev, in.numel(), in.data(), y.data(), [f](T v) QDISTILL_ISA_BODY { return f(v); });
  });
  return record(op, y, inputs(x), [kept = save(F::uses_output ? y : in), f](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      kernels::map_backward(dev, dy.numel(), dy.data(), kept.data(), dx[0].data(), dx[0].mode(),
                            [f](T d, T v) QDISTILL_ISA_BODY { return f.gradient(d, v); });
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::detail
