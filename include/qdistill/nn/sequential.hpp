/// Modules in a row, named "0", "1", ... as torch.nn.Sequential names them.
///
///   nn::Sequential<float> net(nn::Linear<float>(784, 128), nn::ReLU<float>(), nn::Linear<float>(128, 10));
#pragma once

#include "qdistill/nn/activation.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

template <class T>
class Sequential final : public Module<T> {
 public:
  Sequential() = default;
  template <class First, class... More>
  requires(!std::is_same_v<std::decay_t<First>, Sequential> || sizeof...(More) > 0) explicit Sequential(First first,
                                                                                                        More... more) {
    push_back(std::move(first));
    (push_back(std::move(more)), ...);
  }
  /// Appends a module and returns it.
  template <class M>
  M& push_back(M module) {
    return this->add(text(this->children().size()), std::move(module));
  }
  Index size() const noexcept { return static_cast<Index>(this->children().size()); }

  /// A ReLU is computed by the module in front of it, in its own pass where it can; in front of a max pool it comes
  /// behind it, where fewer elements are left and the backward pass needs no other tensor than the pool's result.
  Tensor<T> forward(const Tensor<T>& x) override {
    const auto& layers = this->children();
    const auto is_relu = [&](std::size_t i) {
      return i < layers.size() && dynamic_cast<const ReLU<T>*>(layers[i].module.get());
    };
    Tensor<T> y = x;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      Module<T>& layer = *layers[i].module;
      if (!is_relu(i + 1)) {
        y = layer.forward(y);
      } else if (i + 2 < layers.size() && layers[i + 2].module->commutes_with_relu()) {
        y = layer.forward(y);
        y = layers[i += 2].module->forward_relu(y);
      } else {
        y = layer.forward_relu(y), ++i;
      }
    }
    return y;
  }
  const char* type() const noexcept override { return "Sequential"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    for (const auto& child : this->children())
      input = child.module->describe(network, input, prefix + child.name + '.');
    return input;
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
