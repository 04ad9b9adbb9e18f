/// The CIFAR-10 networks of the first paper (Polino, Pascanu, Alistarh 2018, Table 8, as in its published code).
///
/// Block: convolution (same padding, bias) -> ReLU -> batch norm -> 2x2 max pool where stated -> channel dropout where
/// stated. Linear blocks the same with plain dropout and no pool. The output layer is followed by a ReLU too. Names and
/// registration order are those of the authors' module: out_layer first, batch norms last; what "first and last"
/// excludes depends on it.
#pragma once

#include <vector>

#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/dropout.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pact.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI::models {

/// Positions count layers from 0, convolutions first, then hidden linear layers.
struct PolinoSpec {
  std::string name = {};
  Index kernel = 3;
  std::vector<Index> convs = {};                       ///< output channels
  std::vector<Index> pool_after = {};                  ///< positions
  std::vector<Index> linear = {};                      ///< hidden sizes
  std::vector<std::pair<Index, double>> dropout = {};  ///< position, rate
  Index classes = 10;
  Index channels = 3, height = 32, width = 32;
  double batch_norm_momentum = 0.1;
  /// 1 to 16: hidden layers' activations are rounded to so many bits by PACT, whose bound each layer learns, in place
  /// of the ReLU; 0: they are not. Beyond the paper.
  int activation_bits = 0;
};

/// 5,346,142 parameters.
inline PolinoSpec polino_teacher() {
  return {.name = "teacher",
          .kernel = 3,
          .convs = {76, 76, 126, 126, 148, 148, 148, 148},
          .pool_after = {1, 3, 7},
          .linear = {1200, 1200},
          .dropout = {{1, .2}, {3, .3}, {7, .35}, {8, .4}, {9, .4}}};
}
/// 1,000,235 parameters.
inline PolinoSpec polino_student_1() {
  return {.name = "student 1",
          .kernel = 5,
          .convs = {75, 50, 50, 25},
          .pool_after = {1, 3},
          .linear = {500},
          .dropout = {{1, .2}, {3, .3}, {4, .4}}};
}
/// 318,415 parameters.
inline PolinoSpec polino_student_2() {
  PolinoSpec s = polino_student_1();
  s.name = "student 2", s.convs = {50, 25, 25, 10}, s.linear = {400};
  return s;
}
/// 111,935 parameters.
inline PolinoSpec polino_student_3() {
  PolinoSpec s = polino_student_1();
  s.name = "student 3", s.convs = {25, 10, 10, 5}, s.linear = {300};
  return s;
}
/// 5,825,396 parameters.
inline PolinoSpec polino_deeper_student() {
  return {.name = "deeper student",
          .kernel = 3,
          .convs = {76, 76, 76, 126, 126, 126, 148, 148, 148, 148, 148},
          .pool_after = {2, 5, 10},
          .linear = {1000, 1000, 1000},
          .dropout = {{2, .2}, {5, .3}, {10, .35}, {11, .4}, {12, .4}}};
}
/// The same network without dropout, as students are trained with a distillation loss.
inline PolinoSpec without_dropout(PolinoSpec spec) {
  spec.dropout.clear();
  return spec;
}

/// See the head of this file. Input [N, channels, height, width], output logits [N, classes], not negative. Weights are
/// Xavier-uniform, biases as PyTorch's default, from the default generator.
template <class T>
class PolinoCnn final : public nn::Module<T> {
 public:
  explicit PolinoCnn(PolinoSpec spec) : spec_(std::move(spec)) {
    check(!spec_.convs.empty(), "PolinoCnn", "got no convolutions, expected at least one");
    Index h = spec_.height, w = spec_.width;
    for (const Index p : spec_.pool_after) {
      check(p >= 0 && p < static_cast<Index>(spec_.convs.size()), "PolinoCnn", "got a pool after layer ", p,
            ", expected one of the ", spec_.convs.size(), " convolutions");
      h /= 2, w /= 2;
    }
    check<ShapeError>(h >= 1 && w >= 1, "PolinoCnn", "got images of ", spec_.height, " x ", spec_.width,
                      ", too small for ", spec_.pool_after.size(), " pools");
    const Index features = spec_.convs.back() * h * w;
    out_ = &this->add("out_layer", nn::Linear<T>(spec_.linear.empty() ? features : spec_.linear.back(), spec_.classes));
    Index in = spec_.channels;
    for (std::size_t i = 0; i < spec_.convs.size(); ++i) {
      convs_.push_back(&this->add(text("conv_layers.", i),
                                  nn::Conv2d<T>(in, spec_.convs[i], spec_.kernel, {.padding = spec_.kernel / 2})));
      in = spec_.convs[i];
    }
    in = features;
    for (std::size_t i = 0; i < spec_.linear.size(); ++i) {
      linears_.push_back(&this->add(text("linear_layers.", i), nn::Linear<T>(in, spec_.linear[i])));
      in = spec_.linear[i];
    }
    const nn::BatchNormOptions norm{.momentum = spec_.batch_norm_momentum};
    std::size_t n = 0;
    for (const Index c : spec_.convs)
      norms_.push_back(&this->add(text("batchNormalizationLayers.", n++), nn::BatchNorm2d<T>(c, norm)));
    for (const Index c : spec_.linear)
      flat_norms_.push_back(&this->add(text("batchNormalizationLayers.", n++), nn::BatchNorm1d<T>(c, norm)));
    if (spec_.activation_bits != 0)
      for (std::size_t i = 0; i < n; ++i)
        activations_.push_back(
            &this->add(text("activations.", i), nn::PactReLU<T>(nn::PactOptions{.bits = spec_.activation_bits})));
    for (const auto& p : this->named_parameters())
      if (p.parameter->kind() == nn::Kind::weight) nn::init::xavier_uniform(p.parameter->data());
  }

  Tensor<T> forward(const Tensor<T>& x) override {
    check<ShapeError>(
        x.rank() == 4 && x.shape()[1] == spec_.channels && x.shape()[2] == spec_.height && x.shape()[3] == spec_.width,
        "PolinoCnn", "got shape ", x.shape(), ", expected [N, ", spec_.channels, ", ", spec_.height, ", ", spec_.width,
        "]");
    Tensor<T> y = x;
    Index position = 0;
    for (std::size_t i = 0; i < convs_.size(); ++i, ++position) {
      y = activated(*convs_[i], i, y);  // in two statements: the first one's input is gone in the second
      y = norms_[i]->forward(y);
      if (pools_after(position)) y = max_pool2d(y, 2);
      if (const double p = dropout_at(position); p > 0) y = dropout2d(y, p, this->training());
    }
    y = flatten(y, 1);
    for (std::size_t i = 0; i < linears_.size(); ++i, ++position) {
      y = activated(*linears_[i], convs_.size() + i, y);
      y = flat_norms_[i]->forward(y);
      if (const double p = dropout_at(position); p > 0) y = dropout(y, p, this->training());
    }
    return out_->forward_relu(y);
  }
  const char* type() const noexcept override { return "PolinoCnn"; }
  int describe(Network& network, int x, const std::string& prefix) const override {
    for (std::size_t i = 0; i < convs_.size(); ++i) {
      x = convs_[i]->describe(network, x, prefix + text("conv_layers.", i, '.'));
      x = describe_activation(network, x, i, prefix);
      x = norms_[i]->describe(network, x, prefix + text("batchNormalizationLayers.", i, '.'));
      if (pools_after(static_cast<Index>(i))) x = nn::MaxPool2d<T>(2).describe(network, x, prefix);
    }
    x = network.add("flatten", {x});
    for (std::size_t i = 0; i < linears_.size(); ++i) {
      x = linears_[i]->describe(network, x, prefix + text("linear_layers.", i, '.'));
      x = describe_activation(network, x, convs_.size() + i, prefix);
      x = flat_norms_[i]->describe(network, x, prefix + text("batchNormalizationLayers.", convs_.size() + i, '.'));
    }
    return network.add("relu", {out_->describe(network, x, prefix + "out_layer.")});
  }
  const PolinoSpec& spec() const noexcept { return spec_; }

 private:
  Tensor<T> activated(nn::Module<T>& layer, std::size_t position, const Tensor<T>& x) const {
    return activations_.empty() ? layer.forward_relu(x) : activations_[position]->forward(layer.forward(x));
  }
  int describe_activation(Network& network, int x, std::size_t position, const std::string& prefix) const {
    if (activations_.empty()) return network.add("relu", {x});
    return activations_[position]->describe(network, x, prefix + text("activations.", position, '.'));
  }
  bool pools_after(Index position) const {
    for (const Index p : spec_.pool_after)
      if (p == position) return true;
    return false;
  }
  double dropout_at(Index position) const {
    for (const auto& [p, rate] : spec_.dropout)
      if (p == position) return rate;
    return 0;
  }
  // Children live on the heap, so these stay good when the network moves.
  PolinoSpec spec_;
  nn::Linear<T>* out_ = nullptr;
  std::vector<nn::Conv2d<T>*> convs_;
  std::vector<nn::Linear<T>*> linears_;
  std::vector<nn::BatchNorm2d<T>*> norms_;
  std::vector<nn::BatchNorm1d<T>*> flat_norms_;
  std::vector<nn::PactReLU<T>*> activations_;  ///< none: ReLU
};

/// A network of the family: models::polino_cnn<float>(models::polino_student_1()).
template <class T>
PolinoCnn<T> polino_cnn(PolinoSpec spec) {
  return PolinoCnn<T>(std::move(spec));
}

}  // namespace qdistill::inline QDISTILL_ABI::models
