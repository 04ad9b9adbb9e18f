/// The distillation loss (Hinton, Vinyals and Dean 2015; Polino, Pascanu and Alistarh 2018), as one fused operation.
///
/// Student logits x, teacher logits t, labels y, temperature T, teacher weight w:
///
///   L = w T^2 KL(softmax(t / T) || softmax(x / T)) + (1 - w) CE(x, y)
///   dL/dx = w T (softmax(x / T) - softmax(t / T)) / D + (1 - w) (softmax(x) - onehot(y)) / N
///
/// T^2 keeps the soft term's gradient at the same size whatever the temperature (Hinton et al., section 2.1; Polino et
/// al. do not print it, their published code has it). D is the divisor of the soft term, see DistillationReduction. The
/// paper's soft term is the cross entropy with soft targets: the same up to the teacher's entropy, with equal gradient.
#pragma once

#include "qdistill/kernels/cpu/distillation_loss.hpp"
#include "qdistill/ops/losses_common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// What the soft term is divided by: the batch size N (the mathematical mean), or N times the classes, as the published
/// code of Polino et al. did by the default averaging of its framework (smaller by the number of classes).
enum class DistillationReduction { batch_mean, batch_times_classes };

/// The defaults are the paper's for CIFAR-10. The published code: temperature 2, teacher_weight 0.7,
/// batch_times_classes.
struct DistillationOptions {
  double temperature = 5;
  double teacher_weight = 0.5;
  DistillationReduction reduction = DistillationReduction::batch_mean;
  /// Rows with this label have no hard term, and do not count in its mean.
  Index ignore_index = -100;
};

namespace detail {

template <class T>
struct DistillationRows {
  Tensor<T> x, t, log_sums, soft, hard;
  Tensor<Index> y;
  double counted = 0;
};

/// Checks, and runs the forward kernel. Without a hard term, `labels` may be undefined.
template <class T>
DistillationRows<T> distillation_rows(const char* op, const Tensor<T>& student, const Tensor<T>& teacher,
                                      const Tensor<Index>& labels, double temperature, double teacher_weight,
                                      Index ignore_index) {
  check_defined(op, student);
  check_defined(op, teacher);
  check<ShapeError>(student.rank() == 2, op, "got student logits of shape ", student.shape(), ", expected [N, C]");
  check<ShapeError>(student.shape() == teacher.shape(), op, "got student logits of shape ", student.shape(),
                    " and teacher logits of shape ", teacher.shape(), ", expected equal shapes");
  check(temperature > 0 && temperature < 1e30, op, "got temperature ", temperature, ", expected above 0");
  check(teacher_weight >= 0 && teacher_weight <= 1, op, "got teacher_weight ", teacher_weight,
        ", expected it in [0, 1]");
  check(labels.defined() || teacher_weight == 1, op, "got no labels with teacher_weight ", teacher_weight,
        ", expected labels unless it is 1");
  const ClassRows r = class_rows(op, student.shape());
  DistillationRows<T> rows;
  rows.x = dense(student), rows.t = dense(teacher);
  if (labels.defined()) {
    rows.y = dense(labels);
    rows.counted = check_labels(op, r, rows.y, Tensor<T>{}, ignore_index);
  }
  rows.log_sums = Tensor<T>::empty({r.outer, kernels::distillation_row_numbers}, student.device());
  rows.soft = Tensor<T>::zeros({r.outer}, student.device());
  rows.hard = Tensor<T>::zeros({r.outer}, student.device());
  if (r.classes == 0) return rows;
  on_device(student.device(), [&](auto dev) {
    kernels::distillation_loss(dev, rows.x.data(), rows.t.data(), rows.y.data(), ignore_index,
                               static_cast<T>(1 / temperature), rows.log_sums.data(), rows.soft.data(),
                               rows.hard.data(), r.outer, r.classes);
  });
  return rows;
}

/// Attaches the gradient: soft_scale (p - q) + hard_scale (softmax(x) - onehot(y)), times dL.
template <class T>
Tensor<T> record_distillation(const char* op, const Tensor<T>& loss, const Tensor<T>& student,
                              const DistillationRows<T>& rows, double temperature, Index ignore_index,
                              double soft_scale, double hard_scale) {
  return record(op, loss, inputs(student),
                [x = save(rows.x), t = save(rows.t), y = save(rows.y), log_sums = save(rows.log_sums), temperature,
                 ignore_index, soft_scale, hard_scale](const Tensor<T>& dy, Gradients<T>& dx) {
                  const double g = static_cast<double>(dy.item());
                  const Index n = x.get().shape()[0], classes = x.get().shape()[1];
                  T* const to = dx[0].data();
                  if (classes == 0) return;
                  on_device(dy.device(), [&](auto dev) {
                    kernels::distillation_loss_backward(dev, x.data(), t.data(), y.data(), ignore_index,
                                                        static_cast<T>(1 / temperature), log_sums.data(),
                                                        static_cast<T>(g * soft_scale), static_cast<T>(g * hard_scale),
                                                        to, n, classes, dx[0].mode());
                  });
                });
}

}  // namespace detail

/// The distillation loss above, a scalar. student, teacher: logits [N, C]; labels [N], undefined only for
/// teacher_weight = 1. The teacher takes no gradient. Throws ShapeError or ValueError.
template <class T>
Tensor<T> distillation_loss(const Tensor<T>& student, const Tensor<T>& teacher, const Tensor<Index>& labels,
                            const DistillationOptions& options = {}) {
  const char* const op = "distillation_loss";
  const double w = options.teacher_weight, temperature = options.temperature;
  const detail::DistillationRows<T> rows =
      detail::distillation_rows(op, student, teacher, labels, temperature, w, options.ignore_index);
  double divisor = static_cast<double>(student.shape()[0]);
  if (options.reduction == DistillationReduction::batch_times_classes)
    divisor *= static_cast<double>(student.shape()[1]);
  const double soft_scale = w / divisor, hard_scale = w < 1 ? (1 - w) / rows.counted : 0;
  const double soft = static_cast<double>(detail::scaled_sum(rows.soft, soft_scale * temperature * temperature).item());
  const double hard = w < 1 ? static_cast<double>(detail::scaled_sum(rows.hard, hard_scale).item()) : 0;
  return detail::record_distillation(op, Tensor<T>::scalar(static_cast<T>(soft + hard)), student, rows, temperature,
                                     options.ignore_index, soft_scale * temperature, hard_scale);
}

struct SequenceDistillationOptions {
  double teacher_weight = 0.7;
  /// Targets equal to it have no hard term.
  Index pad = 0;
  double temperature = 1;
};

/// The loss, and its two parts before weighting (without graph; perplexity needs the first).
template <class T>
struct SequenceDistillation {
  Tensor<T> loss, nll_sum, kl_sum;
};

/// The translation experiments' variant, per target token and summed, not averaged:
///
///   L = w T^2 sum KL(softmax(t / T) || softmax(x / T)) + (1 - w) sum over targets that are not pad of -log
///   softmax(x)_y
///
/// student, teacher: logits [tokens, V]; labels [tokens]. As in the published code the KL term runs over all positions,
/// padding included; T = 1 and w = 0.7 there, w = 0.5 in the paper. Divide by the batch size before backward.
/// Throws ShapeError or ValueError.
template <class T>
SequenceDistillation<T> sequence_distillation_loss(const Tensor<T>& student, const Tensor<T>& teacher,
                                                   const Tensor<Index>& labels,
                                                   const SequenceDistillationOptions& options = {}) {
  const char* const op = "sequence_distillation_loss";
  const double w = options.teacher_weight, temperature = options.temperature;
  check<GraphError>(labels.defined(), op, "got undefined labels");
  const detail::DistillationRows<T> rows =
      detail::distillation_rows(op, student, teacher, labels, temperature, w, options.pad);
  SequenceDistillation<T> out;
  out.nll_sum = detail::scaled_sum(rows.hard, 1);
  out.kl_sum = detail::scaled_sum(rows.soft, 1);
  const double total = w * temperature * temperature * static_cast<double>(out.kl_sum.item()) +
                       (1 - w) * static_cast<double>(out.nll_sum.item());
  out.loss = detail::record_distillation(op, Tensor<T>::scalar(static_cast<T>(total)), student, rows, temperature,
                                         options.pad, w * temperature, 1 - w);
  return out;
}

}  // namespace qdistill::inline QDISTILL_ABI
