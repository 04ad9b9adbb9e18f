/// ResNet-18, 34 and 50 (He, Zhang, Ren, Sun 2016) with PyTorch's (torchvision's) names, so that its weights load, and
/// with every channel count multiplied by k: the first paper's "2xResNet18" is resnet18(2).
///
///   stem -> four layers of blocks with 64 k, 128 k, 256 k, 512 k channels, the last three beginning with stride 2 ->
///   mean of each plane -> linear
///
/// Blocks, each convolution without bias and followed by batch norm: BasicBlock, 3x3 with the stride, 3x3; Bottleneck,
/// 1x1, 3x3 with the stride (torchvision's place for it), 1x1 to four times as many channels. ReLU between them and
/// after the sum with the block's input, which goes through a 1x1 convolution and batch norm where the shape changes.
/// Stem: conv 7x7 / 2, batch norm, ReLU, max pool 3x3 / 2; or for CIFAR conv 3x3, batch norm, ReLU, no pool.
#pragma once

#include <cmath>

#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/ops/add_relu.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI::models {

enum class ResNetStem { imagenet, cifar };

struct ResNetSpec {
  std::vector<Index> blocks = {2, 2, 2, 2};  ///< of each layer
  bool bottleneck = false;
  double width = 1;  ///< k
  ResNetStem stem = ResNetStem::imagenet;
  Index classes = 1000;
  Index channels = 3;
};

/// 11,689,512 parameters; with k = 2: 45,693,032.
inline ResNetSpec resnet18(double width = 1) { return {.blocks = {2, 2, 2, 2}, .width = width}; }
/// 21,797,672 parameters; with k = 2: 86,110,824.
inline ResNetSpec resnet34(double width = 1) { return {.blocks = {3, 4, 6, 3}, .width = width}; }
/// 25,557,032 parameters.
inline ResNetSpec resnet50(double width = 1) { return {.blocks = {3, 4, 6, 3}, .bottleneck = true, .width = width}; }
/// The same network with the stem for images of 32 x 32.
inline ResNetSpec for_cifar(ResNetSpec spec, Index classes = 10) {
  spec.stem = ResNetStem::cifar, spec.classes = classes;
  return spec;
}

namespace detail {

/// A convolution without bias that keeps the size (but for the stride), N(0, 2 / fan_out).
template <class T>
nn::Conv2d<T> resnet_conv(Index in, Index out, Index kernel, Index stride) {
  nn::Conv2d<T> conv(in, out, kernel, {.stride = stride, .padding = kernel / 2, .bias = false});
  nn::init::kaiming_normal(conv.weight->data(), std::sqrt(2.0), true);
  return conv;
}

/// BasicBlock or Bottleneck.
template <class T>
class ResidualBlock final : public nn::Module<T> {
 public:
  ResidualBlock(Index in, Index channels, Index stride, bool bottleneck) : bottleneck_(bottleneck) {
    const Index out = bottleneck ? 4 * channels : channels;
    if (bottleneck) {
      append(in, channels, 1, 1), append(channels, channels, 3, stride), append(channels, out, 1, 1);
    } else {
      append(in, channels, 3, stride), append(channels, out, 3, 1);
    }
    downsample_ = &this->add("downsample", nn::Sequential<T>());
    if (stride != 1 || in != out) {
      downsample_->push_back(resnet_conv<T>(in, out, 1, stride));
      downsample_->push_back(nn::BatchNorm2d<T>(out));
    }
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    Tensor<T> y = x;
    for (std::size_t i = 0; i < convs_.size(); ++i) {
      y = convs_[i]->forward(y);  // in two statements: the first one's input is gone in the second
      y = i + 1 < convs_.size() ? norms_[i]->forward_relu(y) : norms_[i]->forward(y);
    }
    return add_relu(std::move(y), downsample_->forward(x));
  }
  const char* type() const noexcept override { return bottleneck_ ? "Bottleneck" : "BasicBlock"; }
  int describe(Network& network, int x, const std::string& prefix) const override {
    int y = x;
    for (std::size_t i = 0; i < convs_.size(); ++i) {
      if (i > 0) y = network.add("relu", {y});
      y = convs_[i]->describe(network, y, prefix + text("conv", i + 1, '.'));
      y = norms_[i]->describe(network, y, prefix + text("bn", i + 1, '.'));
    }
    return network.add("relu", {network.add("add", {y, downsample_->describe(network, x, prefix + "downsample.")})});
  }

 private:
  void append(Index in, Index out, Index kernel, Index stride) {
    const std::size_t n = convs_.size() + 1;
    convs_.push_back(&this->add(text("conv", n), resnet_conv<T>(in, out, kernel, stride)));
    norms_.push_back(&this->add(text("bn", n), nn::BatchNorm2d<T>(out)));
  }
  // Children live on the heap, so these stay good when the block moves.
  std::vector<nn::Conv2d<T>*> convs_;
  std::vector<nn::BatchNorm2d<T>*> norms_;
  nn::Sequential<T>* downsample_ = nullptr;
  bool bottleneck_;
};

}  // namespace detail

/// See the head of this file. Input [N, channels, H, W], output logits [N, classes]. Initialised as torchvision does,
/// from the default generator. Throws ValueError for a width that gives no whole number of channels.
template <class T>
class ResNet final : public nn::Module<T> {
 public:
  explicit ResNet(const ResNetSpec& spec) : stem_(spec.stem) {
    const double base = 64 * spec.width;
    check(base >= 1 && base <= 0x1p20 && base == std::floor(base), "ResNet", "got width ", spec.width,
          ", expected 64 times it to be a whole number from 1 on");
    const Index first = static_cast<Index>(base);
    check(!spec.blocks.empty() && spec.blocks.size() <= 8, "ResNet", "got ", spec.blocks.size(),
          " layers of blocks, expected 1 to 8");
    conv1_ = &this->add("conv1", stem_ == ResNetStem::imagenet ? detail::resnet_conv<T>(spec.channels, first, 7, 2)
                                                               : detail::resnet_conv<T>(spec.channels, first, 3, 1));
    bn1_ = &this->add("bn1", nn::BatchNorm2d<T>(first));
    Index in = first;
    for (std::size_t l = 0; l < spec.blocks.size(); ++l) {
      check(spec.blocks[l] >= 1, "ResNet", "got ", spec.blocks[l], " blocks in layer ", l + 1, ", expected at least 1");
      const Index channels = first << l;
      nn::Sequential<T>& layer = this->add(text("layer", l + 1), nn::Sequential<T>());
      for (Index i = 0; i < spec.blocks[l]; ++i) {
        layer.push_back(detail::ResidualBlock<T>(in, channels, l > 0 && i == 0 ? 2 : 1, spec.bottleneck));
        in = spec.bottleneck ? 4 * channels : channels;
      }
      layers_.push_back(&layer);
    }
    fc_ = &this->add("fc", nn::Linear<T>(in, spec.classes));
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    Tensor<T> y = bn1_->forward_relu(conv1_->forward(x));
    if (stem_ == ResNetStem::imagenet) y = max_pool2d(y, 3, {.stride = 2, .padding = 1});
    for (auto* layer : layers_) y = layer->forward(y);
    return fc_->forward(flatten(adaptive_avg_pool2d(y, 1), 1));
  }
  const char* type() const noexcept override { return "ResNet"; }
  int describe(Network& network, int x, const std::string& prefix) const override {
    x = conv1_->describe(network, x, prefix + "conv1.");
    x = network.add("relu", {bn1_->describe(network, x, prefix + "bn1.")});
    if (stem_ == ResNetStem::imagenet)
      x = nn::MaxPool2d<T>(3, {.stride = 2, .padding = 1}).describe(network, x, prefix);
    for (std::size_t l = 0; l < layers_.size(); ++l)
      x = layers_[l]->describe(network, x, prefix + text("layer", l + 1, '.'));
    x = nn::AdaptiveAvgPool2d<T>(1).describe(network, x, prefix);
    return fc_->describe(network, network.add("flatten", {x}), prefix + "fc.");
  }

 private:
  ResNetStem stem_;
  nn::Conv2d<T>* conv1_ = nullptr;
  nn::BatchNorm2d<T>* bn1_ = nullptr;
  std::vector<nn::Sequential<T>*> layers_;
  nn::Linear<T>* fc_ = nullptr;
};

/// models::resnet<float>(models::resnet18(2)), models::resnet<float>(models::for_cifar(models::resnet18()))
template <class T>
ResNet<T> resnet(const ResNetSpec& spec) {
  return ResNet<T>(spec);
}

}  // namespace qdistill::inline QDISTILL_ABI::models
