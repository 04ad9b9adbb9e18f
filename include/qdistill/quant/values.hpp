/// What quantizers ask of a weight.
#pragma once

#include <cmath>
#include <vector>

#include "qdistill/kernels/cpu/losses_reduce.hpp"
#include "qdistill/nn/parametrization.hpp"

namespace qdistill::inline QDISTILL_ABI::quant::detail {

/// Throws ValueError, in the name of `quantizer`, for a weight that is not finite.
template <class T>
void check_finite(const char* quantizer, const Tensor<T>& w) {
  for (const T v : w.span())
    check(std::isfinite(v), quantizer, "got a weight that is not finite in a tensor of shape ", w.shape());
}

/// The weight in float, in which encodings are computed. Throws as check_finite, also for what float does not hold.
template <class T>
Tensor<float> finite_floats(const char* quantizer, const Tensor<T>& w) {
  Tensor<float> out = Tensor<float>::empty(w.shape());
  for (Index i = 0; i < w.numel(); ++i) out.data()[i] = static_cast<float>(w.data()[i]);
  check_finite(quantizer, out);
  return out;
}

/// mean |w|, 0 of nothing; not finite where a weight is not.
template <class T>
double mean_magnitude(const Tensor<T>& w) {
  const T* const v = w.data();
  const Index n = w.numel();
  const double sum = on_device(w.device(), [=](auto dev) {
    return kernels::sum_map<T>(dev, n, [v](Index i) QDISTILL_ISA_BODY { return kernels::math::abs(v[i]); });
  });
  return n > 0 ? sum / static_cast<double>(n) : 0.0;
}

/// The same. Throws ValueError, in the name of `quantizer`, where it is not finite.
template <class T>
double finite_mean_magnitude(const char* quantizer, const Tensor<T>& w) {
  const double mean = mean_magnitude(w);
  check(std::isfinite(mean), quantizer, "got a weight that is not finite in a tensor of shape ", w.shape());
  return mean;
}

}  // namespace qdistill::inline QDISTILL_ABI::quant::detail
