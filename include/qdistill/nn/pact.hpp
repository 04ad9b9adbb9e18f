/// PACT in place of a ReLU (Choi et al. 2018): activations clipped at a learned alpha and rounded to k bits.
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/pact.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

struct PactOptions {
  int bits = 4;       ///< 1 to 16
  double alpha = 10;  ///< at first; trained by the main optimizer, whose weight decay keeps it small
};

/// pact_relu(x, alpha, bits), with alpha a parameter of shape [1].
template <class T>
class PactReLU final : public Module<T> {
 public:
  /// Throws ValueError for settings out of range.
  explicit PactReLU(PactOptions options = {}) : bits_(options.bits) {
    check(options.bits >= 1 && options.bits <= 16, type(), "got ", options.bits, " bits, expected 1 to 16");
    check(options.alpha > 0 && options.alpha < 1e30, type(), "got alpha ", options.alpha, ", expected it above 0");
    alpha = this->add_parameter("alpha", Tensor<T>::full({1}, static_cast<T>(options.alpha)), Kind::activation);
  }
  Tensor<T> forward(const Tensor<T>& x) override { return pact_relu(x, alpha->effective(this->phase()), bits_); }
  const char* type() const noexcept override { return "PactReLU"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    return network.add("pact_relu", {input}, {{"bits", std::int64_t{bits_}}}, {{"alpha", prefix + "alpha"}});
  }

  ParameterPtr<T> alpha;

 private:
  int bits_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
