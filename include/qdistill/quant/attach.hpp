/// Puts quantizers on a model's parameters, and takes them off.
#pragma once

#include "qdistill/quant/select.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// Attaches `quantizer` (quant::Uniform, ...) to each selected parameter; returns how many. Parameters that carry one
/// already get the new one. The optimizer may be made before or after. Throws ValueError for bad settings or if nothing
/// was selected.
template <class T, class Q>
Index attach(nn::Module<T>& model, const Q& quantizer, const Select& select = all_parameters()) {
  const auto parameters = model.named_parameters();
  Index attached = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    auto& p = *parameters[i].parameter;
    const Candidate candidate{parameters[i].name, p.kind(), p.shape(), static_cast<Index>(i),
                              static_cast<Index>(parameters.size())};
    if (!select(candidate)) continue;
    p.set_parametrization(quantizer.template make<T>(p));
    ++attached;
  }
  check(attached > 0, "attach", "the selection chose none of the ", parameters.size(), " parameters");
  return attached;
}

/// Takes all parametrizations off; the stored weights stay.
template <class T>
void detach(nn::Module<T>& model) {
  for (const auto& p : model.named_parameters()) p.parameter->set_parametrization(nullptr);
}

/// Takes all parametrizations off and keeps what they computed: each weight becomes its effective one in evaluation.
template <class T>
void bake(nn::Module<T>& model) {
  const NoGrad no_grad;
  for (const auto& [name, p] : model.named_parameters()) {
    if (!p->parametrization()) continue;
    const Tensor<T> w = p->effective(nn::Phase::eval).clone();
    p->set_parametrization(nullptr);
    p->data().copy_from(w);
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
