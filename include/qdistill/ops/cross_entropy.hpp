/// Cross entropy between logits and labels or probabilities, and the negative log likelihood of log-probabilities.
#pragma once

#include "qdistill/ops/losses_common.hpp"
#include "qdistill/ops/softmax.hpp"

namespace qdistill::inline QDISTILL_ABI {

struct CrossEntropyOptions {
  /// e in [0, 1]: the target becomes (1 - e) target + e / C.
  double label_smoothing = 0;
  /// Rows with this label count for nothing.
  Index ignore_index = -100;
  Reduction reduction = Reduction::mean;
};

namespace detail {

template <class T>
T class_weight_sum(const Tensor<T>& weight, Index classes) {
  if (!weight.defined()) return static_cast<T>(classes);
  double sum = 0;
  for (const T w : weight.span()) sum += static_cast<double>(w);
  return static_cast<T>(sum);
}
inline void check_cross_entropy(const char* op, const CrossEntropyOptions& options) {
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, op, "got label_smoothing ",
        options.label_smoothing, ", expected it in [0, 1]");
  check(options.reduction != Reduction::batch_mean, op, "got reduction batch_mean, expected none, mean or sum");
}

}  // namespace detail

/// Cross entropy of logits x [N, C] or [N, C, d1, ...] and labels [N] or [N, d1, ...]. Per row, with p = softmax(x):
///
///   loss = (1 - e) w_y (-log p_y) + e / C sum_c w_c (-log p_c)
///   dloss/dx_c = ((1 - e) w_y + e / C sum w) p_c - e / C w_c - (1 - e) w_y [c = y]
///
/// weight: class weights [C], undefined for 1. Ignored rows contribute 0; `mean` divides by the sum of w_y over the
/// other rows (NaN if there are none). The result is a scalar, or has the labels' shape for Reduction::none. The
/// backward pass recomputes p from x and one saved number per row.
/// Throws ShapeError for shapes that do not fit, ValueError for a label outside [0, C) or a bad option.
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& x, const Tensor<Index>& labels, const CrossEntropyOptions& options = {},
                        const Tensor<T>& weight = {}) {
  const char* const op = "cross_entropy";
  detail::check_defined(op, x);
  detail::check_cross_entropy(op, options);
  const detail::ClassRows r = detail::class_rows(op, x.shape());
  const Tensor<Index> y = detail::dense(labels);
  const Tensor<T> class_weight = detail::dense(weight);
  const double total = detail::check_labels(op, r, y, class_weight, options.ignore_index);
  const Tensor<T> in = detail::dense(x);
  const bool per_row = options.reduction == Reduction::none;
  const double scale = options.reduction == Reduction::mean ? 1 / total : 1;
  kernels::ClassWeights<T> w{nullptr, detail::class_weight_sum(class_weight, r.classes),
                             static_cast<T>(options.label_smoothing), options.ignore_index};
  w.weight = class_weight.data();
  const Tensor<T> log_sum = Tensor<T>::empty(r.rows, x.device());
  Tensor<T> rows = Tensor<T>::empty(r.rows, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::cross_entropy(dev, in.data(), y.data(), const_cast<T*>(log_sum.data()), rows.data(), r.outer, r.classes,
                           r.inner, w);
  });
  Tensor<T> loss = per_row ? rows : detail::scaled_sum(rows, scale);
  return record(op, loss, inputs(x),
                [in = save(in), y = save(y), class_weight = save(class_weight), log_sum = save(log_sum), w, per_row,
                 scale = static_cast<T>(scale), outer = r.outer, classes = r.classes,
                 inner = r.inner](const Tensor<T>& dy, Gradients<T>& dx) {
                  kernels::ClassWeights<T> weights = w;
                  weights.weight = class_weight.data();
                  on_device(dy.device(), [&](auto dev) {
                    kernels::cross_entropy_backward(dev, in.data(), y.data(), log_sum.data(), dy.data(), per_row, scale,
                                                    dx[0].data(), outer, classes, inner, weights, dx[0].mode());
                  });
                });
}

/// Negative log likelihood of log-probabilities x [N, C] or [N, C, d1, ...] and labels: per row -w_y x_y. Weights,
/// ignored rows, reductions and errors as for cross_entropy.  dloss/dx_c = -w_y [c = y].
template <class T>
Tensor<T> nll_loss(const Tensor<T>& x, const Tensor<Index>& labels, Index ignore_index = -100,
                   Reduction reduction = Reduction::mean, const Tensor<T>& weight = {}) {
  const char* const op = "nll_loss";
  detail::check_defined(op, x);
  check(reduction != Reduction::batch_mean, op, "got reduction batch_mean, expected none, mean or sum");
  const detail::ClassRows r = detail::class_rows(op, x.shape());
  const Tensor<Index> y = detail::dense(labels);
  const Tensor<T> class_weight = detail::dense(weight);
  const double total = detail::check_labels(op, r, y, class_weight, ignore_index);
  const Tensor<T> in = detail::dense(x);
  const bool per_row = reduction == Reduction::none;
  const double scale = reduction == Reduction::mean ? 1 / total : 1;
  kernels::ClassWeights<T> w;
  w.weight = class_weight.data(), w.ignore_index = ignore_index;
  Tensor<T> rows = Tensor<T>::empty(r.rows, x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::nll(dev, in.data(), y.data(), rows.data(), r.outer, r.classes, r.inner, w); });
  Tensor<T> loss = per_row ? rows : detail::scaled_sum(rows, scale);
  return record(op, loss, inputs(x),
                [y = save(y), class_weight = save(class_weight), w, per_row, scale = static_cast<T>(scale),
                 outer = r.outer, classes = r.classes, inner = r.inner](const Tensor<T>& dy, Gradients<T>& dx) {
                  kernels::ClassWeights<T> weights = w;
                  weights.weight = class_weight.data();
                  on_device(dy.device(), [&](auto dev) {
                    kernels::nll_backward(dev, y.data(), dy.data(), per_row, scale, dx[0].data(), outer, classes, inner,
                                          weights, dx[0].mode());
                  });
                });
}

/// Cross entropy of logits x [N, C] or [N, C, d1, ...] and target probabilities t of the same shape. Per row:
///
///   loss = -sum_c w_c ((1 - e) t_c + e / C) log p_c
///
/// Differentiable in both. `mean` divides by the number of rows, whatever the weights; there is no ignored index.
/// Throws ShapeError or ValueError.
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& x, const Tensor<T>& target, const CrossEntropyOptions& options = {},
                        const Tensor<T>& weight = {}) {
  const char* const op = "cross_entropy";
  detail::check_defined(op, x);
  detail::check_defined(op, target);
  detail::check_cross_entropy(op, options);
  const detail::ClassRows r = detail::class_rows(op, x.shape());
  check<ShapeError>(x.shape() == target.shape(), op, "got target probabilities of shape ", target.shape(),
                    ", expected the input's ", x.shape());
  const Tensor<T> class_weight = detail::dense(weight);
  check<ShapeError>(!class_weight.defined() || (class_weight.rank() == 1 && class_weight.shape()[0] == r.classes), op,
                    "got class weights of shape ", class_weight.shape(), ", expected [", r.classes, "]");
  const Tensor<T> log_p = log_softmax(x, x.rank() == 1 ? 0 : 1), t = detail::dense(target);
  const bool per_row = options.reduction == Reduction::none;
  const double scale = options.reduction == Reduction::mean ? 1 / static_cast<double>(r.outer * r.inner) : 1;
  kernels::ClassWeights<T> w;
  w.weight = class_weight.data(), w.smoothing = static_cast<T>(options.label_smoothing);
  Tensor<T> rows = Tensor<T>::full(r.rows, T(0), x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::soft_nll(dev, log_p.data(), t.data(), rows.data(), r.outer, r.classes, r.inner, w);
  });
  Tensor<T> loss = per_row ? rows : detail::scaled_sum(rows, scale);
  return record(
      op, loss, inputs(log_p, target),
      [log_p = save(log_p), t = save(t), class_weight = save(class_weight), w, per_row, scale = static_cast<T>(scale),
       outer = r.outer, classes = r.classes, inner = r.inner](const Tensor<T>& dy, Gradients<T>& dx) {
        kernels::ClassWeights<T> weights = w;
        weights.weight = class_weight.data();
        T* const to_x = dx[0].wanted() ? dx[0].data() : nullptr;
        T* const to_t = dx[1].wanted() ? dx[1].data() : nullptr;
        on_device(dy.device(), [&](auto dev) {
          kernels::soft_nll_backward(dev, log_p.data(), t.data(), dy.data(), per_row, scale, to_x, dx[0].mode(), to_t,
                                     dx[1].mode(), outer, classes, inner, weights);
        });
      });
}

}  // namespace qdistill::inline QDISTILL_ABI
