/// Convolution layers.  Conv2d: weight [out, in / groups, kh, kw], bias [out]; Conv1d: weight [out, in / groups, k].
#pragma once

#include "qdistill/nn/init.hpp"
#include "qdistill/nn/module.hpp"
#include "qdistill/ops/conv.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

struct Conv2dLayerOptions {
  Size2d stride = 1;
  Size2d padding = 0;
  Size2d dilation = 1;
  Index groups = 1;
  bool bias = true;
};

/// torch.nn.Conv2d, NCHW.
template <class T>
class Conv2d final : public Module<T> {
 public:
  Conv2d(Index in, Index out, Size2d kernel, Conv2dLayerOptions options = {})
      : options_{options.stride, options.padding, options.dilation, options.groups} {
    check<ShapeError>(in >= 1 && out >= 1 && kernel.h >= 1 && kernel.w >= 1, "Conv2d", "got ", in, " and ", out,
                      " channels and a kernel of ", kernel.h, " x ", kernel.w, ", expected at least 1");
    check<ShapeError>(options.groups >= 1 && in % options.groups == 0 && out % options.groups == 0, "Conv2d", "got ",
                      options.groups, " groups, expected a divisor of ", in, " and ", out);
    Tensor<T> w = Tensor<T>::empty({out, in / options.groups, kernel.h, kernel.w}), b;
    if (options.bias) b = Tensor<T>::empty({out});
    init::torch_default(w, options.bias ? &b : nullptr);
    weight = this->add_parameter("weight", w, Kind::weight);
    if (options.bias) bias = this->add_parameter("bias", b, Kind::bias);
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    return conv2d(this->observed(x), weight->effective(this->phase()), bias_now(), options_);
  }
  /// relu(forward(x)) with the ReLU in the convolution's epilogue.
  Tensor<T> forward_relu(const Tensor<T>& x) override {
    return conv2d_relu(this->observed(x), weight->effective(this->phase()), bias_now(), options_);
  }
  const char* type() const noexcept override { return "Conv2d"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    const auto pair = [](Size2d s) { return Attribute(std::vector<Index>{s.h, s.w}); };
    TensorNames tensors{{"weight", prefix + "weight"}};
    if (bias) tensors["bias"] = prefix + "bias";
    return network.add("conv2d", {input},
                       {{"stride", pair(options_.stride)},
                        {"padding", pair(options_.padding)},
                        {"dilation", pair(options_.dilation)},
                        {"groups", Attribute(std::int64_t{options_.groups})}},
                       tensors);
  }
  const Conv2dOptions& options() const noexcept { return options_; }

  ParameterPtr<T> weight, bias;

 private:
  Tensor<T> bias_now() { return bias ? bias->effective(this->phase()) : Tensor<T>{}; }
  Conv2dOptions options_;
};

struct Conv1dLayerOptions {
  Index stride = 1;
  Index padding = 0;
  Index dilation = 1;
  Index groups = 1;
  bool bias = true;
};

/// torch.nn.Conv1d, [N, C, L].
template <class T>
class Conv1d final : public Module<T> {
 public:
  Conv1d(Index in, Index out, Index kernel, Conv1dLayerOptions options = {})
      : options_{options.stride, options.padding, options.dilation, options.groups} {
    check<ShapeError>(in >= 1 && out >= 1 && kernel >= 1, "Conv1d", "got ", in, " and ", out,
                      " channels and a kernel of ", kernel, ", expected at least 1");
    check<ShapeError>(options.groups >= 1 && in % options.groups == 0 && out % options.groups == 0, "Conv1d", "got ",
                      options.groups, " groups, expected a divisor of ", in, " and ", out);
    Tensor<T> w = Tensor<T>::empty({out, in / options.groups, kernel}), b;
    if (options.bias) b = Tensor<T>::empty({out});
    init::torch_default(w, options.bias ? &b : nullptr);
    weight = this->add_parameter("weight", w, Kind::weight);
    if (options.bias) bias = this->add_parameter("bias", b, Kind::bias);
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    return conv1d(this->observed(x), weight->effective(this->phase()),
                  bias ? bias->effective(this->phase()) : Tensor<T>{}, options_);
  }
  const char* type() const noexcept override { return "Conv1d"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    TensorNames tensors{{"weight", prefix + "weight"}};
    if (bias) tensors["bias"] = prefix + "bias";
    return network.add("conv1d", {input},
                       {{"stride", Attribute(std::int64_t{options_.stride})},
                        {"padding", Attribute(std::int64_t{options_.padding})},
                        {"dilation", Attribute(std::int64_t{options_.dilation})},
                        {"groups", Attribute(std::int64_t{options_.groups})}},
                       tensors);
  }

  ParameterPtr<T> weight, bias;

 private:
  Conv1dOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
