/// A model's state by name, as PyTorch names it: parameters and buffers.
#pragma once

#include <map>

#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

/// One entry: `values` or `count` is defined. The tensors share memory with the model.
template <class T>
struct StateEntry {
  std::string name;
  Tensor<T> values;
  Tensor<Index> count;
  const Shape& shape() const noexcept { return values.defined() ? values.shape() : count.shape(); }
};

/// Parameters as the optimizer sees them (of a parametrized one: what is stored, the extra tensors as NAME.SUFFIX),
/// then buffers.
template <class T>
std::vector<StateEntry<T>> state_dict(const Module<T>& model) {
  std::vector<StateEntry<T>> out;
  for (const auto& [name, p] : model.named_parameters()) {
    out.push_back({name, p->data().detach(), {}});
    if (!p->parametrization()) continue;
    for (const StoredTensor<T>& s : p->parametrization()->stored())
      if (!s.name.empty()) out.push_back({name + '.' + s.name, s.tensor.detach(), {}});
  }
  for (const auto& b : model.named_buffers())
    out.push_back({b.name, b.values ? *b.values : Tensor<T>{}, b.count ? *b.count : Tensor<Index>{}});
  return out;
}

/// What a load found. In a strict load both lists are empty or it throws.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the model, not in the state
  std::vector<std::string> unexpected;  ///< in the state, not in the model
};

/// Copies values of the same names and shapes from `from` to `to`, two models of the same class.
template <class T>
void copy_state(const Module<T>& from, Module<T>& to) {
  const auto source = state_dict(from);
  auto target = state_dict(to);
  check(source.size() == target.size(), "copy_state", "got ", source.size(), " tensors for a model of ", target.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    check(source[i].name == target[i].name, "copy_state", "got '", source[i].name, "', expected '", target[i].name,
          "'");
    if (source[i].values.defined()) target[i].values.copy_from(source[i].values);
    else target[i].count.copy_from(source[i].count);
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::nn
