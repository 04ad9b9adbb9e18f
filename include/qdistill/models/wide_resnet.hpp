/// The wide residual networks of CIFAR (Zagoruyko and Komodakis 2016), as the first paper's published code has them
/// (tables 15 and 18; its bits and names where the two differ).
///
///   conv 3x3 to 16 -> three groups of (depth - 4) / 6 blocks with 16 f, 32 f, 64 f channels, the second and third
///   beginning with stride 2 -> batch norm -> ReLU -> mean of each plane -> linear
///
/// Block, with the activation in front: batch norm -> ReLU -> conv 3x3 -> dropout -> batch norm -> ReLU -> conv 3x3
/// with the stride, plus the block's own input, through a 1x1 convolution with the stride where the shape changes. All
/// convolutions have biases.
#pragma once

#include <cmath>

#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/dropout.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI::models {

/// "WRN-28-10" is {.depth = 28, .widen_factor = 10}.
struct WideResNetSpec {
  Index depth = 28;         ///< 6 n + 4
  Index widen_factor = 10;  ///< f
  double dropout = 0.3;     ///< of single elements
  Index classes = 10;
  Index channels = 3;
  double batch_norm_momentum = 0.1;        ///< of the blocks; 0.1: a batch moves the statistics by a tenth
  double final_batch_norm_momentum = 0.9;  ///< of the last one: nearly the last batch alone
};

namespace detail {

/// A convolution with bias, Xavier-uniform with gain sqrt 2, bias 0.
template <class T>
nn::Conv2d<T> wide_conv(Index in, Index out, Index kernel, Index stride) {
  nn::Conv2d<T> conv(in, out, kernel, {.stride = stride, .padding = kernel / 2});
  nn::init::xavier_uniform(conv.weight->data(), std::sqrt(2.0));
  fill_elements(conv.bias->data().data(), out, T(0));
  return conv;
}

template <class T>
class WideBlock final : public nn::Module<T> {
 public:
  WideBlock(Index in, Index out, Index stride, const WideResNetSpec& spec)
      : bn1_(this->add("bn1", nn::BatchNorm2d<T>(in, {.momentum = spec.batch_norm_momentum}))),
        conv1_(this->add("conv1", wide_conv<T>(in, out, 3, 1))),
        bn2_(this->add("bn2", nn::BatchNorm2d<T>(out, {.momentum = spec.batch_norm_momentum}))),
        conv2_(this->add("conv2", wide_conv<T>(out, out, 3, stride))),
        shortcut_(this->add("shortcut", nn::Sequential<T>())),
        dropout_(spec.dropout) {
    if (stride != 1 || in != out) shortcut_.push_back(wide_conv<T>(in, out, 1, stride));
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    Tensor<T> y = conv1_(bn1_.forward_relu(x));
    y = qdistill::dropout(y, dropout_, this->training());
    y = conv2_(bn2_.forward_relu(y));
    return qdistill::add(std::move(y), shortcut_(x));
  }
  const char* type() const noexcept override { return "WideBlock"; }
  int describe(Network& network, int x, const std::string& prefix) const override {
    int y = network.add("relu", {bn1_.describe(network, x, prefix + "bn1.")});
    y = conv1_.describe(network, y, prefix + "conv1.");
    y = network.add("relu", {bn2_.describe(network, y, prefix + "bn2.")});
    y = conv2_.describe(network, y, prefix + "conv2.");
    return network.add("add", {y, shortcut_.describe(network, x, prefix + "shortcut.")});
  }

 private:
  // Children live on the heap, so these stay good when the block moves.
  nn::BatchNorm2d<T>& bn1_;
  nn::Conv2d<T>& conv1_;
  nn::BatchNorm2d<T>& bn2_;
  nn::Conv2d<T>& conv2_;
  nn::Sequential<T>& shortcut_;
  double dropout_;
};

}  // namespace detail

/// See the head of this file. Input [N, channels, H, W] (the papers': 32 x 32), output logits [N, classes].
/// Convolutions are initialised Xavier-uniform with gain sqrt 2 and a bias of 0, the linear layer as PyTorch's, from
/// the default generator. Throws ValueError for a depth that is not 6 n + 4 with n >= 1.
template <class T>
class WideResNet final : public nn::Module<T> {
 public:
  explicit WideResNet(const WideResNetSpec& spec) {
    check(spec.depth >= 10 && (spec.depth - 4) % 6 == 0, "WideResNet", "got depth ", spec.depth,
          ", expected 6 n + 4 with n at least 1");
    check(spec.widen_factor >= 1, "WideResNet", "got widen_factor ", spec.widen_factor, ", expected at least 1");
    check(spec.dropout >= 0 && spec.dropout <= 1, "WideResNet", "got dropout ", spec.dropout,
          ", expected a probability in [0, 1]");
    conv1_ = &this->add("conv1", detail::wide_conv<T>(spec.channels, 16, 3, 1));
    Index in = 16;
    for (Index group = 0; group < 3; ++group) {
      const Index out = (Index{16} << group) * spec.widen_factor;
      nn::Sequential<T>& blocks = this->add(text("layer", group + 1), nn::Sequential<T>());
      for (Index i = 0; i < (spec.depth - 4) / 6; ++i, in = out)
        blocks.push_back(detail::WideBlock<T>(in, out, group > 0 && i == 0 ? 2 : 1, spec));
      groups_.push_back(&blocks);
    }
    bn1_ = &this->add("bn1", nn::BatchNorm2d<T>(in, {.momentum = spec.final_batch_norm_momentum}));
    linear_ = &this->add("linear", nn::Linear<T>(in, spec.classes));
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    Tensor<T> y = conv1_->forward(x);
    for (auto* group : groups_) y = group->forward(y);
    y = adaptive_avg_pool2d(bn1_->forward_relu(y), 1);
    return linear_->forward(flatten(y, 1));
  }
  const char* type() const noexcept override { return "WideResNet"; }
  int describe(Network& network, int x, const std::string& prefix) const override {
    x = conv1_->describe(network, x, prefix + "conv1.");
    for (std::size_t i = 0; i < groups_.size(); ++i)
      x = groups_[i]->describe(network, x, prefix + text("layer", i + 1, '.'));
    x = network.add("relu", {bn1_->describe(network, x, prefix + "bn1.")});
    x = nn::AdaptiveAvgPool2d<T>(1).describe(network, x, prefix);
    return linear_->describe(network, network.add("flatten", {x}), prefix + "linear.");
  }

 private:
  nn::Conv2d<T>* conv1_ = nullptr;
  std::vector<nn::Sequential<T>*> groups_;
  nn::BatchNorm2d<T>* bn1_ = nullptr;
  nn::Linear<T>* linear_ = nullptr;
};

/// models::wide_resnet<float>({.depth = 16, .widen_factor = 22})
template <class T>
WideResNet<T> wide_resnet(const WideResNetSpec& spec) {
  return WideResNet<T>(spec);
}

}  // namespace qdistill::inline QDISTILL_ABI::models
