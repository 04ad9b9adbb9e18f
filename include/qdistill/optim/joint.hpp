/// Several optimizers, each over its own parameters, as one: the weights by SGD and the bit widths by Adam (Defossez,
/// Adi, Synnaeve 2022), say.
///
///   std::vector<std::unique_ptr<optim::Optimizer<float>>> parts;
///   parts.push_back(std::make_unique<optim::SGD<float>>(model.parameters(""), sgd_options));
///   parts.push_back(std::make_unique<optim::Adam<float>>(model.parameters("bits"), adam_options));
///   optim::Joint<float> joint(std::move(parts));
#pragma once

#include <memory>

#include "qdistill/optim/optimizer.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

/// A step is one of every part, in order. The rate, which a schedule sets, is that of the first part alone; the others
/// keep theirs. The state has the parts' names behind "0.", "1.", ...
template <class T>
class Joint final : public Optimizer<T> {
 public:
  /// Throws ValueError for no parts or a null one.
  explicit Joint(std::vector<std::unique_ptr<Optimizer<T>>> parts)
      : Optimizer<T>("Joint", 0, 0, {}), parts_(std::move(parts)) {
    check(!parts_.empty(), "Joint", "got no optimizers, expected at least one");
    for (const auto& part : parts_) check(part != nullptr, "Joint", "got a null optimizer");
  }
  void step() override {
    for (const auto& part : parts_) part->step();
  }
  void zero_grad() override {
    for (const auto& part : parts_) part->zero_grad();
  }
  /// Throws ValueError: a group belongs to one of the parts.
  void add_group(ParameterGroup<T>) override {
    fail("Joint", "got a group of parameters. HINT: add it to one of the optimizers that are joined");
  }
  double lr() const noexcept override { return parts_.front()->lr(); }
  void set_lr(double lr) override { parts_.front()->set_lr(lr); }
  std::size_t parameter_count() const noexcept override {
    std::size_t count = 0;
    for (const auto& part : parts_) count += part->parameter_count();
    return count;
  }
  Optimizer<T>& part(std::size_t i) noexcept { return *parts_[i]; }

  OptimizerState<T> state() const override {
    OptimizerState<T> out;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const std::string prefix = std::to_string(i) + '.';
      const OptimizerState<T> own = parts_[i]->state();
      for (const auto& [name, tensor] : own.tensors) out.tensors.emplace_back(prefix + name, tensor);
      for (const auto& [name, value] : own.scalars) out.scalars.emplace_back(prefix + name, value);
    }
    return out;
  }
  void load_state(const OptimizerState<T>& from) override {
    std::vector<OptimizerState<T>> states(parts_.size()), before;
    const auto share = [&](const std::string& name) {
      std::size_t i = 0;
      while (i < parts_.size() && name.rfind(std::to_string(i) + '.', 0) != 0) ++i;
      check(i < parts_.size(), "Joint", "got state '", name, "', expected the name of one of ", parts_.size(),
            " optimizers in front, as in '0.lr'");
      return std::pair(i, name.substr(name.find('.') + 1));
    };
    for (const auto& [name, tensor] : from.tensors) {
      const auto [i, rest] = share(name);
      states[i].tensors.emplace_back(rest, tensor);
    }
    for (const auto& [name, value] : from.scalars) {
      const auto [i, rest] = share(name);
      states[i].scalars.emplace_back(rest, value);
    }
    for (const auto& part : parts_) before.push_back(part->state());
    try {
      for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i]->load_state(states[i]);
    } catch (...) {
      for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i]->load_state(before[i]);
      throw;
    }
  }

 private:
  using typename Optimizer<T>::Slot;
  void update(Slot&, double, double, Index, Index) override {}  // it has no parameters of its own
  std::vector<std::unique_ptr<Optimizer<T>>> parts_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
