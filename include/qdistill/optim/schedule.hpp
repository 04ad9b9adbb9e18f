/// Learning-rate schedules.
///
/// A schedule holds a rate; step() ends an epoch (or a batch, for schedules counted in batches) and moves to the next
/// one. Most are functions of the number of steps: a rule is a struct with `lr` (the optimizer's rate) and `at(step)`,
/// and FunctionSchedule<Rule> counts. PlateauSchedule and optim/schedule_polino.hpp look at a validation metric.
/// Names and formulas are PyTorch's. The whole state is a plain struct of numbers.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

/// What a checkpoint stores of a schedule. `numbers` is used as each schedule likes.
struct ScheduleState {
  Index steps = 0;
  double lr = 0;
  bool stop = false;
  std::array<double, 4> numbers = {};
};

class Schedule {
 public:
  virtual ~Schedule() = default;
  /// The rate to use now.
  double lr() const noexcept { return state_.lr; }
  /// True once the schedule says that training should end.
  bool stop() const noexcept { return state_.stop; }
  Index steps() const noexcept { return state_.steps; }
  /// Ends an epoch whose validation metric was `metric` (most schedules ignore it). Returns the next rate.
  double step(double metric = std::numeric_limits<double>::quiet_NaN()) {
    advance(metric);
    ++state_.steps;
    return state_.lr;
  }
  const ScheduleState& state() const noexcept { return state_; }
  void load_state(const ScheduleState& state) noexcept { state_ = state; }

 protected:
  explicit Schedule(double lr) {
    check(lr >= 0, "schedule", "got lr ", lr, ", expected at least 0");
    state_.lr = lr;
  }
  /// Sets state_.lr for the epoch after number state_.steps (0-based), which just ended.
  virtual void advance(double metric) = 0;
  ScheduleState state_;
};

/// lr, for ever.
struct ConstantLR {
  double lr = 0.1;
  double at(Index) const { return lr; }
  void check_values() const {}
};
/// lr gamma^floor(t / step_size)
struct StepLR {
  double lr = 0.1;
  Index step_size = 30;
  double gamma = 0.1;
  double at(Index t) const { return lr * std::pow(gamma, static_cast<double>(t / step_size)); }
  void check_values() const { check(step_size > 0, "StepLR", "got step_size ", step_size, ", expected above 0"); }
};
/// lr gamma^(number of milestones <= t)
struct MultiStepLR {
  double lr = 0.1;
  std::vector<Index> milestones = {};
  double gamma = 0.1;
  double at(Index t) const {
    const auto passed = std::count_if(milestones.begin(), milestones.end(), [t](Index m) { return m <= t; });
    return lr * std::pow(gamma, static_cast<double>(passed));
  }
  void check_values() const {}
};
/// lr gamma^t
struct ExponentialLR {
  double lr = 0.1;
  double gamma = 0.9;
  double at(Index t) const { return lr * std::pow(gamma, static_cast<double>(t)); }
  void check_values() const {}
};
/// eta_min + (lr - eta_min) (1 + cos(pi t / t_max)) / 2; rises again after t_max.
struct CosineAnnealingLR {
  double lr = 0.1;
  Index t_max = 100;
  double eta_min = 0;
  double at(Index t) const {
    return eta_min +
           (lr - eta_min) * (1 + std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(t_max))) / 2;
  }
  void check_values() const { check(t_max > 0, "CosineAnnealingLR", "got t_max ", t_max, ", expected above 0"); }
};
/// Cosine from lr to eta_min over t_0 steps, then again over t_0 t_mult, t_0 t_mult^2, ...
struct CosineAnnealingWarmRestarts {
  double lr = 0.1;
  Index t_0 = 10;
  Index t_mult = 1;
  double eta_min = 0;
  double at(Index t) const {
    Index length = t_0;
    if (t_mult == 1) t %= t_0;
    while (t >= length) t -= length, length *= t_mult;
    return eta_min +
           (lr - eta_min) * (1 + std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(length))) / 2;
  }
  void check_values() const {
    check(t_0 > 0 && t_mult >= 1, "CosineAnnealingWarmRestarts", "got t_0 ", t_0, " and t_mult ", t_mult,
          ", expected both at least 1");
  }
};
/// lr times a factor that goes from start_factor to end_factor in total_iters equal steps, then stays: warm-up.
struct LinearLR {
  double lr = 0.1;
  double start_factor = 1.0 / 3;
  double end_factor = 1;
  Index total_iters = 5;
  double at(Index t) const {
    const double part = static_cast<double>(std::min(t, total_iters)) / static_cast<double>(total_iters);
    return lr * (start_factor + (end_factor - start_factor) * part);
  }
  void check_values() const {
    check(total_iters > 0, "LinearLR", "got total_iters ", total_iters, ", expected above 0");
  }
};
/// Linear warm-up from 0 to lr over `warmup` steps (step t uses (t + 1) / warmup), then cosine to eta_min at `total`,
/// where it stays.
struct WarmupCosineLR {
  double lr = 0.1;
  Index warmup = 5;
  Index total = 100;
  double eta_min = 0;
  double at(Index t) const {
    if (t < warmup) return lr * static_cast<double>(t + 1) / static_cast<double>(warmup);
    const double part = static_cast<double>(std::min(t, total) - warmup) / static_cast<double>(total - warmup);
    return eta_min + (lr - eta_min) * (1 + std::cos(std::numbers::pi * part)) / 2;
  }
  void check_values() const {
    check(warmup >= 0 && total > warmup, "WarmupCosineLR", "got warmup ", warmup, " and total ", total,
          ", expected 0 <= warmup < total");
  }
};
/// Rises from max_lr / div_factor to max_lr at step pct_start total_steps - 1, then falls to max_lr / div_factor /
/// final_div_factor at the last step, total_steps - 1 (Smith and Topin 2018); both along a cosine, or straight.
struct OneCycleLR {
  double max_lr = 0.1;
  Index total_steps = 100;
  double pct_start = 0.3;
  double div_factor = 25;
  double final_div_factor = 1e4;
  bool linear = false;
  double at(Index t) const {
    const double start = max_lr / div_factor, last = start / final_div_factor;
    const double peak = pct_start * static_cast<double>(total_steps) - 1, end = static_cast<double>(total_steps - 1);
    const double x = std::min(static_cast<double>(t), end);
    if (x <= peak) return between(start, max_lr, peak > 0 ? x / peak : 1);
    return between(max_lr, last, end > peak ? (x - peak) / (end - peak) : 1);
  }
  double between(double from, double to, double part) const {
    return linear ? from + (to - from) * part : to + (from - to) * (1 + std::cos(std::numbers::pi * part)) / 2;
  }
  void check_values() const {
    check(total_steps > 0 && pct_start >= 0 && pct_start <= 1 && div_factor > 0 && final_div_factor > 0, "OneCycleLR",
          "got total_steps ", total_steps, ", pct_start ", pct_start, ", div_factor ", div_factor,
          " and final_div_factor ", final_div_factor, ", expected pct_start in [0, 1] and the others above 0");
  }
};
/// lr d_model^-0.5 min(n^-0.5, n warmup^-1.5), n = t + 1 (Vaswani et al. 2017, equation 3).
struct NoamLR {
  double lr = 1;
  Index d_model = 512;
  Index warmup = 4000;
  double at(Index t) const {
    const double n = static_cast<double>(t + 1), w = static_cast<double>(warmup);
    return lr / std::sqrt(static_cast<double>(d_model)) * std::min(1 / std::sqrt(n), n / (w * std::sqrt(w)));
  }
  void check_values() const {
    check(d_model > 0 && warmup > 0, "NoamLR", "got d_model ", d_model, " and warmup ", warmup, ", expected above 0");
  }
};

/// A schedule that is a function of the number of steps. Throws ValueError for values that make no sense.
template <class Rule>
class FunctionSchedule final : public Schedule {
 public:
  explicit FunctionSchedule(Rule rule) : Schedule(checked(rule).at(0)), rule_(std::move(rule)) {}

 private:
  static const Rule& checked(const Rule& rule) {
    rule.check_values();
    return rule;
  }
  void advance(double) override { state_.lr = rule_.at(state_.steps + 1); }
  Rule rule_;
};

/// E.g. make_schedule(StepLR{.lr = 0.1, .step_size = 30}).
template <class Rule>
std::unique_ptr<Schedule> make_schedule(Rule rule) {
  return std::make_unique<FunctionSchedule<Rule>>(std::move(rule));
}

struct PlateauOptions {
  double lr = 0.1;
  double factor = 0.1;
  Index patience = 10;
  double threshold = 1e-4;
  bool relative = true;  ///< the threshold is a part of the best value, else an absolute difference
  bool maximize = false;
  double min_lr = 0;
};

/// Multiplies the rate by `factor` once more than `patience` steps in a row brought no new best metric.
class PlateauSchedule final : public Schedule {
 public:
  explicit PlateauSchedule(const PlateauOptions& options) : Schedule(options.lr), options_(options) {
    check(options.factor > 0 && options.factor < 1, "PlateauSchedule", "got factor ", options.factor,
          ", expected it in (0, 1)");
    state_.numbers[0] = std::numeric_limits<double>::infinity() * (options.maximize ? -1 : 1);
  }

 private:
  void advance(double metric) override {
    double &best = state_.numbers[0], &bad = state_.numbers[1];
    const double sign = options_.maximize ? -1 : 1, bound = options_.threshold * sign;
    const double limit = options_.relative ? best * (1 - bound) : best - bound;
    if (options_.maximize ? metric > limit : metric < limit) best = metric, bad = 0;
    else ++bad;
    if (bad > static_cast<double>(options_.patience)) {
      state_.lr = std::max(state_.lr * options_.factor, options_.min_lr);
      bad = 0;
    }
  }
  PlateauOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
