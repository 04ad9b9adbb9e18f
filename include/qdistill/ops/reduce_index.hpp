/// argmax and argmin: positions, which have no gradient.
#pragma once

#include "qdistill/kernels/cpu/reduce_index.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

template <class T>
Tensor<Index> arg_extreme(const char* op, kernels::Extreme which, const Tensor<T>& x, DimSplit rows, const Shape& out) {
  check<ShapeError>(rows.n > 0 || rows.outer * rows.inner == 0, op, "got shape ", x.shape(),
                    ", expected at least one element to choose from");
  const Tensor<T> in = dense(x);
  Tensor<Index> index = Tensor<Index>::empty(out, x.device());
  if (index.numel() == 0) return index;
  on_device(x.device(), [&](auto dev) {
    kernels::arg_extreme(dev, which, in.data(), index.data(), rows.outer, rows.n, rows.inner);
  });
  return index;
}

template <class T>
Tensor<Index> arg_extreme(const char* op, kernels::Extreme which, const Tensor<T>& x, Index dim, bool keepdim) {
  check_defined(op, x);
  const int d = wrap_dim(op, dim, x.rank());
  Shape out = x.shape();
  if (keepdim) out[d] = 1;
  else out.erase(d);
  return arg_extreme(op, which, x, split_at(x.shape(), d), out);
}

}  // namespace detail

/// Position of the largest element along `dim`; the first of equal ones, or the first NaN. Throws ShapeError for a bad
/// dim or a dim of size 0.
template <class T>
Tensor<Index> argmax(const Tensor<T>& x, Index dim, bool keepdim = false) {
  return detail::arg_extreme("argmax", kernels::Extreme::largest, x, dim, keepdim);
}
/// The same over all elements, in row-major order; shape [].
template <class T>
Tensor<Index> argmax(const Tensor<T>& x) {
  detail::check_defined("argmax", x);
  return detail::arg_extreme("argmax", kernels::Extreme::largest, x, detail::DimSplit{1, x.numel(), 1}, Shape{});
}

/// Position of the smallest element along `dim`; the first of equal ones, or the first NaN. Throws ShapeError for a
/// bad dim or a dim of size 0.
template <class T>
Tensor<Index> argmin(const Tensor<T>& x, Index dim, bool keepdim = false) {
  return detail::arg_extreme("argmin", kernels::Extreme::smallest, x, dim, keepdim);
}
/// The same over all elements, in row-major order; shape [].
template <class T>
Tensor<Index> argmin(const Tensor<T>& x) {
  detail::check_defined("argmin", x);
  return detail::arg_extreme("argmin", kernels::Extreme::smallest, x, detail::DimSplit{1, x.numel(), 1}, Shape{});
}

}  // namespace qdistill::inline QDISTILL_ABI
