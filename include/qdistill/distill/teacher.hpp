/// Teachers: one network or several whose softened probabilities are averaged, with an optional cache of what they
/// said.
#pragma once

#include <vector>

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/softmax.hpp"
#include "qdistill/train/evaluate.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

/// Logits of the teachers for batches of images, in evaluation mode and without a graph. For several teachers these are
/// T log(mean of softmax(t_k / T)), whose softmax at temperature T is the mean of theirs.
///
/// With a cache each sample's logits are computed once. That needs images that are the same in every epoch: a loader
/// that augments at random is refused.
class Teacher {
 public:
  /// The networks must outlive this. Throws ValueError for an empty list, null or a temperature that is not positive.
  Teacher(std::vector<nn::Module<float>*> networks, double temperature)
      : networks_(std::move(networks)), temperature_(temperature) {
    check(!networks_.empty(), "Teacher", "got no networks, expected at least one");
    for (const auto* n : networks_) check(n != nullptr, "Teacher", "got a null network");
    check(temperature > 0 && std::isfinite(temperature), "Teacher", "got temperature ", temperature,
          ", expected a positive number");
  }

  /// Keeps the logits of every sample of `loader`'s dataset. Throws ValueError if the loader augments.
  void use_cache(const data::DataLoader& loader) {
    check(!loader.draws(), "Teacher",
          "a cache of logits needs images that do not change, and this loader augments them at random. HINT: turn the "
          "augmentation or the cache off");
    known_.assign(static_cast<std::size_t>(loader.dataset().size()), 0);
    cache_ = {};
  }

  Tensor<float> operator()(const Tensor<float>& images, std::span<const Index> indices) {
    if (known_.empty()) return compute(images);
    bool all = cache_.defined();
    for (const Index i : indices) all = all && known_[static_cast<std::size_t>(i)];
    if (!all) {
      const Tensor<float> logits = compute(images);
      const Index classes = logits.shape()[1];
      if (!cache_.defined()) cache_ = Tensor<float>::zeros({static_cast<Index>(known_.size()), classes});
      for (std::size_t row = 0; row < indices.size(); ++row) {
        copy_elements(logits.data() + static_cast<Index>(row) * classes, cache_.data() + indices[row] * classes,
                      classes);
        known_[static_cast<std::size_t>(indices[row])] = 1;
      }
      return logits;
    }
    const Index classes = cache_.shape()[1];
    Tensor<float> out = Tensor<float>::empty({static_cast<Index>(indices.size()), classes});
    for (std::size_t row = 0; row < indices.size(); ++row)
      copy_elements(std::as_const(cache_).data() + indices[row] * classes,
                    out.data() + static_cast<Index>(row) * classes, classes);
    return out;
  }

 private:
  Tensor<float> compute(const Tensor<float>& images) {
    const NoGrad no_grad;
    Tensor<float> mean;
    for (nn::Module<float>* const network : networks_) {
      const bool training = network->training();
      network->eval();
      Tensor<float> logits = network->forward(images);
      network->train(training);
      if (networks_.size() == 1) return logits;
      const auto t = static_cast<float>(temperature_), share = 1.0f / static_cast<float>(networks_.size());
      Tensor<float> scaled = logits.clone();
      for (float& v : scaled.span()) v /= t;
      const Tensor<float> p = softmax(scaled, -1);
      if (!mean.defined()) mean = Tensor<float>::zeros(p.shape());
      for (Index i = 0; i < p.numel(); ++i) mean.data()[i] += share * p.data()[i];
    }
    for (float& v : mean.span()) v = static_cast<float>(temperature_) * std::log(v > 1e-30f ? v : 1e-30f);
    return mean;
  }
  std::vector<nn::Module<float>*> networks_;
  double temperature_;
  std::vector<char> known_;
  Tensor<float> cache_;
};

}  // namespace qdistill::inline QDISTILL_ABI::distill
