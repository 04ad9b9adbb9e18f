/// Says where a training step went wrong: which tensors of the model are not finite, and at which layer the activations
/// stop being so.
#pragma once

#include <cmath>
#include <vector>

#include "qdistill/autograd/grad_mode.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

namespace detail {

inline bool all_finite(const Tensor<float>& t) {
  const Tensor<float> dense = contiguous(t);
  for (const float v : dense.span())
    if (!std::isfinite(v)) return false;
  return true;
}

/// The first activation that is not finite, in the order of the forward pass: "the input of 'conv2'". Layers with
/// weights show theirs. "" if all that are seen are finite.
inline std::string first_overflow(nn::Module<float>& model, const Tensor<float>& images) {
  std::string found;
  std::vector<nn::Observing<float>> observing;
  const auto observe = [&](auto& self, nn::Module<float>& module, const std::string& name) -> void {
    observing.emplace_back(module, [&found, name](const Tensor<float>& x) {
      if (found.empty() && !all_finite(x)) found = "the input of '" + name + '\'';
    });
    for (const auto& child : module.children()) self(self, *child.module, nn::joined(name, child.name));
  };
  observe(observe, model, "");
  const NoGrad no_grad;
  const Tensor<float> output = model(images);
  return !found.empty() || all_finite(output) ? found : "the model's output";
}

}  // namespace detail

/// What is not finite in `model` and in its activations on `images`, as the end of a sentence. Runs the model once
/// more, in the phase it is in.
inline std::string not_finite(nn::Module<float>& model, const Tensor<float>& images) {
  Index tensors = 0, bad = 0;
  std::string first;
  for (const auto& e : nn::state_dict(model)) {  // what quantizers store included
    if (!e.values.defined()) continue;
    ++tensors;
    if (detail::all_finite(e.values)) continue;
    if (bad++ == 0) first = e.name;
  }
  std::string out =
      bad == 0 ? std::string("all tensors of the model are finite")
               : text(bad, " of ", tensors, " tensors of the model are not finite, the first is '", first, '\'');
  const std::string where = detail::first_overflow(model, images);
  if (!where.empty()) out += "; the first activation that is not is " + where;
  return out;
}

}  // namespace qdistill::inline QDISTILL_ABI::train
