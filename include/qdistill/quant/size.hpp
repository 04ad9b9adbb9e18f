/// The size of a whole model as the DiffQ paper counts it (Defossez, Adi, Synnaeve 2022), MB = 2^20 bytes: each
/// quantized parameter by its own formula (Parametrization::penalty, size_bits), every other one as float32. A
/// parameter that several layers share counts once; running statistics do not count.
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/arithmetic.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// The size as a differentiable term of the loss. Remembers the parametrizations that `model` has when it is made.
template <class T>
class SizePenalty {
 public:
  explicit SizePenalty(const nn::Module<T>& model) {
    double bits = 0;
    for (const auto& [name, p] : model.named_parameters()) {
      const auto& parametrization = p->parametrization();
      if (parametrization && parametrization->penalty().defined()) terms_.push_back(parametrization);
      else bits += parametrization ? parametrization->size_bits() : 32.0 * static_cast<double>(p->data().numel());
    }
    constant_ = bits / (8 * 0x1p20);
  }
  /// In MB, a scalar.
  Tensor<T> operator()() const {
    Tensor<T> sum = Tensor<T>::scalar(static_cast<T>(constant_));
    for (const auto& term : terms_) sum = add(std::move(sum), term->penalty());
    return sum;
  }

 private:
  std::vector<std::shared_ptr<nn::Parametrization<T>>> terms_;
  double constant_ = 0;
};

/// The size with what is really stored: rounded bits. Throws as Parametrization::encode.
template <class T>
double size_mb(const nn::Module<T>& model) {
  double bits = 0;
  for (const auto& [name, p] : model.named_parameters())
    bits += p->parametrization() ? p->parametrization()->size_bits() : 32.0 * static_cast<double>(p->data().numel());
  return bits / (8 * 0x1p20);
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
