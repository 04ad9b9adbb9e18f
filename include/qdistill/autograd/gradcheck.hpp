/// Compares the backward pass with central differences.
#pragma once

#include <cmath>
#include <string>

#include "qdistill/autograd/engine.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// The worst element found. `ok` holds if |analytic - numeric| <= atol + rtol |numeric| everywhere.
struct GradcheckResult {
  bool ok = true;
  int input = -1;
  Index element = -1;
  double analytic = 0, numeric = 0, excess = 0;
  Index compared = 0;

  std::string message() const {
    if (ok) return text("gradients agree (", compared, " elements)");
    return text("gradient of input ", input, ", element ", element, ": analytic ", analytic, ", numeric ", numeric,
                ", ", excess, " beyond the tolerance");
  }
};

struct GradcheckOptions {
  double step = 1e-6, rtol = 1e-5, atol = 1e-7;
};

/// Checks f: list of double tensors -> tensor of any shape, at `at`. The scalar that is differentiated is the sum of
/// f's output times fixed pseudo-random weights, so every entry of the Jacobian's product takes part. f must not be
/// random or depend on earlier calls. Inputs for which `skip` is set are held constant.
template <class F>
GradcheckResult gradcheck(F&& f, const std::vector<Tensor<double>>& at, GradcheckOptions options = {},
                          const std::vector<bool>& skip = {}) {
  std::vector<Tensor<double>> leaves;
  for (std::size_t k = 0; k < at.size(); ++k) {
    const bool constant = k < skip.size() && skip[k];
    leaves.push_back(constant ? at[k].clone() : requires_grad(at[k].clone()));
  }
  const Tensor<double> y = f(leaves);
  const Tensor<double> weights = Tensor<double>::uniform(y.shape(), RandomStream{7, 11}, -1.0, 1.0);
  if (y.requires_grad()) y.backward(weights);
  const auto objective = [&](const std::vector<Tensor<double>>& x) {
    const NoGrad no_grad;
    const std::vector<double> out = f(x).to_vector(), w = weights.to_vector();
    double sum = 0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * w[i];
    return sum;
  };
  GradcheckResult result;
  for (std::size_t k = 0; k < at.size(); ++k) {
    if (!leaves[k].requires_grad()) continue;
    const Tensor<double> grad = leaves[k].grad();
    std::vector<Tensor<double>> moved;
    for (const auto& x : at) moved.push_back(x.clone());
    for (Index i = 0; i < at[k].numel(); ++i) {
      double& v = moved[k].data()[i];
      const double middle = v;
      v = middle + options.step;
      const double up = objective(moved);
      v = middle - options.step;
      const double down = objective(moved);
      v = middle;
      const double numeric = (up - down) / (2 * options.step);
      const double analytic = grad.defined() ? grad.data()[i] : 0.0;
      const double excess = std::fabs(analytic - numeric) - (options.atol + options.rtol * std::fabs(numeric));
      ++result.compared;
      if (!(excess <= 0) && (result.ok || !(excess <= result.excess))) {  // catches NaN too
        result.ok = false, result.input = static_cast<int>(k), result.element = i;
        result.analytic = analytic, result.numeric = numeric, result.excess = excess;
      }
    }
  }
  return result;
}

}  // namespace qdistill::inline QDISTILL_ABI
