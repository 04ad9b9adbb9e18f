/// Joining tensors: cat along a dim, stack along a new one. Tensors of integers take part without a graph.
#pragma once

#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// Writes the tensors side by side along `d`, a dim of the result; where `stacked` it is a new one.
template <class T>
Tensor<T> join(const char* op, std::span<const Tensor<T>> list, int d, bool stacked) {
  const auto framed = [&](Shape s, Index step) {
    if (stacked) s.insert(d, step);
    return s;
  };
  const int count = static_cast<int>(list.size());
  Tensor<Index> starts = Tensor<Index>::empty({count});
  Shape shape = framed(list[0].shape(), 1);
  shape[d] = 0;
  for (int i = 0; i < count; ++i) {
    const Shape& own = list[static_cast<std::size_t>(i)].shape();
    starts.data()[i] = shape[d];
    const Index step = stacked ? 1 : own[d];
    check<ShapeError>(step <= (Index{1} << 62) - shape[d], op, "got tensors with more than 2^62 elements");
    shape[d] += step;
  }
  Tensor<T> y = Tensor<T>::empty(shape, list[0].device());
  const Strides strides = y.strides();
  for (int i = 0; i < count; ++i) {
    const Tensor<T>& x = list[static_cast<std::size_t>(i)];
    on_device(y.device(), [&](auto dev) {
      kernels::copy_strided(dev, framed(x.shape(), 1), x.data(), framed(x.strides(), 0),
                            y.data() + starts.data()[i] * strides[d], strides, Write::set);
    });
  }
  if constexpr (!std::is_floating_point_v<T>) return y;
  else
    return record(op, y, inputs(list), [starts, strides, d, stacked, count](const Tensor<T>& dy, Gradients<T>& dx) {
      for (int i = 0; i < count; ++i) {
        if (!dx[i].wanted()) continue;
        const Shape& own = dx[i].shape();
        Shape part = own;
        if (stacked) part.insert(d, 1);
        const Tensor<T> from = dy.window(part, strides, starts.data()[i] * strides[d]);
        if (from.contiguous()) dx[i].accumulate(from.window(own, row_major(own), 0));
        else add_region(from, dx[i], row_major(part), 0);
      }
    });
}

}  // namespace detail

/// The tensors side by side along `dim`; all other dims must agree. Throws ShapeError.
template <class T>
Tensor<T> cat(std::span<const Tensor<T>> list, Index dim = 0) {
  check<ShapeError>(!list.empty() && list.size() < (1u << 30), "cat", "got ", list.size(),
                    " tensors, expected at least one");
  for (const Tensor<T>& x : list) detail::check_defined("cat", x);
  const int d = wrap_dim("cat", dim, list[0].rank());
  for (const Tensor<T>& x : list) {
    Shape want = list[0].shape();
    if (x.rank() == want.rank()) want[d] = x.shape()[d];
    check<ShapeError>(x.shape() == want, "cat", "got ", list[0].shape(), " and ", x.shape(),
                      ", expected all dims but dim ", d, " to agree");
  }
  return detail::join("cat", list, d, false);
}
template <class T>
Tensor<T> cat(std::initializer_list<Tensor<T>> list, Index dim = 0) {
  return cat(std::span<const Tensor<T>>(list.begin(), list.size()), dim);
}
template <class T>
Tensor<T> cat(const std::vector<Tensor<T>>& list, Index dim = 0) {
  return cat(std::span<const Tensor<T>>(list), dim);
}

/// Tensors of one shape along a new dim at position `dim`, in [-rank - 1, rank]. Throws ShapeError.
template <class T>
Tensor<T> stack(std::span<const Tensor<T>> list, Index dim = 0) {
  check<ShapeError>(!list.empty() && list.size() < (1u << 30), "stack", "got ", list.size(),
                    " tensors, expected at least one");
  for (const Tensor<T>& x : list) {
    detail::check_defined("stack", x);
    check<ShapeError>(x.shape() == list[0].shape(), "stack", "got ", list[0].shape(), " and ", x.shape(),
                      ", expected one shape");
  }
  return detail::join("stack", list, wrap_dim("stack", dim, list[0].rank() + 1), true);
}
template <class T>
Tensor<T> stack(std::initializer_list<Tensor<T>> list, Index dim = 0) {
  return stack(std::span<const Tensor<T>>(list.begin(), list.size()), dim);
}
template <class T>
Tensor<T> stack(const std::vector<Tensor<T>>& list, Index dim = 0) {
  return stack(std::span<const Tensor<T>>(list), dim);
}

}  // namespace qdistill::inline QDISTILL_ABI
