/// Batch normalisation layers with torch.nn's names: weight, bias, running_mean, running_var, num_batches_tracked.
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/batch_norm.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;
  bool affine = true;
};

/// Normalises channel dim 1 of [N, C, H, W] (Images), or of [N, C] and [N, C, L].
template <class T, bool Images>
class BatchNorm final : public Module<T> {
 public:
  explicit BatchNorm(Index channels, BatchNormOptions options = {}) : options_(options) {
    check<ShapeError>(channels >= 1, "BatchNorm", "got ", channels, " channels, expected at least 1");
    if (options.affine) {
      weight = this->add_parameter("weight", Tensor<T>::ones({channels}), Kind::norm_weight);
      bias = this->add_parameter("bias", Tensor<T>::zeros({channels}), Kind::norm_bias);
    }
    running_mean = this->add_buffer("running_mean", Tensor<T>::zeros({channels}));
    running_var = this->add_buffer("running_var", Tensor<T>::ones({channels}));
    batches = this->add_count("num_batches_tracked");
  }
  Tensor<T> forward(const Tensor<T>& x) override {
    count_batch(x);
    return batch_norm(x, statistics(running_mean), statistics(running_var), now(weight), now(bias), this->training(),
                      options_.momentum, options_.eps);
  }
  /// relu(forward(x)), in one pass.
  Tensor<T> forward_relu(const Tensor<T>& x) override {
    count_batch(x);
    return batch_norm_relu(x, statistics(running_mean), statistics(running_var), now(weight), now(bias),
                           this->training(), options_.momentum, options_.eps);
  }
  const char* type() const noexcept override { return Images ? "BatchNorm2d" : "BatchNorm1d"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    TensorNames tensors{{"running_mean", prefix + "running_mean"}, {"running_var", prefix + "running_var"}};
    if (weight) tensors["weight"] = prefix + "weight", tensors["bias"] = prefix + "bias";
    return network.add("batch_norm", {input}, {{"eps", options_.eps}}, tensors);
  }
  const BatchNormOptions& options() const noexcept { return options_; }

  ParameterPtr<T> weight, bias;
  std::shared_ptr<Tensor<T>> running_mean, running_var;
  std::shared_ptr<Tensor<Index>> batches;

 private:
  void count_batch(const Tensor<T>& x) {
    check<ShapeError>(Images ? x.rank() == 4 : x.rank() == 2 || x.rank() == 3, type(), "got shape ", x.shape(),
                      Images ? ", expected [N, C, H, W]" : ", expected [N, C] or [N, C, L]");
    if (!moves()) return;
    ++*batches->data();
    batches->mark_changed();
  }
  /// A batch moves the statistics, once.
  bool moves() const { return this->training() && !recomputing(); }
  Tensor<T> statistics(const std::shared_ptr<Tensor<T>>& running) const {
    return this->training() && !moves() ? Tensor<T>{} : *running;
  }
  Tensor<T> now(const ParameterPtr<T>& p) const { return p ? p->effective(this->phase()) : Tensor<T>{}; }
  BatchNormOptions options_;
};

template <class T>
using BatchNorm1d = BatchNorm<T, false>;
template <class T>
using BatchNorm2d = BatchNorm<T, true>;

}  // namespace qdistill::inline QDISTILL_ABI::nn
