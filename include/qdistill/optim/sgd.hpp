/// Stochastic gradient descent.
#pragma once

#include "qdistill/kernels/cpu/optim.hpp"
#include "qdistill/optim/optimizer.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

struct SgdOptions {
  double lr = 0.1;
  double momentum = 0;
  double weight_decay = 0;
  double dampening = 0;
  bool nesterov = false;
};

/// g' = g + weight_decay w;  m = momentum m + (1 - dampening) g', m = g' in the first step;
/// w -= lr m, or with Nesterov's momentum (Sutskever et al. 2013, as PyTorch has it) w -= lr (g' + momentum m).
template <class T>
class SGD final : public Optimizer<T> {
 public:
  /// Throws ValueError for settings out of range, GraphError for parameters that take no gradient.
  SGD(std::vector<ParameterGroup<T>> groups, const SgdOptions& options)
      : Optimizer<T>("SGD", options.lr, options.weight_decay,
                     options.momentum > 0 ? std::vector<const char*>{"momentum"} : std::vector<const char*>{}),
        options_(options) {
    this->check_number("SGD", "momentum", options.momentum, 0, 1e3);
    check(!options.nesterov || (options.momentum > 0 && options.dampening == 0), "SGD", "got nesterov with momentum ",
          options.momentum, " and dampening ", options.dampening, ", expected a momentum above 0 and no dampening");
    for (auto& group : groups) this->add_group(std::move(group));
  }
  SGD(std::vector<Tensor<T>> parameters, const SgdOptions& options)
      : SGD(std::vector<ParameterGroup<T>>{ParameterGroup<T>{std::move(parameters)}}, options) {}

 private:
  using typename Optimizer<T>::Slot;
  void update(Slot& s, double lr, double weight_decay, Index begin, Index end) override {
    kernels::SgdNumbers<T> k;
    k.lr = static_cast<T>(lr), k.weight_decay = static_cast<T>(weight_decay);
    k.momentum = static_cast<T>(options_.momentum), k.nesterov = options_.nesterov;
    k.gradient_share = static_cast<T>(s.steps == 1 ? 1 : 1 - options_.dampening);
    on_device(s.parameter.device(), [&](auto dev) {
      kernels::sgd_step(dev, s.parameter.data() + begin, std::as_const(s.parameter.grad()).data() + begin,
                        s.state[0].defined() ? s.state[0].data() + begin : nullptr, end - begin, k);
    });
  }
  SgdOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
