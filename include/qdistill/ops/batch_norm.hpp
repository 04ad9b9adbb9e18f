/// Batch normalisation (Ioffe and Szegedy 2015), also with the ReLU in the same pass.
#pragma once

#include "qdistill/kernels/cpu/batch_norm.hpp"
#include "qdistill/ops/elementwise.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// How batch normalisation computes its output again, and what its gradient needs.
template <class T>
struct BatchNormOutput {
  Saved<T> x, weight, bias;
  Tensor<T> mean, inverse_std;  ///< that were used
  kernels::BatchNormShape shape;
  bool relu;

  kernels::BatchNormChannels<T> channels() const {
    kernels::BatchNormChannels<T> p;
    p.weight = weight.data(), p.bias = bias.data();
    p.mean = const_cast<T*>(mean.data()), p.inverse_std = const_cast<T*>(inverse_std.data());
    return p;
  }
  void operator()(Tensor<T>& y) const {
    on_device(y.device(),
              [&](auto dev) { kernels::batch_norm_eval(dev, x.data(), y.data(), shape, channels(), relu); });
  }
};

template <class T>
Tensor<T> batch_norm(const char* op, const Tensor<T>& x, Tensor<T> running_mean, Tensor<T> running_var,
                     const Tensor<T>& weight, const Tensor<T>& bias, bool training, double momentum, double eps,
                     bool relu) {
  check_defined(op, x);
  check<ShapeError>(x.rank() >= 2, op, "got shape ", x.shape(), ", expected [N, C, ...]");
  const DimSplit split = split_at(x.shape(), 1);
  const kernels::BatchNormShape s{split.outer, split.n, split.inner};
  const auto check_channels = [&](const Tensor<T>& t, const char* what) {
    check<ShapeError>(!t.defined() || (t.rank() == 1 && t.shape()[0] == s.channels), op, "got ", what, " of shape ",
                      t.shape(), ", expected [", s.channels, "] for an input of shape ", x.shape());
  };
  check_channels(running_mean, "running_mean");
  check_channels(running_var, "running_var");
  check_channels(weight, "weight");
  check_channels(bias, "bias");
  check<ShapeError>(running_mean.contiguous() && running_var.contiguous(), op,
                    "got strided running statistics, expected contiguous ones");
  check(eps >= 0, op, "got eps ", eps, ", expected at least 0");
  check(momentum >= 0 && momentum <= 1, op, "got momentum ", momentum, ", expected it in [0, 1]");
  check<ShapeError>(!training || s.channels == 0 || s.batch * s.inner > 1, op, "got shape ", x.shape(),
                    ", expected more than one value per channel when training");
  check(training || (running_mean.defined() && running_var.defined()), op,
        "got no running statistics, expected running_mean and running_var when not training");

  const Tensor<T> in = dense(x), w = dense(weight), b = dense(bias);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  Tensor<T> mean = Tensor<T>::empty({s.channels}, x.device());
  Tensor<T> inverse_std = Tensor<T>::empty({s.channels}, x.device());
  kernels::BatchNormChannels<T> p;
  p.weight = w.data(), p.bias = b.data(), p.mean = mean.data(), p.inverse_std = inverse_std.data();
  if (training) {
    p.running_mean = running_mean.data(), p.running_var = running_var.data();
    on_device(x.device(),
              [&](auto dev) { kernels::batch_norm_train(dev, in.data(), y.data(), s, p, momentum, eps, relu); });
    running_mean.mark_changed();
    running_var.mark_changed();
  } else {
    for (Index c = 0; c < s.channels; ++c) {
      p.mean[c] = running_mean.data()[c];
      p.inverse_std[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(running_var.data()[c]) + eps));
    }
    on_device(x.device(), [&](auto dev) { kernels::batch_norm_eval(dev, in.data(), y.data(), s, p, relu); });
  }
  Inputs<T> graph = inputs(x, weight, bias);
  if (graph.size() == 0) return y;
  const auto output =
      recomputable(y, BatchNormOutput<T>{keep(in), keep(w), keep(b), std::move(mean), std::move(inverse_std), s, relu});
  return record(op, std::move(y), std::move(graph), [output, training](const Tensor<T>& dy, Gradients<T>& dx) {
    kernels::BatchNormGradients<T> g;
    dx[0].reuse(dy);
    if (dx[0].wanted()) g.dx = dx[0].data(), g.write_dx = dx[0].mode();
    if (dx[1].wanted()) g.dweight = dx[1].data(), g.write_dweight = dx[1].mode();
    if (dx[2].wanted()) g.dbias = dx[2].data(), g.write_dbias = dx[2].mode();
    on_device(dy.device(), [&](auto dev) {
      kernels::batch_norm_backward(dev, output->x.data(), dy.data(), output->shape, output->channels(), training,
                                   output->relu, g);
    });
  });
}

}  // namespace detail

/// y = (x - mean_c) / sqrt(var_c + eps) * weight_c + bias_c for x [N, C], [N, C, L] or [N, C, H, W] (any rank from 2).
///
/// training: mean and (biased) variance are those of the batch, and the running ones, where defined, are moved in
/// place:
///   running = (1 - momentum) running + momentum batch, with the unbiased variance.
/// Otherwise the running ones are used and must be defined.
///
///   dbias = sum dy,  dweight = sum dy xh,  xh = (x - mean) / sqrt(var + eps)
///   dx = weight / sqrt(var + eps) (dy - mean(dy) - xh mean(dy xh)),  without the means when not training
///
/// running_mean, running_var, weight, bias: [C] or undefined. Throws ShapeError for shapes that do not fit and for
/// fewer than two values per channel in training, ValueError for a negative eps or a momentum outside [0, 1].
template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, Tensor<T> running_mean, Tensor<T> running_var, const Tensor<T>& weight = {},
                     const Tensor<T>& bias = {}, bool training = false, double momentum = 0.1, double eps = 1e-5) {
  return detail::batch_norm("batch_norm", x, std::move(running_mean), std::move(running_var), weight, bias, training,
                            momentum, eps, false);
}

/// y = max(batch_norm(x, ...), 0), in one pass; the gradient is that of the composition, with 0 at 0.
template <class T>
Tensor<T> batch_norm_relu(const Tensor<T>& x, Tensor<T> running_mean, Tensor<T> running_var,
                          const Tensor<T>& weight = {}, const Tensor<T>& bias = {}, bool training = false,
                          double momentum = 0.1, double eps = 1e-5) {
  return detail::batch_norm("batch_norm_relu", x, std::move(running_mean), std::move(running_var), weight, bias,
                            training, momentum, eps, true);
}

}  // namespace qdistill::inline QDISTILL_ABI
