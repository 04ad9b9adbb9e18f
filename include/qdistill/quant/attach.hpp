/// Puts quantizers on a model's parameters, and takes them off.
#pragma once

#include "qdistill/quant/select.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// Attaches `quantizer` (quant::Uniform, ...) to each selected parameter; returns how many. Parameters that carry one
/// already get the new one. The optimizer may be made before or after, unless the quantizer stores more than the
/// weight. Throws ValueError for bad settings or if nothing was selected, ShapeError for a tensor that the quantizer
/// can't take; nothing is attached then.
template <class T, class Q>
Index attach(nn::Module<T>& model, const Q& quantizer, const Select& select = all_parameters()) {
  std::vector<std::pair<nn::Parameter<T>*, std::shared_ptr<nn::Parametrization<T>>>> made;
  for (const auto& [name, p] : selected(model, select)) made.emplace_back(p.get(), quantizer.template make<T>(*p));
  check(!made.empty(), "attach", "the selection chose none of the ", model.named_parameters().size(), " parameters");
  for (auto& [parameter, parametrization] : made) parameter->set_parametrization(std::move(parametrization));
  return static_cast<Index>(made.size());
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
