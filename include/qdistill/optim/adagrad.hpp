/// Adagrad (Duchi, Hazan and Singer 2011).
#pragma once

#include "qdistill/kernels/cpu/optim.hpp"
#include "qdistill/optim/optimizer.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

struct AdagradOptions {
  double lr = 0.01;
  double lr_decay = 0;
  double eps = 1e-10;
  double weight_decay = 0;
  double initial_accumulator = 0;
};

/// Step t = 1, 2, ...:  g' = g + weight_decay w;  s += g'^2;  w -= lr / (1 + (t - 1) lr_decay) g' / (sqrt(s) + eps).
template <class T>
class Adagrad final : public Optimizer<T> {
 public:
  /// Throws ValueError for settings out of range, GraphError for parameters that take no gradient.
  Adagrad(std::vector<ParameterGroup<T>> groups, const AdagradOptions& options)
      : Optimizer<T>("Adagrad", options.lr, options.weight_decay, {"sum"}, static_cast<T>(options.initial_accumulator)),
        options_(options) {
    this->check_number("Adagrad", "lr_decay", options.lr_decay, 0, 1e9);
    this->check_number("Adagrad", "eps", options.eps, 0, 1e9);
    this->check_number("Adagrad", "initial_accumulator", options.initial_accumulator, 0, 1e30);
    for (auto& group : groups) this->add_group(std::move(group));
  }
  Adagrad(std::vector<Tensor<T>> parameters, const AdagradOptions& options)
      : Adagrad(std::vector<ParameterGroup<T>>{ParameterGroup<T>{std::move(parameters)}}, options) {}

 private:
  using typename Optimizer<T>::Slot;
  void update(Slot& s, double lr, double weight_decay, Index begin, Index end) override {
    const double rate = lr / (1 + static_cast<double>(s.steps - 1) * options_.lr_decay);
    on_device(s.parameter.device(), [&](auto dev) {
      kernels::adagrad_step(dev, s.parameter.data() + begin, std::as_const(s.parameter.grad()).data() + begin,
                            s.state[0].data() + begin, end - begin, static_cast<T>(rate), static_cast<T>(options_.eps),
                            static_cast<T>(weight_decay));
    });
  }
  AdagradOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
