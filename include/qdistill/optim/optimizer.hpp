/// What all optimizers share: groups of parameters, the loop over them, and their state for checkpoints.
///
/// A parameter is a leaf tensor of the graph. A step changes its elements in place and marks it as changed, which is
/// all that a quantizer on top of it needs to know.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/autograd/engine.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

/// Parameters that share settings. `lr` and `weight_decay`, where set, stand in place of the optimizer's own; set_lr()
/// scales a group's own rate in proportion.
template <class T>
struct ParameterGroup {
  std::vector<Tensor<T>> parameters = {};
  std::optional<double> lr = {};
  std::optional<double> weight_decay = {};
};

/// State for a checkpoint: tensors named like "momentum.3" (by the parameter's position), numbers like "steps.3" and
/// "lr".
template <class T>
struct OptimizerState {
  std::vector<std::pair<std::string, Tensor<T>>> tensors = {};
  std::vector<std::pair<std::string, double>> scalars = {};
};

template <class T>
class Optimizer {
 public:
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// Updates every parameter whose gradient is defined. From the second step on, allocates nothing.
  /// Throws ShapeError for a gradient of another shape than its parameter.
  virtual void step() {
    chunks_.clear();
    for (Slot& s : slots_) {
      const Tensor<T>& grad = s.parameter.grad();
      if (!grad.defined()) continue;
      check<ShapeError>(grad.shape() == s.parameter.shape() && grad.contiguous(), name_, "got a gradient of shape ",
                        grad.shape(), ", expected a contiguous one of shape ", s.parameter.shape());
      for (std::size_t k = 0; k < state_names_.size(); ++k)
        if (!s.state[k].defined())
          s.state[k] = Tensor<T>::full(s.parameter.shape(), initial_, s.parameter.device(), Lifetime::lasting);
      ++s.steps;
      for (Index begin = 0, n = s.parameter.numel(); begin < n; begin += memory_grain)
        chunks_.push_back({&s, begin, begin + memory_grain < n ? begin + memory_grain : n});
    }
    parallel_for(static_cast<Index>(chunks_.size()), 1, [this](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        const Chunk& c = chunks_[static_cast<std::size_t>(i)];
        update(*c.slot, lr_of(c.slot->group), weight_decay_of(c.slot->group), c.begin, c.end);
      }
    });
    for (Slot& s : slots_)
      if (s.parameter.grad().defined()) s.parameter.mark_changed();
  }

  /// Drops all gradients.
  virtual void zero_grad() {
    for (const Slot& s : slots_) s.parameter.zero_grad();
  }

  /// Adds a group. Throws GraphError for a tensor that takes no gradient, ValueError for one that is there already or a
  /// negative setting.
  virtual void add_group(ParameterGroup<T> group) {
    check(group.lr.value_or(0) >= 0, name_, "got lr ", group.lr.value_or(0), " for a group, expected at least 0");
    check(group.weight_decay.value_or(0) >= 0, name_, "got weight_decay ", group.weight_decay.value_or(0),
          " for a group, expected at least 0");
    for (const Tensor<T>& p : group.parameters) {
      check<GraphError>(p.defined() && p.requires_grad() && p.graph()->is_leaf(), name_,
                        "got a parameter that is not a leaf of the graph, expected one made by requires_grad()");
      check<ShapeError>(p.contiguous(), name_, "got a strided parameter of shape ", p.shape(),
                        ", expected a contiguous one");
      for (const Slot& s : slots_)
        check(!(s.parameter.graph() == p.graph()), name_, "got a parameter of shape ", p.shape(), " twice");
      slots_.push_back({p, groups_.size(), {}, 0});
    }
    groups_.push_back({group.lr, group.weight_decay});
  }

  /// The rate of groups without their own.
  virtual double lr() const noexcept { return lr_; }
  /// Throws ValueError for a negative or undefined rate.
  virtual void set_lr(double lr) {
    check(lr >= 0, name_, "got lr ", lr, ", expected at least 0");
    lr_ = lr;
  }
  const char* name() const noexcept { return name_; }
  virtual std::size_t parameter_count() const noexcept { return slots_.size(); }

  /// The state, sharing memory with this optimizer.
  virtual OptimizerState<T> state() const {
    OptimizerState<T> out;
    out.scalars.emplace_back("lr", lr_);
    out.scalars.emplace_back("initial_lr", initial_lr_);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      out.scalars.emplace_back("steps." + std::to_string(i), static_cast<double>(slots_[i].steps));
      for (std::size_t k = 0; k < state_names_.size(); ++k)
        if (slots_[i].state[k].defined())
          out.tensors.emplace_back(std::string(state_names_[k]) + "." + std::to_string(i), slots_[i].state[k]);
    }
    return out;
  }

  /// Takes the state of an optimizer of the same kind over the same parameters, copying the tensors. Throws ValueError
  /// for names that are unknown or missing, ShapeError for a wrong shape; nothing has changed then.
  virtual void load_state(const OptimizerState<T>& from) {
    std::vector<Slot> slots = slots_;
    double lr = -1, initial_lr = -1;
    for (Slot& s : slots) {
      s.steps = -1;
      for (Tensor<T>& t : s.state) t = {};
    }
    for (const auto& [name, value] : from.scalars) {
      if (name == "lr") lr = value;
      else if (name == "initial_lr") initial_lr = value;
      else {
        check(value >= 0 && value < 0x1p53, name_, "got ", value, " for state '", name, "', expected a count");
        find(slots, name, "steps").steps = static_cast<Index>(value);
      }
    }
    check(lr >= 0 && initial_lr >= 0, name_, "got a state without lr and initial_lr");
    for (const auto& [name, tensor] : from.tensors) {
      bool known = false;
      for (std::size_t k = 0; k < state_names_.size() && !known; ++k) {
        if (name.rfind(std::string(state_names_[k]) + ".", 0) != 0) continue;
        Slot& s = find(slots, name, state_names_[k]);
        check<ShapeError>(tensor.shape() == s.parameter.shape(), name_, "got state '", name, "' of shape ",
                          tensor.shape(), ", expected ", s.parameter.shape());
        s.state[k] = tensor.clone();
        known = true;
      }
      check(known, name_, "got state '", name, "', which this optimizer does not have");
    }
    for (std::size_t i = 0; i < slots.size(); ++i) {
      check(slots[i].steps >= 0, name_, "got a state without 'steps.", i, "'");
      for (std::size_t k = 0; k < state_names_.size(); ++k)
        check(slots[i].state[k].defined() == (slots[i].steps > 0), name_, "got a state in which '", state_names_[k],
              ".", i, "' and 'steps.", i, "' do not go together");
    }
    slots_ = std::move(slots);
    lr_ = lr, initial_lr_ = initial_lr;
  }

 protected:
  static constexpr std::size_t max_states = 3;
  struct Slot {
    Tensor<T> parameter;
    std::size_t group = 0;
    Tensor<T> state[max_states];
    Index steps = 0;  ///< steps in which this parameter had a gradient
  };

  /// `name` and `state_names` (at most 3) are string literals.
  Optimizer(const char* name, double lr, double weight_decay, std::vector<const char*> state_names, T initial = T(0))
      : name_(name),
        lr_(lr),
        initial_lr_(lr),
        weight_decay_(weight_decay),
        state_names_(std::move(state_names)),
        initial_(initial) {
    check(lr >= 0, name, "got lr ", lr, ", expected at least 0");
    check(weight_decay >= 0, name, "got weight_decay ", weight_decay, ", expected at least 0");
  }

  /// Updates elements [begin, end) of one parameter. May run on several threads at once, on different elements.
  virtual void update(Slot& slot, double lr, double weight_decay, Index begin, Index end) = 0;

  /// Throws ValueError unless lo <= value < hi.
  static void check_number(const char* op, const char* what, double value, double lo, double hi) {
    check(value >= lo && value < hi, op, "got ", what, " ", value, ", expected it in [", lo, ", ", hi, ")");
  }

 private:
  struct Chunk {
    Slot* slot;
    Index begin, end;
  };
  struct Settings {
    std::optional<double> lr, weight_decay;
  };

  double lr_of(std::size_t group) const {
    const std::optional<double>& own = groups_[group].lr;
    if (!own) return lr_;
    return initial_lr_ > 0 ? *own * (lr_ / initial_lr_) : *own;
  }
  double weight_decay_of(std::size_t group) const { return groups_[group].weight_decay.value_or(weight_decay_); }
  /// The slot that "prefix.17" names.
  Slot& find(std::vector<Slot>& slots, const std::string& name, const std::string& prefix) const {
    std::size_t i = 0;
    const char *const first = name.data() + prefix.size() + 1, *const last = name.data() + name.size();
    bool ok = name.rfind(prefix + ".", 0) == 0;
    if (ok) {
      const auto parsed = std::from_chars(first, last, i);
      ok = parsed.ec == std::errc() && parsed.ptr == last && i < slots.size();
    }
    check(ok, name_, "got state '", name, "', which this optimizer of ", slots.size(), " parameters does not have");
    return slots[i];
  }

  const char* name_;
  double lr_, initial_lr_, weight_decay_;
  std::vector<const char*> state_names_;
  T initial_;
  std::vector<Settings> groups_;
  std::vector<Slot> slots_;
  std::vector<Chunk> chunks_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
