/// Naive projected gradient: the weights themselves are projected on the quantization grid after every step, and what
/// the projection removed is lost (Polino, Pascanu, Alistarh 2018: the foil of quantized distillation, which
/// keeps the full-precision weights and lets small gradients add up).
///
///   stored     w <- Q(w) after each step, Q uniform as in quant/uniform.hpp
///   effective  w in training; Q(w) in evaluation, which differs by rounding alone
///   backward   dL/dw = dL/d(effective)
#pragma once

#include "qdistill/quant/uniform.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct Projected {
  Uniform quantizer = {};  ///< its gradient mode plays no part
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class ProjectedParametrization final : public nn::Parametrization<T> {
 public:
  ProjectedParametrization(const Projected& settings, Tensor<T> w) : quantizer_(settings.quantizer, std::move(w)) {}
  void refresh() override {
    const NoGrad no_grad;
    const Tensor<T> q = quantizer_.effective(nn::Phase::train);  // stochastic rounding only in training
    Tensor<T> w = quantizer_.stored()[0].tensor;
    w.copy_from(q);
  }
  Tensor<T> effective(nn::Phase phase) override {
    if (phase == nn::Phase::eval) return quantizer_.effective(phase);
    const Tensor<T>& w = quantizer_.stored()[0].tensor;
    return grad_enabled() ? w : w.detach();
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return quantizer_.stored(); }
  Encoding encode() const override { return quantizer_.encode(); }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return "projected, " + quantizer_.description(); }

 private:
  UniformParametrization<T> quantizer_;
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Projected::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<ProjectedParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
