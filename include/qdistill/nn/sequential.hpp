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

  /// A ReLU is computed by the module in front of it, in its own pass where it can.
  Tensor<T> forward(const Tensor<T>& x) override {
    const auto& layers = this->children();
    Tensor<T> y = x;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const bool with_relu = i + 1 < layers.size() && dynamic_cast<const ReLU<T>*>(layers[i + 1].module.get());
      y = with_relu ? layers[i].module->forward_relu(y) : layers[i].module->forward(y);
      if (with_relu) ++i;
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
