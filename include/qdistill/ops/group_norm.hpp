/// Layer normalisation (Ba, Kiros and Hinton 2016) and group normalisation (Wu and He 2018).
#pragma once

#include "qdistill/kernels/cpu/group_norm.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

template <class T>
Tensor<T> record_group_norm(const char* op, const Tensor<T>& x, const kernels::GroupNormShape& s,
                            const Tensor<T>& weight, const Tensor<T>& bias, double eps) {
  check(eps >= 0, op, "got eps ", eps, ", expected at least 0");
  const Tensor<T> in = dense(x), w = dense(weight), b = dense(bias);
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  Tensor<T> mean = Tensor<T>::empty({s.batch * s.groups}, x.device());
  Tensor<T> inverse_std = Tensor<T>::empty({s.batch * s.groups}, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::group_norm(dev, in.data(), y.data(), s, w.data(), b.data(), mean.data(), inverse_std.data(), eps);
  });
  return record(op, y, inputs(x, weight, bias),
                [in = save(in), w = save(w), mean = save(mean), inverse_std = save(inverse_std), s](const Tensor<T>& dy,
                                                                                                    Gradients<T>& dx) {
                  on_device(dy.device(), [&](auto dev) {
                    if (dx[0].wanted())
                      kernels::group_norm_backward(dev, in.data(), dy.data(), s, w.data(), mean.data(),
                                                   inverse_std.data(), dx[0].data(), dx[0].mode());
                    if (!dx[1].wanted() && !dx[2].wanted()) return;
                    T* const dweight = dx[1].wanted() ? dx[1].data() : nullptr;
                    T* const dbias = dx[2].wanted() ? dx[2].data() : nullptr;
                    kernels::group_norm_backward_affine(dev, in.data(), dy.data(), s, mean.data(), inverse_std.data(),
                                                        dweight, dx[1].mode(), dbias, dx[2].mode());
                  });
                });
}

}  // namespace detail

/// y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and biased variance over the last dims, whose sizes are
/// `normalized_shape`. weight, bias: of that shape, or undefined.
///   dx = 1 / sqrt(var + eps) (d - mean(d) - xh mean(d xh)),  d = dy weight,  xh = (x - mean) / sqrt(var + eps)
/// Throws ShapeError for shapes that do not fit, ValueError for a negative eps.
template <class T>
Tensor<T> layer_norm(const Tensor<T>& x, const Shape& normalized_shape, const Tensor<T>& weight = {},
                     const Tensor<T>& bias = {}, double eps = 1e-5) {
  const char* const op = "layer_norm";
  detail::check_defined(op, x);
  const int skip = x.rank() - normalized_shape.rank();
  bool fits = normalized_shape.rank() > 0 && skip >= 0;
  for (int d = 0; fits && d < normalized_shape.rank(); ++d) fits = x.shape()[skip + d] == normalized_shape[d];
  check<ShapeError>(fits, op, "got shape ", x.shape(), ", expected its last dims to be ", normalized_shape);
  check<ShapeError>(!weight.defined() || weight.shape() == normalized_shape, op, "got weight of shape ", weight.shape(),
                    ", expected ", normalized_shape);
  check<ShapeError>(!bias.defined() || bias.shape() == normalized_shape, op, "got bias of shape ", bias.shape(),
                    ", expected ", normalized_shape);
  kernels::GroupNormShape s;
  s.batch = 1, s.channels = normalized_shape.numel();
  for (int d = 0; d < skip; ++d) s.batch *= x.shape()[d];
  return detail::record_group_norm(op, x, s, weight, bias, eps);
}

/// Normalises each of `num_groups` groups of channels of x [N, C, ...] over its C / num_groups channels and all later
/// dims, then scales and shifts every channel. weight, bias: [C] or undefined. Gradients as for layer_norm.
/// Throws ShapeError for shapes that do not fit, ValueError for a number of groups that does not divide C.
template <class T>
Tensor<T> group_norm(const Tensor<T>& x, Index num_groups, const Tensor<T>& weight = {}, const Tensor<T>& bias = {},
                     double eps = 1e-5) {
  const char* const op = "group_norm";
  detail::check_defined(op, x);
  check<ShapeError>(x.rank() >= 2, op, "got shape ", x.shape(), ", expected [N, C, ...]");
  const Index channels = x.shape()[1];
  check(num_groups > 0 && channels % num_groups == 0, op, "got ", num_groups, " groups for ", channels,
        " channels, expected a divisor");
  for (const Tensor<T>* t : {&weight, &bias})
    check<ShapeError>(!t->defined() || (t->rank() == 1 && t->shape()[0] == channels), op, "got ",
                      t == &weight ? "weight" : "bias", " of shape ", t->shape(), ", expected [", channels, "]");
  const detail::DimSplit split = detail::split_at(x.shape(), 1);
  kernels::GroupNormShape s;
  s.batch = split.outer, s.groups = num_groups, s.channels = channels / num_groups, s.inner = split.inner;
  return detail::record_group_norm(op, x, s, weight, bias, eps);
}

}  // namespace qdistill::inline QDISTILL_ABI
