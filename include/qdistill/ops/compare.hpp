/// Comparisons, which give masks of 0 and 1 in a Tensor<std::uint8_t>, and where(), which chooses by a mask. Shapes
/// broadcast; ShapeError "[op] got shapes ..." when they do not.
#pragma once

#include "qdistill/kernels/cpu/broadcast.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// 1 where a condition holds, 0 elsewhere.
using Mask = Tensor<std::uint8_t>;

namespace detail {

template <class T, class F>
Mask compare(const char* op, const Tensor<T>& a, const Tensor<T>& b, F f) {
  check_defined(op, a), check_defined(op, b);
  const Shape shape = broadcast(op, a.shape(), b.shape());
  const kernels::BroadcastLayout layout = kernels::broadcast_layout(shape, a.shape(), b.shape());
  const Tensor<T> da = dense(a), db = dense(b);
  Mask y = Mask::empty(shape, a.device());
  on_device(a.device(), [&](auto dev) {
    kernels::map_broadcast(dev, layout, da.data(), db.data(), y.data(), Write::set,
                           [f](Index, T u, T v) QDISTILL_ISA_BODY { return static_cast<std::uint8_t>(f(u, v)); });
  });
  return y;
}

}  // namespace detail

/// a == b
template <class T>
Mask eq(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("eq", a, b, [](T u, T v) QDISTILL_ISA_BODY { return u == v; });
}
/// a != b
template <class T>
Mask ne(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("ne", a, b, [](T u, T v) QDISTILL_ISA_BODY { return u != v; });
}
/// a < b
template <class T>
Mask lt(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("lt", a, b, [](T u, T v) QDISTILL_ISA_BODY { return u < v; });
}
/// a <= b
template <class T>
Mask le(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("le", a, b, [](T u, T v) QDISTILL_ISA_BODY { return u <= v; });
}
/// a > b
template <class T>
Mask gt(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("gt", a, b, [](T u, T v) QDISTILL_ISA_BODY { return u > v; });
}
/// a >= b
template <class T>
Mask ge(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("ge", a, b, [](T u, T v) QDISTILL_ISA_BODY { return u >= v; });
}

// The same against a number of the tensor's type.
template <class T>
Mask eq(const Tensor<T>& a, std::type_identity_t<T> b) {
  return eq(a, Tensor<T>::scalar(b));
}
template <class T>
Mask ne(const Tensor<T>& a, std::type_identity_t<T> b) {
  return ne(a, Tensor<T>::scalar(b));
}
template <class T>
Mask lt(const Tensor<T>& a, std::type_identity_t<T> b) {
  return lt(a, Tensor<T>::scalar(b));
}
template <class T>
Mask le(const Tensor<T>& a, std::type_identity_t<T> b) {
  return le(a, Tensor<T>::scalar(b));
}
template <class T>
Mask gt(const Tensor<T>& a, std::type_identity_t<T> b) {
  return gt(a, Tensor<T>::scalar(b));
}
template <class T>
Mask ge(const Tensor<T>& a, std::type_identity_t<T> b) {
  return ge(a, Tensor<T>::scalar(b));
}

/// a where `condition` is not 0, b elsewhere; all three broadcast.  dL/da = dL/dy where the condition holds, dL/db
/// where it does not, summed over repetitions.
template <class T>
Tensor<T> where(const Mask& condition, const Tensor<T>& a, const Tensor<T>& b) {
  detail::check_defined("where", condition), detail::check_defined("where", a), detail::check_defined("where", b);
  const Shape shape = broadcast("where", broadcast("where", a.shape(), b.shape()), condition.shape());
  const kernels::BroadcastLayout layout = kernels::broadcast_layout(shape, a.shape(), b.shape());
  const Tensor<T> da = detail::dense(a), db = detail::dense(b);
  Mask mask = detail::dense(condition);
  Tensor<T> y = Tensor<T>::empty(shape, a.device());
  on_device(a.device(), [&](auto dev) {
    if (mask.shape() != shape) {
      Mask whole = Mask::empty(shape, a.device());
      kernels::map_broadcast(dev, kernels::broadcast_layout(shape, mask.shape(), mask.shape()), mask.data(),
                             mask.data(), whole.data(), Write::set,
                             [](Index, std::uint8_t u, std::uint8_t) QDISTILL_ISA_BODY { return u; });
      mask = whole;
    }
    kernels::map_broadcast(dev, layout, da.data(), db.data(), y.data(), Write::set,
                           [m = mask.data()](Index i, T u, T v) QDISTILL_ISA_BODY { return m[i] ? u : v; });
  });
  return record("where", y, inputs(a, b), [mask = save(mask), layout](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      const std::uint8_t* const m = mask.data();
      const T* const g = dy.data();  // also stands in for the operands, which are not needed
      if (dx[0].wanted())
        kernels::broadcast_sum(dev, layout, layout.a, g, g, dx[0].data(), dx[0].mode(),
                               [m, g](Index i, T, T) QDISTILL_ISA_BODY { return m[i] ? g[i] : T(0); });
      if (dx[1].wanted())
        kernels::broadcast_sum(dev, layout, layout.b, g, g, dx[1].data(), dx[1].mode(),
                               [m, g](Index i, T, T) QDISTILL_ISA_BODY { return m[i] ? T(0) : g[i]; });
    });
  });
}
template <class T>
Tensor<T> where(const Mask& condition, const Tensor<T>& a, std::type_identity_t<T> b) {
  return where(condition, a, Tensor<T>::scalar(b));
}
template <class T>
Tensor<T> where(const Mask& condition, std::type_identity_t<T> a, const Tensor<T>& b) {
  return where(condition, Tensor<T>::scalar(a), b);
}

}  // namespace qdistill::inline QDISTILL_ABI
