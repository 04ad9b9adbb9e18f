/// Order along a dim: sort, the k largest or smallest, median and quantiles.
#pragma once

#include "qdistill/kernels/cpu/sort.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Values in order, and where along the dim each one stood.
template <class T>
struct Sorted {
  Tensor<T> values;
  Tensor<Index> indices;
};

namespace detail {

template <class T>
Sorted<T> first_in_order(const char* op, const Tensor<T>& x, int dim, Index k, bool descending) {
  const DimSplit s = split_at(x.shape(), dim);
  Shape shape = x.shape();
  shape[dim] = k;
  const Tensor<T> in = dense(x);
  Sorted<T> y{Tensor<T>::empty(shape, x.device()), Tensor<Index>::empty(shape, x.device())};
  on_device(x.device(), [&](auto dev) {
    kernels::sort(dev, in.data(), y.values.data(), y.indices.data(), s.outer, s.n, s.inner, k, descending);
  });
  if constexpr (std::is_floating_point_v<T>) {
    y.values = record(op, y.values, inputs(x), [at = save(y.indices), s, k](const Tensor<T>& dy, Gradients<T>& dx) {
      on_device(dy.device(), [&](auto dev) {
        const Index* const stood = at.data();
        kernels::sort_backward(dev, dy.data(), stood, dx[0].data(), s.outer, s.n, s.inner, k, dx[0].mode());
      });
    });
  }
  return y;
}

/// The element at `position` in ascending order along the middle of s; see kernels::order_statistic.
template <class T>
Tensor<T> order_statistic(const char* op, const Tensor<T>& x, DimSplit s, const Shape& out, double position) {
  static_assert(std::is_floating_point_v<T>);
  check<ShapeError>(s.n > 0 || s.outer * s.inner == 0, op, "got shape ", x.shape(), ", expected at least one element");
  const Tensor<T> in = dense(x);
  Tensor<T> y = Tensor<T>::empty(out, x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::order_statistic(dev, in.data(), y.data(), s.outer, s.n, s.inner, position); });
  return y;
}

/// Position of quantile q among n elements. Throws ValueError unless 0 <= q <= 1.
inline double quantile_position(double q, Index n) {
  check(q >= 0 && q <= 1, "quantile", "got q ", q, ", expected it in [0, 1]");
  return q * static_cast<double>(n - 1);
}
inline double lower_middle(Index n) noexcept { return static_cast<double>((n - 1) / 2); }

inline Shape without_dim(Shape shape, int dim, bool keepdim) {
  if (keepdim) shape[dim] = 1;
  else shape.erase(dim);
  return shape;
}

}  // namespace detail

/// x in ascending (or descending) order along `dim`; equal elements keep their order, NaN counts as the largest. The
/// gradient of the values goes back to where they stood. Throws ShapeError for a bad dim.
template <class T>
Sorted<T> sort(const Tensor<T>& x, Index dim = -1, bool descending = false) {
  detail::check_defined("sort", x);
  const int d = wrap_dim("sort", dim, x.rank());
  return detail::first_in_order("sort", x, d, x.shape()[d], descending);
}

/// The k largest (or smallest) elements along `dim`, in order; of equal ones the earlier comes first. Throws
/// ShapeError for a bad dim, ValueError unless 0 <= k <= the dim's size.
template <class T>
Sorted<T> topk(const Tensor<T>& x, Index k, Index dim = -1, bool largest = true) {
  detail::check_defined("topk", x);
  const int d = wrap_dim("topk", dim, x.rank());
  check(k >= 0 && k <= x.shape()[d], "topk", "got k ", k, " for dim ", d, " of shape ", x.shape(), ", expected 0 to ",
        x.shape()[d]);
  return detail::first_in_order("topk", x, d, k, largest);
}

/// Quantile q along `dim`, linear between neighbours; NaN where one takes part. Has no gradient. Throws ValueError
/// unless 0 <= q <= 1, ShapeError for a bad dim or one of size 0.
template <class T>
Tensor<T> quantile(const Tensor<T>& x, double q, Index dim, bool keepdim = false) {
  detail::check_defined("quantile", x);
  const int d = wrap_dim("quantile", dim, x.rank());
  const detail::DimSplit s = detail::split_at(x.shape(), d);
  return detail::order_statistic("quantile", x, s, detail::without_dim(x.shape(), d, keepdim),
                                 detail::quantile_position(q, s.n));
}
/// The same over all elements; shape [].
template <class T>
Tensor<T> quantile(const Tensor<T>& x, double q) {
  detail::check_defined("quantile", x);
  return detail::order_statistic("quantile", x, detail::DimSplit{1, x.numel(), 1}, Shape{},
                                 detail::quantile_position(q, x.numel()));
}

/// Middle element along `dim`, the lower one of two, as in PyTorch; NaN where one takes part. Has no gradient. Throws
/// ShapeError for a bad dim or one of size 0.
template <class T>
Tensor<T> median(const Tensor<T>& x, Index dim, bool keepdim = false) {
  detail::check_defined("median", x);
  const int d = wrap_dim("median", dim, x.rank());
  const detail::DimSplit s = detail::split_at(x.shape(), d);
  return detail::order_statistic("median", x, s, detail::without_dim(x.shape(), d, keepdim), detail::lower_middle(s.n));
}
/// The same over all elements; shape [].
template <class T>
Tensor<T> median(const Tensor<T>& x) {
  detail::check_defined("median", x);
  return detail::order_statistic("median", x, detail::DimSplit{1, x.numel(), 1}, Shape{},
                                 detail::lower_middle(x.numel()));
}

}  // namespace qdistill::inline QDISTILL_ABI
