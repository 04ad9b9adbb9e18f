/// Views and layouts: the same elements under another shape. A view shares its tensor's storage wherever strides can
/// express it; the gradient of a view goes into the matching region of its tensor's gradient. Tensors of integers take
/// part without a graph.
#pragma once

#include "qdistill/kernels/cpu/copy.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// record() for the scalar types that carry a graph; `y` itself for the others.
template <class T, class F>
Tensor<T> record_view(const char* op, Tensor<T> y, const Tensor<T>& x, F backward) {
  if constexpr (std::is_floating_point_v<T>) return record(op, std::move(y), inputs(x), std::move(backward));
  else return y;
}

/// x in row-major order in storage of its own.
template <class T>
Tensor<T> pack(const Tensor<T>& x) {
  Tensor<T> y = Tensor<T>::empty(x.shape(), x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::copy_strided(dev, x.shape(), x.data(), x.strides(), y.data(), y.strides(), Write::set);
  });
  return y;
}

/// Adds dy to the region of dx that starts at `offset` with `strides`; the rest of a fresh dx becomes 0, once.
template <class T>
void add_region(const Tensor<T>& dy, GradientSlot<T>& dx, const Strides& strides, Index offset) {
  if (!dx.wanted()) return;
  const Write mode = dx.mode();
  T* const to = dx.data();
  if (mode == Write::set && dy.numel() != dx.shape().numel()) fill_elements(to, dx.shape().numel(), T(0));
  on_device(dy.device(), [&](auto dev) {
    kernels::copy_strided(dev, dy.shape(), dy.data(), dy.strides(), to + offset, strides, mode);
  });
}

/// The window of x with this shape; `strides` and `offset` as in x, `dense_strides` and `dense_offset` as they are in
/// a row-major tensor of x's shape.
template <class T>
Tensor<T> window_of(const char* op, const Tensor<T>& x, const Shape& shape, const Strides& strides, Index offset,
                    const Strides& dense_strides, Index dense_offset) {
  return record_view(op, x.window(shape, strides, offset), x,
                     [dense_strides, dense_offset](const Tensor<T>& dy, auto& dx) {
                       add_region(dy, dx[0], dense_strides, dense_offset);
                     });
}

/// `y`, which holds the elements of x in the same row-major order under another shape or layout.
template <class T>
Tensor<T> same_elements(const char* op, const Tensor<T>& y, const Tensor<T>& x) {
  return record_view(op, y, x, [from = x.shape()](const Tensor<T>& dy, auto& dx) {
    dx[0].accumulate(dy.window(from, row_major(from), 0));
  });
}

/// x with its dims in another order: dim d of the result is dim order[d] of x.
template <class T>
Tensor<T> permuted(const char* op, const Tensor<T>& x, const Shape& order) {
  Shape shape = x.shape(), dense = row_major(x.shape());
  Strides strides = x.strides(), back = dense;
  for (int d = 0; d < x.rank(); ++d)
    shape[d] = x.shape()[static_cast<int>(order[d])], strides[d] = x.strides()[static_cast<int>(order[d])],
    back[d] = dense[static_cast<int>(order[d])];
  return window_of(op, x, shape, strides, 0, back, 0);
}

}  // namespace detail

/// x itself if it is contiguous, else a row-major copy.
template <class T>
Tensor<T> contiguous(const Tensor<T>& x) {
  detail::check_defined("contiguous", x);
  if (x.contiguous()) return x;
  return detail::same_elements("contiguous", detail::pack(x), x);
}

/// The elements of x in row-major order under another shape; one dim may be -1 and is then computed. Shares storage if
/// x is contiguous. Throws ShapeError if the numbers of elements differ.
template <class T>
Tensor<T> reshape(const Tensor<T>& x, Shape shape) {
  detail::check_defined("reshape", x);
  int unknown = -1;
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] != -1) continue;
    check<ShapeError>(unknown < 0, "reshape", "got shape ", shape, ", expected at most one dim of -1");
    unknown = d;
  }
  if (unknown >= 0) {
    Shape known = shape;
    known.erase(unknown);
    const Index rest = checked_numel("reshape", known);
    check<ShapeError>(rest != 0 && x.numel() % rest == 0, "reshape", "got ", x.shape(), " to ", shape,
                      ", expected the elements to fill the other dims");
    shape[unknown] = x.numel() / rest;
  }
  check<ShapeError>(checked_numel("reshape", shape) == x.numel(), "reshape", "got ", x.shape(), " to ", shape,
                    ", expected as many elements");
  const Tensor<T> dense = x.contiguous() ? x : detail::pack(x);
  return detail::same_elements("reshape", dense.window(shape, row_major(shape), 0), x);
}

/// Merges dims [start, end] into one; a scalar becomes a vector of one element. Throws ShapeError.
template <class T>
Tensor<T> flatten(const Tensor<T>& x, Index start = 0, Index end = -1) {
  detail::check_defined("flatten", x);
  if (x.rank() == 0) return reshape(x, {1});
  const int first = wrap_dim("flatten", start, x.rank()), last = wrap_dim("flatten", end, x.rank());
  check<ShapeError>(first <= last, "flatten", "got dims ", start, " to ", end, " of shape ", x.shape(),
                    ", expected the first not after the last");
  Shape shape;
  for (int d = 0; d < first; ++d) shape.push_back(x.shape()[d]);
  Index merged = 1;
  for (int d = first; d <= last; ++d) merged *= x.shape()[d];
  shape.push_back(merged);
  for (int d = last + 1; d < x.rank(); ++d) shape.push_back(x.shape()[d]);
  return reshape(x, shape);
}

/// View with its dims in the order that `order` lists: dim d of the result is dim order[d] of x. Throws ShapeError
/// unless `order` names each dim once.
template <class T>
Tensor<T> permute(const Tensor<T>& x, const Shape& order) {
  detail::check_defined("permute", x);
  check<ShapeError>(order.rank() == x.rank(), "permute", "got ", order.rank(), " dims for shape ", x.shape(),
                    ", expected each of its ", x.rank(), " once");
  Shape wrapped = order;
  bool seen[max_rank] = {};
  for (int d = 0; d < order.rank(); ++d) {
    const int from = wrap_dim("permute", order[d], x.rank());
    check<ShapeError>(!seen[from], "permute", "got order ", order, ", expected each dim once");
    seen[from] = true, wrapped[d] = from;
  }
  return detail::permuted("permute", x, wrapped);
}

/// View with dims d0 and d1 exchanged. Throws ShapeError.
template <class T>
Tensor<T> transpose(const Tensor<T>& x, Index d0, Index d1) {
  detail::check_defined("transpose", x);
  const int a = wrap_dim("transpose", d0, x.rank()), b = wrap_dim("transpose", d1, x.rank());
  Shape order = x.shape();
  for (int d = 0; d < x.rank(); ++d) order[d] = d == a ? b : d == b ? a : d;
  return detail::permuted("transpose", x, order);
}

/// View of the elements start, start + step, ... below stop along `dim`; negative positions count from the end and both
/// are clipped to the dim, as in Python. Throws ShapeError for a bad dim, ValueError for a step below 1.
template <class T>
Tensor<T> slice(const Tensor<T>& x, Index dim, Index start, Index stop, Index step = 1) {
  detail::check_defined("slice", x);
  const int d = wrap_dim("slice", dim, x.rank());
  check(step >= 1, "slice", "got step ", step, ", expected at least 1");
  const Index n = x.shape()[d];
  const auto clip = [n](Index i) { return i < -n ? 0 : i < 0 ? i + n : i < n ? i : n; };
  const Index begin = clip(start), end = clip(stop);
  Shape shape = x.shape();
  Strides strides = x.strides(), dense = row_major(x.shape());
  shape[d] = end > begin ? (end - begin - 1) / step + 1 : 0;
  const Index offset = shape[d] > 0 ? begin * strides[d] : 0, dense_offset = shape[d] > 0 ? begin * dense[d] : 0;
  if (shape[d] > 1) strides[d] *= step, dense[d] *= step;  // a step beyond the end may be any number
  return detail::window_of("slice", x, shape, strides, offset, dense, dense_offset);
}

/// View of `length` elements from `start` on along `dim`. Throws ShapeError where that leaves the dim.
template <class T>
Tensor<T> narrow(const Tensor<T>& x, Index dim, Index start, Index length) {
  detail::check_defined("narrow", x);
  const Index n = x.shape()[wrap_dim("narrow", dim, x.rank())];
  const Index begin = start < 0 && start >= -n ? start + n : start;
  check<ShapeError>(begin >= 0 && begin <= n && length >= 0 && length <= n - begin, "narrow", "got start ", start,
                    " and length ", length, " for dim ", dim, " of shape ", x.shape(), ", expected both within it");
  return slice(x, dim, begin, begin + length);
}

/// View of one position along `dim`, which disappears. Throws ShapeError.
template <class T>
Tensor<T> select(const Tensor<T>& x, Index dim, Index index) {
  detail::check_defined("select", x);
  const int d = wrap_dim("select", dim, x.rank());
  const Index n = x.shape()[d];
  check<ShapeError>(index >= -n && index < n, "select", "got index ", index, " for dim ", dim, " of shape ", x.shape(),
                    ", expected it in [", -n, ", ", n, ")");
  const Index at = index < 0 ? index + n : index;
  Shape shape = x.shape();
  Strides strides = x.strides(), dense = row_major(x.shape());
  const Index offset = at * strides[d], dense_offset = at * dense[d];
  shape.erase(d), strides.erase(d), dense.erase(d);
  return detail::window_of("select", x, shape, strides, offset, dense, dense_offset);
}

/// View without the dims of size 1. Throws nothing.
template <class T>
Tensor<T> squeeze(const Tensor<T>& x) {
  detail::check_defined("squeeze", x);
  Shape shape;
  Strides strides;
  for (int d = 0; d < x.rank(); ++d)
    if (x.shape()[d] != 1) shape.push_back(x.shape()[d]), strides.push_back(x.strides()[d]);
  return detail::same_elements("squeeze", x.window(shape, strides, 0), x);
}

/// View without `dim` if its size is 1, else with it. Throws ShapeError for a bad dim.
template <class T>
Tensor<T> squeeze(const Tensor<T>& x, Index dim) {
  detail::check_defined("squeeze", x);
  const int d = wrap_dim("squeeze", dim, x.rank());
  Shape shape = x.shape();
  Strides strides = x.strides();
  if (shape[d] == 1) shape.erase(d), strides.erase(d);
  return detail::same_elements("squeeze", x.window(shape, strides, 0), x);
}

/// View with a new dim of size 1 at position `dim`, in [-rank - 1, rank]. Throws ShapeError.
template <class T>
Tensor<T> unsqueeze(const Tensor<T>& x, Index dim) {
  detail::check_defined("unsqueeze", x);
  const int d = wrap_dim("unsqueeze", dim, x.rank() + 1);
  Shape shape = x.shape();
  Strides strides = x.strides();
  strides.insert(d, d < x.rank() ? strides[d] * shape[d] : 1);
  shape.insert(d, 1);
  return detail::same_elements("unsqueeze", x.window(shape, strides, 0), x);
}

/// View in which dims of size 1 are repeated, and new ones put in front, to fill `shape`; -1 keeps a dim. The repeated
/// elements share memory, so an operation that needs a contiguous tensor copies.  dL/dx = sum of dL/dy over repeats.
/// Throws ShapeError.
template <class T>
Tensor<T> expand(const Tensor<T>& x, Shape shape) {
  detail::check_defined("expand", x);
  const int shift = shape.rank() - x.rank();
  check<ShapeError>(shift >= 0, "expand", "got ", x.shape(), " to ", shape, ", expected at least as many dims");
  Shape repeated = shape;  // 0 where x is repeated
  for (int d = 0; d < shape.rank(); ++d) {
    const Index own = d < shift ? 1 : x.shape()[d - shift];
    if (shape[d] == -1 && d >= shift) shape[d] = own;
    check<ShapeError>(shape[d] >= 0 && (own == 1 || own == shape[d]), "expand", "got ", x.shape(), " to ", shape,
                      ", expected every dim equal, or 1 where it is repeated");
    repeated[d] = d < shift || own != shape[d] ? 0 : 1;
  }
  checked_numel("expand", shape);
  const Strides strides = broadcast_strides(x.shape(), x.strides(), shape);
  return detail::record_view(
      "expand", x.window(shape, strides, 0), x, [repeated, shape](const Tensor<T>& dy, auto& dx) {
        const Write mode = dx[0].mode();
        on_device(dy.device(),
                  [&](auto dev) { kernels::sum_repeated(dev, shape, repeated, dy.data(), dx[0].data(), mode); });
      });
}

}  // namespace qdistill::inline QDISTILL_ABI
