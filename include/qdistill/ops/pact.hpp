/// Quantized activations with a learned clipping (Choi et al. 2018, PACT).
#pragma once

#include "qdistill/kernels/cpu/pact.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// x clipped to [0, alpha] and rounded to 2^bits uniform levels; alpha: one element. Formula and gradients, which are
/// straight through the rounding: kernels/cpu/pact.hpp. Throws ShapeError for an alpha of another size, ValueError for
/// bits outside 1 to 16 or an alpha that is not positive.
template <class T>
Tensor<T> pact_relu(const Tensor<T>& x, const Tensor<T>& alpha, int bits) {
  const char* const op = "pact_relu";
  detail::check_defined(op, x), detail::check_defined(op, alpha);
  check(bits >= 1 && bits <= 16, op, "got ", bits, " bits, expected 1 to 16");
  check<ShapeError>(alpha.numel() == 1, op, "got alpha of shape ", alpha.shape(), ", expected one element");
  const T a = alpha.item();
  check(a > T(0) && std::isfinite(a), op, "got alpha ", a,
        ", expected a positive number. HINT: a lower learning rate or weight decay for alpha");
  const kernels::PactRelu<T> f{a, static_cast<T>((1 << bits) - 1)};
  const Tensor<T> in = detail::dense(x);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::map(dev, in.numel(), in.data(), y.data(), [f](T v) QDISTILL_ISA_BODY { return f(v); });
  });
  return record(op, y, inputs(x, alpha), [x = save(in), a](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      if (dx[0].wanted())
        kernels::pact_relu_backward(dev, dy.numel(), dy.data(), x.data(), a, dx[0].data(), dx[0].mode());
      if (!dx[1].wanted()) return;
      const T da = kernels::pact_relu_alpha_gradient(dev, dy.numel(), dy.data(), x.data(), a);
      T* const out = dx[1].data();
      *out = (dx[1].mode() == Write::add ? *out : T(0)) + da;
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
