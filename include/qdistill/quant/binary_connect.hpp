/// Binary weights (Courbariaux, Bengio, David 2015, BinaryConnect, deterministic).
///
///   stored     w, full precision, clipped to [-1, 1] after each step (Algorithm 1, line 3)
///   effective  -1 where w < 0, +1 elsewhere (equation 1)
///   backward   straight through: dL/dw = dL/dq, a surrogate
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct BinaryConnect {
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class BinaryConnectParametrization final : public nn::Parametrization<T> {
 public:
  explicit BinaryConnectParametrization(Tensor<T> w) { stored_[0] = {"", std::move(w), true, ""}; }
  void refresh() override {
    Tensor<T>& w = stored_[0].tensor;
    on_device(w.device(), [&](auto dev) {
      kernels::map(dev, w.numel(), std::as_const(w).data(), w.data(), [](T v) QDISTILL_ISA_BODY {
        return v < T(-1) ? T(-1) : v > T(1) ? T(1) : v;
      });
    });
    w.mark_changed();
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>& w = stored_[0].tensor;
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    on_device(w.device(), [&](auto dev) {
      kernels::map(dev, w.numel(), w.data(), q.data(), [](T v) QDISTILL_ISA_BODY { return v < T(0) ? T(-1) : T(1); });
    });
    return record("binary_connect", q, inputs(w), [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    UniformEncoding e;  // the levels 0 and 1 of 2 l - 1
    e.bits = 1;
    detail::check_finite("quant::BinaryConnect", w);
    for (const T v : w.span()) e.codes.push_back(v < T(0) ? 0 : 1);
    if (w.numel() > 0) e.scale = {2.0f}, e.offset = {-1.0f};
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  /// One for each weight: -1 and +1 need not be stored.
  double size_bits() const override { return static_cast<double>(stored_[0].tensor.numel()); }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return "BinaryConnect, 1 bit"; }

 private:
  nn::StoredTensor<T> stored_[1];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> BinaryConnect::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<BinaryConnectParametrization<T>>(parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
