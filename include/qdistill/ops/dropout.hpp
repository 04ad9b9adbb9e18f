/// Dropout of elements and of whole channels.
#pragma once

#include "qdistill/kernels/cpu/dropout.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

struct DropoutPlan {
  RandomStream stream;
  std::uint32_t threshold = 0;
  double scale = 1;
};
/// Draws a stream and turns p into a threshold on 24 uniform bits.
inline DropoutPlan plan_dropout(double p, Generator& generator) {
  DropoutPlan plan;
  plan.stream = generator.next();
  plan.threshold = static_cast<std::uint32_t>(std::ceil(p * 0x1p24));
  plan.scale = p < 1 ? 1 / (1 - p) : 0;
  return plan;
}
inline void check_dropout(const char* op, double p) {
  check(p >= 0 && p <= 1, op, "got p ", p, ", expected a probability in [0, 1]");
}

}  // namespace detail

/// Sets each element to 0 with probability p and multiplies the others by 1 / (1 - p), so that the mean stays.
/// dL/dx = mask / (1 - p) dL/dy; the mask is recomputed, not saved. Takes one stream from `generator`; without
/// `training`, or for p = 0, it takes none and returns x itself. Throws ValueError for p outside [0, 1].
template <class T>
Tensor<T> dropout(const Tensor<T>& x, double p, bool training, Generator& generator = default_generator()) {
  detail::check_defined("dropout", x);
  detail::check_dropout("dropout", p);
  if (!training || p == 0) return x;
  const detail::DropoutPlan plan = detail::plan_dropout(p, generator);
  const Tensor<T> in = detail::dense(x);
  const T scale = static_cast<T>(plan.scale);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::dropout(dev, in.data(), y.data(), in.numel(), plan.stream, plan.threshold, scale, Write::set);
  });
  return record("dropout", y, inputs(x), [plan, scale](const Tensor<T>& dy, Gradients<T>& dx) {
    dx[0].reuse(dy);
    on_device(dy.device(), [&](auto dev) {
      kernels::dropout(dev, dy.data(), dx[0].data(), dy.numel(), plan.stream, plan.threshold, scale, dx[0].mode());
    });
  });
}

/// Dropout of whole channels: x [N, C, ...]; each of the N C slices is dropped or kept as one. Otherwise as dropout.
template <class T>
Tensor<T> dropout2d(const Tensor<T>& x, double p, bool training, Generator& generator = default_generator()) {
  detail::check_defined("dropout2d", x);
  detail::check_dropout("dropout2d", p);
  check<ShapeError>(x.rank() >= 2, "dropout2d", "got shape ", x.shape(), ", expected [N, C, ...]");
  if (!training || p == 0) return x;
  const detail::DropoutPlan plan = detail::plan_dropout(p, generator);
  const Tensor<T> in = detail::dense(x);
  const T scale = static_cast<T>(plan.scale);
  const detail::DimSplit split = detail::split_at(x.shape(), 1);
  const Index rows = split.outer * split.n, inner = split.inner;
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::dropout_rows(dev, in.data(), y.data(), rows, inner, plan.stream, plan.threshold, scale, Write::set);
  });
  return record("dropout2d", y, inputs(x), [plan, scale, rows, inner](const Tensor<T>& dy, Gradients<T>& dx) {
    dx[0].reuse(dy);
    on_device(dy.device(), [&](auto dev) {
      kernels::dropout_rows(dev, dy.data(), dx[0].data(), rows, inner, plan.stream, plan.threshold, scale,
                            dx[0].mode());
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
