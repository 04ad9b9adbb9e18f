/// Dropout layers. Random numbers come from the default generator; in evaluation they pass their input on.
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/dropout.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

/// Single elements, or (Channels) whole channels of [N, C, ...].
template <class T, bool Channels>
class DropoutLayer final : public Module<T> {
 public:
  /// Throws ValueError for p outside [0, 1].
  explicit DropoutLayer(double p = 0.5) : p_(p) {
    check(p >= 0 && p <= 1, type(), "got p ", p, ", expected a probability in [0, 1]");
  }
  Tensor<T> forward(const Tensor<T>& x) override {
    if constexpr (Channels) return dropout2d(x, p_, this->training());
    else return dropout(x, p_, this->training());
  }
  const char* type() const noexcept override { return Channels ? "Dropout2d" : "Dropout"; }
  int describe(Network&, int input, const std::string&) const override { return input; }
  double p() const noexcept { return p_; }

 private:
  double p_;
};

template <class T>
using Dropout = DropoutLayer<T, false>;
template <class T>
using Dropout2d = DropoutLayer<T, true>;

}  // namespace qdistill::inline QDISTILL_ABI::nn
