/// Activations as modules, named as in torch.nn.
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/activation.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

/// A module of an elementwise function without parameters. F: `type`, `op` (its name in a packed network), `apply`.
template <class T, class F>
class Activation final : public Module<T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return F::apply(x); }
  const char* type() const noexcept override { return F::type; }
  int describe(Network& network, int input, const std::string&) const override { return network.add(F::op, {input}); }
};

namespace detail {
struct ReluFunction {
  static constexpr const char *type = "ReLU", *op = "relu";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return relu(x);
  }
};
struct Relu6Function {
  static constexpr const char *type = "ReLU6", *op = "relu6";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return relu6(x);
  }
};
struct GeluFunction {
  static constexpr const char *type = "GELU", *op = "gelu";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return gelu(x);
  }
};
struct SiluFunction {
  static constexpr const char *type = "SiLU", *op = "silu";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return silu(x);
  }
};
struct HardswishFunction {
  static constexpr const char *type = "Hardswish", *op = "hardswish";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return hardswish(x);
  }
};
struct SigmoidFunction {
  static constexpr const char *type = "Sigmoid", *op = "sigmoid";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return sigmoid(x);
  }
};
struct TanhFunction {
  static constexpr const char *type = "Tanh", *op = "tanh";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return qdistill::tanh(x);
  }
};
struct SoftplusFunction {
  static constexpr const char *type = "Softplus", *op = "softplus";
  template <class T>
  static Tensor<T> apply(const Tensor<T>& x) {
    return softplus(x);
  }
};
}  // namespace detail

template <class T>
using ReLU = Activation<T, detail::ReluFunction>;
template <class T>
using ReLU6 = Activation<T, detail::Relu6Function>;
template <class T>
using GELU = Activation<T, detail::GeluFunction>;
template <class T>
using SiLU = Activation<T, detail::SiluFunction>;
template <class T>
using Hardswish = Activation<T, detail::HardswishFunction>;
template <class T>
using Sigmoid = Activation<T, detail::SigmoidFunction>;
template <class T>
using Tanh = Activation<T, detail::TanhFunction>;
template <class T>
using Softplus = Activation<T, detail::SoftplusFunction>;

template <class T>
class LeakyReLU final : public Module<T> {
 public:
  explicit LeakyReLU(double negative_slope = 0.01) : negative_slope_(negative_slope) {}
  Tensor<T> forward(const Tensor<T>& x) override { return leaky_relu(x, negative_slope_); }
  const char* type() const noexcept override { return "LeakyReLU"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("leaky_relu", {input}, {{"negative_slope", negative_slope_}});
  }

 private:
  double negative_slope_;
};

template <class T>
class ELU final : public Module<T> {
 public:
  explicit ELU(double alpha = 1) : alpha_(alpha) {}
  Tensor<T> forward(const Tensor<T>& x) override { return elu(x, alpha_); }
  const char* type() const noexcept override { return "ELU"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("elu", {input}, {{"alpha", alpha_}});
  }

 private:
  double alpha_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
