/// RMSprop (Tieleman and Hinton 2012).
#pragma once

#include "qdistill/kernels/cpu/optim.hpp"
#include "qdistill/optim/optimizer.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

struct RmspropOptions {
  double lr = 0.01;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
};

/// g' = g + weight_decay w;  v = alpha v + (1 - alpha) g'^2;  d = g' / (sqrt(v) + eps);
/// w -= lr d, or with momentum: m = momentum m + d, w -= lr m.
template <class T>
class RMSprop final : public Optimizer<T> {
 public:
  /// Throws ValueError for settings out of range, GraphError for parameters that take no gradient.
  RMSprop(std::vector<ParameterGroup<T>> groups, const RmspropOptions& options)
      : Optimizer<T>("RMSprop", options.lr, options.weight_decay,
                     options.momentum > 0 ? std::vector<const char*>{"square_avg", "momentum"}
                                          : std::vector<const char*>{"square_avg"}),
        options_(options) {
    this->check_number("RMSprop", "alpha", options.alpha, 0, 1);
    this->check_number("RMSprop", "eps", options.eps, 0, 1e9);
    this->check_number("RMSprop", "momentum", options.momentum, 0, 1e3);
    for (auto& group : groups) this->add_group(std::move(group));
  }
  RMSprop(std::vector<Tensor<T>> parameters, const RmspropOptions& options)
      : RMSprop(std::vector<ParameterGroup<T>>{ParameterGroup<T>{std::move(parameters)}}, options) {}

 private:
  using typename Optimizer<T>::Slot;
  void update(Slot& s, double lr, double weight_decay, Index begin, Index end) override {
    kernels::RmspropNumbers<T> k;
    k.lr = static_cast<T>(lr), k.weight_decay = static_cast<T>(weight_decay);
    k.alpha = static_cast<T>(options_.alpha), k.one_minus_alpha = static_cast<T>(1 - options_.alpha);
    k.eps = static_cast<T>(options_.eps), k.momentum = static_cast<T>(options_.momentum);
    on_device(s.parameter.device(), [&](auto dev) {
      kernels::rmsprop_step(dev, s.parameter.data() + begin, std::as_const(s.parameter.grad()).data() + begin,
                            s.state[0].data() + begin, s.state[1].defined() ? s.state[1].data() + begin : nullptr,
                            end - begin, k);
    });
  }
  RmspropOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
