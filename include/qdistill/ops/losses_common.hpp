/// Reductions and label checks that the losses share.
#pragma once

#include "qdistill/kernels/cpu/losses.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// How per-element (or per-row) losses become one number. `batch_mean` divides the sum by the size of dim 0; only
/// kl_div knows it.
enum class Reduction { none, mean, sum, batch_mean };

namespace detail {

/// Labels of a loss over the classes of dim 1: x is [N, C] or [N, C, d1, ...], labels [N] or [N, d1, ...]. Also takes a
/// single row x [C] with a scalar label. Throws ShapeError.
struct ClassRows {
  Index outer = 1, classes = 1, inner = 1;
  Shape rows;
};
inline ClassRows class_rows(const char* op, const Shape& x) {
  check<ShapeError>(x.rank() >= 1, op, "got a scalar input, expected [N, C] or [N, C, d1, ...]");
  ClassRows r;
  const int dim = x.rank() == 1 ? 0 : 1;
  const DimSplit s = split_at(x, dim);
  r.outer = s.outer, r.classes = s.n, r.inner = s.inner;
  r.rows = x;
  r.rows.erase(dim);
  return r;
}

/// Checks every label and returns the sum of their weights (the count without weights) over rows that are not ignored.
/// Throws ShapeError or ValueError.
template <class T>
double check_labels(const char* op, const ClassRows& r, const Tensor<Index>& labels, const Tensor<T>& weight,
                    Index ignore_index) {
  check<GraphError>(labels.defined(), op, "got undefined labels");
  check<ShapeError>(labels.shape() == r.rows, op, "got labels of shape ", labels.shape(), ", expected ", r.rows,
                    ": one for each row of ", r.classes, " classes");
  check<ShapeError>(!weight.defined() || (weight.rank() == 1 && weight.shape()[0] == r.classes), op,
                    "got class weights of shape ", weight.shape(), ", expected [", r.classes, "]");
  const Index* const label = labels.data();
  Index counted = 0;
  double sum = 0;
  for (Index i = 0, n = labels.numel(); i < n; ++i) {
    if (label[i] == ignore_index) continue;
    check(label[i] >= 0 && label[i] < r.classes, op, "got label ", label[i], " at position ", i,
          ", expected it in [0, ", r.classes, "): there are ", r.classes, " classes");
    ++counted;
    if (weight.defined()) sum += static_cast<double>(weight.data()[label[i]]);
  }
  return weight.defined() ? sum : static_cast<double>(counted);
}

/// Sum of all elements times `scale`, as a scalar.
template <class T>
Tensor<T> scaled_sum(const Tensor<T>& x, double scale) {
  Tensor<T> y = Tensor<T>::empty({}, x.device());
  on_device(x.device(), [&](auto dev) {
    const T* const v = x.data();
    *y.data() =
        static_cast<T>(scale * kernels::sum_map<T>(dev, x.numel(), [=](Index i) QDISTILL_ISA_BODY { return v[i]; }));
  });
  return y;
}

/// Runs an elementwise loss of (x, t): `value(x, t)`, and its derivatives by x and by t, all lambdas on scalars marked
/// QDISTILL_ISA_BODY. Reduction mean divides by the number of elements, batch_mean by the size of dim 0.
template <class T, class Value, class ByInput, class ByTarget>
Tensor<T> elementwise_loss(const char* op, const Tensor<T>& x, const Tensor<T>& target, Reduction reduction,
                           Value value, ByInput by_input, ByTarget by_target) {
  check_defined(op, x);
  check_defined(op, target);
  check<ShapeError>(x.shape() == target.shape(), op, "got input of shape ", x.shape(), " and target of shape ",
                    target.shape(), ", expected equal shapes");
  check<ShapeError>(reduction != Reduction::batch_mean || x.rank() > 0, op,
                    "got a scalar, expected at least one dim for the batch mean");
  const Tensor<T> a = dense(x), b = dense(target);
  const Index n = x.numel();
  const bool per_element = reduction == Reduction::none;
  double divisor = 1;
  if (reduction == Reduction::mean) divisor = static_cast<double>(n);
  if (reduction == Reduction::batch_mean) divisor = static_cast<double>(x.shape()[0]);
  Tensor<T> y = Tensor<T>::empty(per_element ? x.shape() : Shape{}, x.device());
  on_device(x.device(), [&](auto dev) {
    const T *const p = a.data(), *const q = b.data();
    T* const out = y.data();
    if (per_element) {
      parallel_for(n, memory_grain, [=](Index begin, Index end) {
        with_isa([=]() QDISTILL_ISA_BODY {
          QDISTILL_SIMD
          for (Index i = begin; i < end; ++i) out[i] = value(p[i], q[i]);
        });
      });
    } else {
      *out = static_cast<T>(kernels::sum_map<T>(dev, n, [=](Index i) QDISTILL_ISA_BODY { return value(p[i], q[i]); }) /
                            divisor);
    }
  });
  const T scale = static_cast<T>(1 / divisor);
  return record(
      op, y, inputs(x, target),
      [a = save(a), b = save(b), n, per_element, scale, by_input, by_target](const Tensor<T>& dy, Gradients<T>& dx) {
        on_device(dy.device(), [&](auto dev) {
          if (dx[0].wanted())
            kernels::map_loss_backward(dev, n, a.data(), b.data(), dy.data(), per_element, scale, dx[0].data(),
                                       dx[0].mode(), by_input);
          if (dx[1].wanted())
            kernels::map_loss_backward(dev, n, a.data(), b.data(), dy.data(), per_element, scale, dx[1].data(),
                                       dx[1].mode(), by_target);
        });
      });
}

}  // namespace detail
}  // namespace qdistill::inline QDISTILL_ABI
