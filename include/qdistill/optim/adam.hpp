/// Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) and AMSGrad (Reddi, Kale and Kumar 2018).
#pragma once

#include "qdistill/kernels/cpu/optim.hpp"
#include "qdistill/optim/optimizer.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  /// Adam adds weight_decay w to the gradient; AdamW multiplies w by 1 - lr weight_decay before the step.
  double weight_decay = 0;
  bool amsgrad = false;
};

/// Step t = 1, 2, ...:  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
///   w -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// AMSGrad puts the largest v so far in v's place there. t counts the steps of each parameter.
template <class T>
class Adam : public Optimizer<T> {
 public:
  /// Throws ValueError for settings out of range, GraphError for parameters that take no gradient.
  Adam(std::vector<ParameterGroup<T>> groups, const AdamOptions& options)
      : Adam("Adam", std::move(groups), options, false) {}
  Adam(std::vector<Tensor<T>> parameters, const AdamOptions& options)
      : Adam(std::vector<ParameterGroup<T>>{ParameterGroup<T>{std::move(parameters)}}, options) {}

 protected:
  Adam(const char* name, std::vector<ParameterGroup<T>> groups, const AdamOptions& options, bool decoupled)
      : Optimizer<T>(name, options.lr, options.weight_decay,
                     options.amsgrad ? std::vector<const char*>{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
                                     : std::vector<const char*>{"exp_avg", "exp_avg_sq"}),
        options_(options),
        decoupled_(decoupled) {
    this->check_number(name, "beta1", options.beta1, 0, 1);
    this->check_number(name, "beta2", options.beta2, 0, 1);
    this->check_number(name, "eps", options.eps, 0, 1e9);
    for (auto& group : groups) this->add_group(std::move(group));
  }

 private:
  using typename Optimizer<T>::Slot;
  void update(Slot& s, double lr, double weight_decay, Index begin, Index end) override {
    const double t = static_cast<double>(s.steps);
    kernels::AdamNumbers<T> k;
    k.beta1 = static_cast<T>(options_.beta1), k.one_minus_beta1 = static_cast<T>(1 - options_.beta1);
    k.beta2 = static_cast<T>(options_.beta2), k.one_minus_beta2 = static_cast<T>(1 - options_.beta2);
    k.eps = static_cast<T>(options_.eps);
    if (decoupled_) k.shrink = static_cast<T>(1 - lr * weight_decay);
    else k.weight_decay = static_cast<T>(weight_decay);
    k.step_size = static_cast<T>(lr / (1 - std::pow(options_.beta1, t)));
    k.inverse_sqrt_c2 = static_cast<T>(1 / std::sqrt(1 - std::pow(options_.beta2, t)));
    on_device(s.parameter.device(), [&](auto dev) {
      kernels::adam_step(dev, s.parameter.data() + begin, std::as_const(s.parameter.grad()).data() + begin,
                         s.state[0].data() + begin, s.state[1].data() + begin,
                         options_.amsgrad ? s.state[2].data() + begin : nullptr, end - begin, k);
    });
  }
  AdamOptions options_;
  bool decoupled_;
};

/// Adam with decoupled weight decay.
template <class T>
class AdamW final : public Adam<T> {
 public:
  /// PyTorch's default weight decay is 0.01.
  AdamW(std::vector<ParameterGroup<T>> groups, const AdamOptions& options)
      : Adam<T>("AdamW", std::move(groups), options, true) {}
  AdamW(std::vector<Tensor<T>> parameters, const AdamOptions& options)
      : AdamW(std::vector<ParameterGroup<T>>{ParameterGroup<T>{std::move(parameters)}}, options) {}
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
