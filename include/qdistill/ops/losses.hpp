/// Elementwise losses: KL divergence, mean squared and absolute error, smooth L1, binary cross entropy with logits.
/// Input and target have equal shapes; all are differentiable in both; the result is a scalar, or has the input's shape
/// for Reduction::none. Each throws ShapeError for shapes that differ.
#pragma once

#include "qdistill/kernels/cpu/math.hpp"
#include "qdistill/ops/cross_entropy.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Kullback-Leibler divergence of log-probabilities x from target probabilities t (or log-probabilities, with
/// log_target), elementwise:
///
///   loss = t (log t - x), 0 where t = 0 (log_target: exp(t) (t - x));  dloss/dx = -t;  dloss/dt = log t + 1 - x
///
/// `mean` divides by the number of elements, `batch_mean` (the mathematical definition) by the size of dim 0.
template <class T>
Tensor<T> kl_div(const Tensor<T>& x, const Tensor<T>& target, Reduction reduction = Reduction::mean,
                 bool log_target = false) {
  if (log_target)
    return detail::elementwise_loss(
        "kl_div", x, target, reduction, [](T a, T t) QDISTILL_ISA_BODY { return kernels::math::exp(t) * (t - a); },
        [](T, T t) QDISTILL_ISA_BODY { return -kernels::math::exp(t); },
        [](T a, T t) QDISTILL_ISA_BODY { return kernels::math::exp(t) * (t - a + T(1)); });
  return detail::elementwise_loss(
      "kl_div", x, target, reduction,
      [](T a, T t) QDISTILL_ISA_BODY { return kernels::math::select(t > T(0), t * (kernels::math::log(t) - a), T(0)); },
      [](T, T t) QDISTILL_ISA_BODY { return -t; },
      [](T a, T t)
          QDISTILL_ISA_BODY { return kernels::math::select(t > T(0), kernels::math::log(t) + T(1) - a, T(0)); });
}

/// Mean squared error: (x - t)^2.
template <class T>
Tensor<T> mse_loss(const Tensor<T>& x, const Tensor<T>& target, Reduction reduction = Reduction::mean) {
  return detail::elementwise_loss(
      "mse_loss", x, target, reduction, [](T a, T t) QDISTILL_ISA_BODY { return (a - t) * (a - t); },
      [](T a, T t) QDISTILL_ISA_BODY { return 2 * (a - t); }, [](T a, T t) QDISTILL_ISA_BODY { return 2 * (t - a); });
}

/// Mean absolute error: |x - t|; the derivative at 0 is 0.
template <class T>
Tensor<T> l1_loss(const Tensor<T>& x, const Tensor<T>& target, Reduction reduction = Reduction::mean) {
  return detail::elementwise_loss(
      "l1_loss", x, target, reduction, [](T a, T t) QDISTILL_ISA_BODY { return kernels::math::abs(a - t); },
      [](T a, T t) QDISTILL_ISA_BODY { return a > t   ? T(1)
                                              : a < t ? T(-1)
                                                      : T(0); },
      [](T a, T t) QDISTILL_ISA_BODY { return a > t   ? T(-1)
                                              : a < t ? T(1)
                                                      : T(0); });
}

/// Smooth L1 (Huber's loss divided by beta), with d = x - t: d^2 / (2 beta) if |d| < beta, else |d| - beta / 2.
/// beta = 0 is l1_loss. Throws ValueError for beta < 0.
template <class T>
Tensor<T> smooth_l1_loss(const Tensor<T>& x, const Tensor<T>& target, double beta = 1,
                         Reduction reduction = Reduction::mean) {
  check(beta >= 0, "smooth_l1_loss", "got beta ", beta, ", expected at least 0");
  if (beta == 0) return l1_loss(x, target, reduction);
  const T b = static_cast<T>(beta), inverse = static_cast<T>(1 / beta), half = static_cast<T>(beta / 2);
  return detail::elementwise_loss(
      "smooth_l1_loss", x, target, reduction,
      [=](T a, T t) QDISTILL_ISA_BODY {
        const T d = kernels::math::abs(a - t);
        return kernels::math::select(d < b, T(0.5) * d * d * inverse, d - half);
      },
      [=](T a, T t) QDISTILL_ISA_BODY {
        const T d = (a - t) * inverse;
        return d > T(1) ? T(1) : d < T(-1) ? T(-1) : d;
      },
      [=](T a, T t) QDISTILL_ISA_BODY {
        const T d = (t - a) * inverse;
        return d > T(1) ? T(1) : d < T(-1) ? T(-1) : d;
      });
}

/// Binary cross entropy of logits x and targets t in [0, 1]:
///
///   loss = max(x, 0) - x t + log(1 + exp(-|x|));  dloss/dx = sigmoid(x) - t;  dloss/dt = -x
template <class T>
Tensor<T> binary_cross_entropy_with_logits(const Tensor<T>& x, const Tensor<T>& target,
                                           Reduction reduction = Reduction::mean) {
  return detail::elementwise_loss(
      "binary_cross_entropy_with_logits", x, target, reduction,
      [](T a, T t) QDISTILL_ISA_BODY {
        return kernels::math::select(a > T(0), a, T(0)) - a * t +
               kernels::math::log1p(kernels::math::exp(-kernels::math::abs(a)));
      },
      [](T a, T t) QDISTILL_ISA_BODY { return kernels::math::sigmoid(a) - t; },
      [](T a, T) QDISTILL_ISA_BODY { return -a; });
}

}  // namespace qdistill::inline QDISTILL_ABI
