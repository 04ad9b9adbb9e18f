/// The networks of the steps that the library's models are not.
#pragma once

#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/ops/arithmetic.hpp"

namespace qdistill_bench {

using namespace qdistill;

/// A specification's network without batch normalisation; its ReLUs run in the passes of the layers before them.
inline nn::Sequential<float> plain_cnn(const models::PolinoSpec& spec) {
  nn::Sequential<float> net;
  Index c = spec.channels, side = spec.height;
  for (std::size_t i = 0; i < spec.convs.size(); ++i) {
    net.push_back(nn::Conv2d<float>(c, spec.convs[i], spec.kernel, {.padding = spec.kernel / 2}));
    net.push_back(nn::ReLU<float>());
    for (const Index p : spec.pool_after)
      if (p == static_cast<Index>(i)) net.push_back(nn::MaxPool2d<float>(2)), side /= 2;
    for (const auto& [p, rate] : spec.dropout)
      if (p == static_cast<Index>(i)) net.push_back(nn::Dropout2d<float>(rate));
    c = spec.convs[i];
  }
  net.push_back(nn::Flatten<float>());
  Index features = c * side * side;
  for (std::size_t i = 0; i < spec.linear.size(); ++i) {
    net.push_back(nn::Linear<float>(features, spec.linear[i]));
    net.push_back(nn::ReLU<float>());
    for (const auto& [p, rate] : spec.dropout)
      if (p == static_cast<Index>(spec.convs.size() + i)) net.push_back(nn::Dropout<float>(rate));
    features = spec.linear[i];
  }
  net.push_back(nn::Linear<float>(features, spec.classes));
  net.push_back(nn::ReLU<float>());
  return net;
}

/// The wide residual network of the PyTorch peer. models::WideResNet, which follows the first paper's code, computes
/// something else: its stride lies in the second convolution of a block, which makes it dearer, its shortcut starts
/// before the activation, and its convolutions have biases and dropout between them.
class WideResNet final : public nn::Module<float> {
 public:
  WideResNet(Index depth, Index widen_factor) : first_(add("conv", conv(3, 16, 3, 1))) {
    Index in = 16;
    for (Index group = 0; group < 3; ++group)
      for (Index i = 0; i < (depth - 4) / 6; ++i) {
        const Index out = (Index{16} << group) * widen_factor;
        blocks_.push_back(&add(text("block", blocks_.size()), Block(in, out, group > 0 && i == 0 ? 2 : 1)));
        in = out;
      }
    norm_ = &add("norm", nn::BatchNorm2d<float>(in));
    out_ = &add("out", nn::Linear<float>(in, 10));
  }
  Tensor<float> forward(const Tensor<float>& x) override {
    Tensor<float> y = first_(x);
    for (Block* const b : blocks_) y = b->forward(y);
    return out_->forward(flatten(adaptive_avg_pool2d(norm_->forward_relu(y), 1), 1));
  }
  const char* type() const noexcept override { return "WideResNet"; }

 private:
  static nn::Conv2d<float> conv(Index in, Index out, Index kernel, Index stride) {
    return nn::Conv2d<float>(in, out, kernel, {.stride = stride, .padding = kernel / 2, .bias = false});
  }
  class Block final : public nn::Module<float> {
   public:
    Block(Index in, Index out, Index stride)
        : norm1_(add("norm1", nn::BatchNorm2d<float>(in))),
          conv1_(add("conv1", conv(in, out, 3, stride))),
          norm2_(add("norm2", nn::BatchNorm2d<float>(out))),
          conv2_(add("conv2", conv(out, out, 3, 1))) {
      if (in != out || stride != 1) shortcut_ = &add("shortcut", conv(in, out, 1, stride));
    }
    Tensor<float> forward(const Tensor<float>& x) override {
      const Tensor<float> y = norm1_.forward_relu(x), s = shortcut_ ? shortcut_->forward(y) : x;
      return qdistill::add(conv2_(norm2_.forward_relu(conv1_(y))), s);
    }
    const char* type() const noexcept override { return "WideBlock"; }

   private:
    // Children live on the heap, so these stay good when the block moves.
    nn::BatchNorm2d<float>& norm1_;
    nn::Conv2d<float>& conv1_;
    nn::BatchNorm2d<float>& norm2_;
    nn::Conv2d<float>& conv2_;
    nn::Conv2d<float>* shortcut_ = nullptr;
  };
  nn::Conv2d<float>& first_;
  std::vector<Block*> blocks_;
  nn::BatchNorm2d<float>* norm_ = nullptr;
  nn::Linear<float>* out_ = nullptr;
};

}  // namespace qdistill_bench
