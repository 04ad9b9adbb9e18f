/// Indexing along a dim: gather, index_select, index_add. Gradients of repeated indices are added in the order of the
/// indices, whatever the number of threads.
#pragma once

#include "qdistill/kernels/cpu/index.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// Throws ValueError unless all elements of the contiguous `index` lie in [0, size).
inline void check_indices(const char* op, const Tensor<Index>& index, Index size) {
  on_device(index.device(), [&](auto dev) {
    const Index bad = kernels::first_out_of_range(dev, index.numel(), index.data(), size);
    check(bad < 0, op, "got index ", bad < 0 ? 0 : index.data()[bad], " at position ", bad, ", expected it in [0, ",
          size, ")");
  });
}

/// x's shape with `count` positions along `dim`.
inline Shape with_size(Shape shape, int dim, Index count) {
  if (shape.rank() > 0) shape[dim] = count;
  return shape;
}

}  // namespace detail

/// y[.., k, ..] = x[.., index[.., k, ..], ..], the position along `dim` taken from `index`.  index has x's rank and at
/// most its sizes in the other dims; y has index's shape.  Throws ShapeError, and ValueError for an index out of range.
template <class T>
Tensor<T> gather(const Tensor<T>& x, Index dim, const Tensor<Index>& index) {
  detail::check_defined("gather", x), detail::check_defined("gather", index);
  const int d = wrap_dim("gather", dim, x.rank() > 0 ? x.rank() : 1);
  bool fits = index.rank() == x.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == d || index.shape()[i] <= x.shape()[i];
  check<ShapeError>(fits, "gather", "got index ", index.shape(), " for ", x.shape(),
                    ", expected as many dims, none but dim ", d, " larger");
  const Tensor<Index> id = detail::dense(index);
  detail::check_indices("gather", id, x.rank() > 0 ? x.shape()[d] : 1);
  const Tensor<T> in = x.contiguous() ? x.detach() : detail::pack(x);
  Tensor<T> y = Tensor<T>::empty(index.shape(), x.device());
  const T* const from = in.data();
  T* const to = y.data();
  on_device(x.device(), [&](auto dev) {
    kernels::for_each_index(dev, id.shape(), x.shape(), d, id.data(), [=](Index i, Index at) { to[i] = from[at]; });
  });
  return detail::record_view("gather", y, x, [index = save(id), d](const Tensor<T>& dy, auto& dx) {
    const Shape& shape = dx[0].shape();
    if (dx[0].mode() == Write::set) fill_elements(dx[0].data(), shape.numel(), T(0));
    const T* const g = dy.data();
    T* const sum = dx[0].data();
    on_device(dy.device(), [&](auto dev) {
      kernels::for_each_index(dev, dy.shape(), shape, d, index.data(), [=](Index i, Index at) { sum[at] += g[i]; });
    });
  });
}

/// The positions `index` (a vector or scalar) of x along `dim`, in that order. Throws ShapeError, and ValueError for an
/// index out of range.
template <class T>
Tensor<T> index_select(const Tensor<T>& x, Index dim, const Tensor<Index>& index) {
  detail::check_defined("index_select", x), detail::check_defined("index_select", index);
  const int d = wrap_dim("index_select", dim, x.rank() > 0 ? x.rank() : 1);
  check<ShapeError>(index.rank() <= 1, "index_select", "got index ", index.shape(), ", expected one dim");
  const Tensor<Index> id = detail::dense(index);
  const Index count = id.numel();
  check<ShapeError>(x.rank() > 0 || count == 1, "index_select", "got ", count, " indices for a scalar, expected 1");
  const detail::DimSplit rows = detail::split_at(x.shape(), d);
  detail::check_indices("index_select", id, rows.n);
  const Tensor<T> in = x.contiguous() ? x.detach() : detail::pack(x);
  Tensor<T> y = Tensor<T>::empty(detail::with_size(x.shape(), d, count), x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::take_rows(dev, rows.outer, rows.n, rows.inner, id.data(), count, in.data(), y.data(), T(1), Write::set);
  });
  return detail::record_view("index_select", y, x, [index = save(id), rows, count](const Tensor<T>& dy, auto& dx) {
    if (dx[0].mode() == Write::set) fill_elements(dx[0].data(), dx[0].shape().numel(), T(0));
    on_device(dy.device(), [&](auto dev) {
      kernels::add_rows(dev, rows.outer, rows.n, rows.inner, index.data(), count, dy.data(), dx[0].data(), T(1));
    });
  });
}

/// y = x with alpha source[.., k, ..] added at position index[k] along `dim`, for each k in order.  source has x's
/// shape but for `dim`, whose size is that of `index`.  Throws ShapeError, and ValueError for an index out of range.
template <class T>
Tensor<T> index_add(const Tensor<T>& x, Index dim, const Tensor<Index>& index, const Tensor<T>& source,
                    T alpha = T(1)) {
  const char* const op = "index_add";
  detail::check_defined(op, x), detail::check_defined(op, index), detail::check_defined(op, source);
  const int d = wrap_dim(op, dim, x.rank() > 0 ? x.rank() : 1);
  check<ShapeError>(index.rank() <= 1, op, "got index ", index.shape(), ", expected one dim");
  const Tensor<Index> id = detail::dense(index);
  const Index count = id.numel();
  check<ShapeError>(source.shape() == detail::with_size(x.shape(), d, count) && (x.rank() > 0 || count == 1), op,
                    "got source ", source.shape(), " for ", x.shape(), " and ", count, " indices, expected ",
                    detail::with_size(x.shape(), d, count));
  const detail::DimSplit rows = detail::split_at(x.shape(), d);
  detail::check_indices(op, id, rows.n);
  const Tensor<T> add = source.contiguous() ? source.detach() : detail::pack(source);
  Tensor<T> y = detail::pack(x);
  on_device(x.device(), [&](auto dev) {
    kernels::add_rows(dev, rows.outer, rows.n, rows.inner, id.data(), count, add.data(), y.data(), alpha);
  });
  if constexpr (!std::is_floating_point_v<T>) return y;
  else
    return record(op, y, inputs(x, source),
                  [index = save(id), rows, count, alpha](const Tensor<T>& dy, Gradients<T>& dx) {
                    dx[0].accumulate(dy);
                    if (!dx[1].wanted()) return;
                    on_device(dy.device(), [&](auto dev) {
                      kernels::take_rows(dev, rows.outer, rows.n, rows.inner, index.data(), count, dy.data(),
                                         dx[1].data(), alpha, dx[1].mode());
                    });
                  });
}

}  // namespace qdistill::inline QDISTILL_ABI
