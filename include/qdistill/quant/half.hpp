/// float16 storage as a parametrization, for the parameters that a quantizer leaves out (Defossez, Adi, Synnaeve 2022,
/// the option "float16"):
///
///   quant::attach(model, quant::DiffQ{}, quant::larger_than_mb(0.01));
///   quant::attach(model, quant::Half{}, quant::not_quantized());
///
///   stored     w, full precision
///   effective  training: w itself; evaluation: the nearest float16 numbers, which is what is packed
///   backward   dL/dw = dL/d(effective): exact in training, straight through in evaluation
#pragma once

#include <cmath>

#include "qdistill/nn/parameter.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct Half {
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class HalfParametrization final : public nn::Parametrization<T> {
 public:
  explicit HalfParametrization(Tensor<T> w) { stored_[0] = {"", std::move(w), true, ""}; }
  Tensor<T> effective(nn::Phase phase) override {
    const Tensor<T>& w = stored_[0].tensor;
    if (phase == nn::Phase::train) return grad_enabled() ? w : w.detach();
    Tensor<T> h = Tensor<T>::empty(w.shape(), w.device());
    for (Index i = 0; i < w.numel(); ++i) h.data()[i] = rounded(w.data()[i]);
    return record("half", h, inputs(w), [](const Tensor<T>& dh, Gradients<T>& dw) { dw[0].accumulate(dh); });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  /// Throws ValueError for a weight that is not finite in float16, whose largest number is 65504.
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    DenseEncoding e;
    e.half = true;
    for (const T v : w.span()) {
      e.values.push_back(static_cast<float>(rounded(v)));
      check(std::isfinite(e.values.back()), "quant::Half", "got weight ", v, " in a tensor of shape ", w.shape(),
            ", expected magnitudes up to 65504");
    }
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return true; }
  std::string description() const override { return "float16"; }

 private:
  static T rounded(T v) noexcept { return static_cast<T>(round_to_half(static_cast<float>(v))); }
  nn::StoredTensor<T> stored_[1];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Half::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<HalfParametrization<T>>(parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
