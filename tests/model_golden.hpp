/// Golden models: specifications and weights of the authors' CIFAR network.
#pragma once

#include "golden.hpp"
#include "qdistill/models/polino_cnn.hpp"

namespace qdistill_test {

/// The specification that a golden case's "spec_..." parameters stand for.
inline models::PolinoSpec polino_spec_of(const nlohmann::json& p, double momentum) {
  models::PolinoSpec s;
  s.name = "golden", s.batch_norm_momentum = momentum;
  for (const auto& c : p.at("spec_conv_layers"))
    s.convs.push_back(c.at(0).get<Index>()), s.kernel = c.at(1).get<Index>();
  for (const auto& m : p.at("spec_max_pooling")) s.pool_after.push_back(m.at(0).get<Index>());
  for (const auto& l : p.at("spec_linear")) s.linear.push_back(l.get<Index>());
  s.width = p.at("width").get<Index>(), s.height = p.at("height").get<Index>();
  return s;
}

/// Copies the case's tensors PREFIX + name into the model; counts have none there.
template <class T>
void load_golden_state(const GoldenCase& c, const std::string& prefix, nn::Module<T>& model) {
  for (const auto& [name, p] : model.named_parameters()) p->data().copy_from(c.tensor<T>(prefix + name));
  for (const auto& b : model.named_buffers())
    if (b.values) b.values->copy_from(c.tensor<T>(prefix + b.name));
}

}  // namespace qdistill_test
