/// Gradient clipping by norm and by value, in place. Parameters without a gradient are skipped.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "qdistill/autograd/engine.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"

namespace qdistill::inline QDISTILL_ABI::optim {

namespace detail {

template <class T>
void check_clip(const char* op, std::span<const Tensor<T>> parameters) {
  for (const Tensor<T>& p : parameters) {
    check<GraphError>(p.defined() && p.requires_grad(), op, "got a tensor that takes no gradient");
    check<ShapeError>(p.grad().contiguous(), op, "got a strided gradient of shape ", p.grad().shape());
  }
}

}  // namespace detail

/// Multiplies all gradients by min(1, max_norm / (norm + 1e-6)), where norm is that of all gradients seen as one
/// vector: (sum |g|^p)^(1/p), or the largest |g| for norm_type = infinity. Returns norm (before clipping; NaN or
/// infinite if a gradient is, which then leaves the gradients undefined or zero: look at it). Throws ValueError for a
/// max_norm or a norm_type that is not positive.
template <class T>
double clip_grad_norm(std::span<const Tensor<T>> parameters, double max_norm, double norm_type = 2) {
  const char* const op = "clip_grad_norm";
  check(max_norm > 0, op, "got max_norm ", max_norm, ", expected above 0");
  check(norm_type > 0, op, "got norm_type ", norm_type, ", expected above 0");
  detail::check_clip(op, parameters);
  const bool largest = norm_type == std::numeric_limits<double>::infinity();
  double total = 0;
  for (const Tensor<T>& p : parameters) {
    const Tensor<T> grad = p.grad();
    const T* const g = grad.data();
    if (largest) {
      for (Index i = 0, n = grad.numel(); i < n; ++i) {
        const double a = std::fabs(static_cast<double>(g[i]));
        if (!(a <= total)) total = a;  // takes NaN, and keeps it
        if (std::isnan(total)) break;
      }
      if (std::isnan(total)) break;
      continue;
    }
    total += on_device(grad.device(), [&](auto dev) {
      if (norm_type == 2)
        return kernels::sum_map<T>(dev, grad.numel(), [=](Index i) QDISTILL_ISA_BODY { return g[i] * g[i]; });
      if (norm_type == 1)
        return kernels::sum_map<T>(dev, grad.numel(),
                                   [=](Index i) QDISTILL_ISA_BODY { return g[i] < T(0) ? -g[i] : g[i]; });
      const T power = static_cast<T>(norm_type);
      return kernels::sum_map<T>(dev, grad.numel(),
                                 [=](Index i) QDISTILL_ISA_BODY { return std::pow(std::fabs(g[i]), power); });
    });
  }
  const double norm = largest || norm_type == 1 ? total
                      : norm_type == 2          ? std::sqrt(total)
                                                : std::pow(total, 1 / norm_type);
  const double scale = max_norm / (norm + 1e-6);
  if (scale >= 1) return norm;
  const T factor = static_cast<T>(scale);
  for (const Tensor<T>& p : parameters) {
    T* const g = p.grad().data();
    parallel_for(p.grad().numel(), memory_grain, [=](Index begin, Index end) {
      with_isa([=]() QDISTILL_ISA_BODY {
        QDISTILL_SIMD
        for (Index i = begin; i < end; ++i) g[i] *= factor;
      });
    });
  }
  return norm;
}
template <class T>
double clip_grad_norm(const std::vector<Tensor<T>>& parameters, double max_norm, double norm_type = 2) {
  return clip_grad_norm(std::span<const Tensor<T>>(parameters), max_norm, norm_type);
}

/// Clamps every element of all gradients to [-clip_value, clip_value]. Throws ValueError for a negative clip_value.
template <class T>
void clip_grad_value(std::span<const Tensor<T>> parameters, double clip_value) {
  check(clip_value >= 0, "clip_grad_value", "got clip_value ", clip_value, ", expected at least 0");
  detail::check_clip("clip_grad_value", parameters);
  const T hi = static_cast<T>(clip_value), lo = -hi;
  for (const Tensor<T>& p : parameters) {
    T* const g = p.grad().data();
    parallel_for(p.grad().numel(), memory_grain, [=](Index begin, Index end) {
      with_isa([=]() QDISTILL_ISA_BODY {
        QDISTILL_SIMD
        for (Index i = begin; i < end; ++i) g[i] = g[i] > hi ? hi : g[i] < lo ? lo : g[i];
      });
    });
  }
}
template <class T>
void clip_grad_value(const std::vector<Tensor<T>>& parameters, double clip_value) {
  clip_grad_value(std::span<const Tensor<T>>(parameters), clip_value);
}

}  // namespace qdistill::inline QDISTILL_ABI::optim
