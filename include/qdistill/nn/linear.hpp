/// y = x W^T + b.  weight [out, in], bias [out], as torch.nn.Linear.
#pragma once

#include "qdistill/nn/init.hpp"
#include "qdistill/nn/module.hpp"
#include "qdistill/ops/linear.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

struct LinearOptions {
  bool bias = true;
};

template <class T>
class Linear final : public Module<T> {
 public:
  /// Weights as PyTorch initialises them, from the default generator. Throws ShapeError for sizes below 1.
  Linear(Index in, Index out, LinearOptions options = {}) {
    check<ShapeError>(in >= 1 && out >= 1, "Linear", "got ", in, " inputs and ", out, " outputs, expected at least 1");
    Tensor<T> w = Tensor<T>::empty({out, in}), b;
    if (options.bias) b = Tensor<T>::empty({out});
    init::torch_default(w, options.bias ? &b : nullptr);
    weight = this->add_parameter("weight", w, Kind::weight);
    if (options.bias) bias = this->add_parameter("bias", b, Kind::bias);
  }
  /// A layer on parameters that another layer owns too (tied weights).
  explicit Linear(ParameterPtr<T> shared_weight, ParameterPtr<T> shared_bias = nullptr)
      : weight(this->add_parameter("weight", std::move(shared_weight))) {
    if (shared_bias) bias = this->add_parameter("bias", std::move(shared_bias));
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    return linear(this->observed(x), weight->effective(this->phase()), bias_now());
  }
  /// relu(forward(x)) with the ReLU in the product's epilogue.
  Tensor<T> forward_relu(const Tensor<T>& x) override {
    return linear_relu(this->observed(x), weight->effective(this->phase()), bias_now());
  }
  const char* type() const noexcept override { return "Linear"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    TensorNames tensors{{"weight", prefix + "weight"}};
    if (bias) tensors["bias"] = prefix + "bias";
    return network.add("linear", {input}, {}, tensors);
  }

  ParameterPtr<T> weight, bias;

 private:
  Tensor<T> bias_now() { return bias ? bias->effective(this->phase()) : Tensor<T>{}; }
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
