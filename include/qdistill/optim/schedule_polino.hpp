/// The learning-rate rules of Polino, Pascanu and Alistarh 2018, as in the published code. In each, "epoch" is the
/// 0-based number of the epoch that just ended, and step(metric) takes its validation result.
#pragma once

#include "qdistill/optim/schedule.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

struct PolinoHalvingOptions {
  double lr = 0.001;
  /// An epoch is an improvement if its error is below the best one by more than this.
  double threshold = 0.001;
  /// Epochs without improvement before the rate is halved, and epochs between two halvings.
  Index patience = 10;
  Index pause = 8;
  /// Training ends after more epochs without improvement than `stop_after`, or more halvings than `max_halvings`.
  Index stop_after = 30;
  Index max_halvings = 11;
};

/// The CIFAR-10 experiments: halves the rate when the validation error stops improving. A halving does not reset the
/// count of epochs without improvement; the rate goes on changing after stop().
class PolinoHalving final : public Schedule {
 public:
  explicit PolinoHalving(const PolinoHalvingOptions& options = {}) : Schedule(options.lr), options_(options) {
    state_.numbers = {std::numeric_limits<double>::infinity(), 0, 0, -1};
  }
  /// Differentiable quantization on CIFAR-100: rate 1e-4, halved after 2 epochs, without pause or end.
  static PolinoHalvingOptions quantization_points() {
    PolinoHalvingOptions o;
    o.lr = 1e-4, o.patience = 2, o.pause = 0;
    o.stop_after = o.max_halvings = std::numeric_limits<Index>::max();
    return o;
  }

 private:
  void advance(double error) override {
    double &best = state_.numbers[0], &bad = state_.numbers[1], &halvings = state_.numbers[2];
    double& last = state_.numbers[3];  // epoch of the last halving, -1: none
    const double epoch = static_cast<double>(state_.steps);
    if (best - error > options_.threshold) best = error, bad = 0;
    else ++bad;
    if (bad >= static_cast<double>(options_.patience) &&
        (last < 0 || epoch - last >= static_cast<double>(options_.pause))) {
      state_.lr /= 2;
      last = epoch;
      ++halvings;
    }
    state_.stop =
        bad > static_cast<double>(options_.stop_after) || halvings > static_cast<double>(options_.max_halvings);
  }
  PolinoHalvingOptions options_;
};

/// Wide ResNets on CIFAR-100: lr 0.2^k, k the number of {60, 120, 160} below the epoch that ended.
struct PolinoCifar100LR {
  double lr = 0.1;
  double at(Index t) const {  // epoch t - 1 has ended
    const int k = (t > 61 ? 1 : 0) + (t > 121 ? 1 : 0) + (t > 161 ? 1 : 0);
    return lr * std::pow(0.2, k);
  }
  void check_values() const {}
};

/// ImageNet: lr 0.1^floor(epoch / 30), with the epoch that ended.
struct PolinoImagenetLR {
  double lr = 0.1;
  double at(Index t) const { return lr * std::pow(0.1, static_cast<double>(t > 0 ? (t - 1) / 30 : 0)); }
  void check_values() const {}
};

struct PolinoTranslationOptions {
  double lr = 1;
  double decay = 0.5;
  Index start_decay_at = 8;  ///< counted from 1
};

/// Translation: once the validation perplexity has risen (a tie does not count), or from epoch start_decay_at on, the
/// rate is multiplied by `decay` after every epoch.
class PolinoTranslation final : public Schedule {
 public:
  explicit PolinoTranslation(const PolinoTranslationOptions& options = {}) : Schedule(options.lr), options_(options) {
    state_.numbers = {std::numeric_limits<double>::infinity(), 0, 0, 0};
  }

 private:
  void advance(double perplexity) override {
    double &before = state_.numbers[0], &decaying = state_.numbers[1];
    if (perplexity > before || state_.steps + 1 >= options_.start_decay_at) decaying = 1;
    before = perplexity;
    if (decaying > 0) state_.lr *= options_.decay;
  }
  PolinoTranslationOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::optim
