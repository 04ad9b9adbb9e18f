/// Arithmetic on two tensors of shapes that broadcast, and on a tensor and a number.
///
/// The result has the broadcast shape; the gradient of an operand that is repeated is summed over its repetitions, in
/// the same pass that computes it. Formulas of value and gradients: kernels/cpu/arithmetic_functions.hpp. All throw
/// ShapeError "[op] got shapes ..." when the shapes do not broadcast, and GraphError for an undefined tensor.
#pragma once

#include "qdistill/kernels/cpu/arithmetic_functions.hpp"
#include "qdistill/kernels/cpu/broadcast.hpp"
#include "qdistill/kernels/cpu/elementwise_functions.hpp"
#include "qdistill/ops/elementwise.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// The buffer of f(a, b): a's or b's own when that was its last use and it has the result's shape.
template <class T>
Tensor<T> binary_result(Tensor<T>& a, Tensor<T>& b, const Shape& shape) {
  if (!a.requires_grad() && !b.requires_grad()) {
    if (a.shape() == shape && a.contiguous() && a.sole_owner()) return a;
    if (b.shape() == shape && b.contiguous() && b.sole_owner()) return b;
  }
  return Tensor<T>::empty(shape, a.device());
}

/// y = f(a, b), with f one of kernels/cpu/arithmetic_functions.hpp that needs neither input for its gradients.
template <class T, class F>
Tensor<T> linear_binary(const char* op, Tensor<T> a, Tensor<T> b, F f) {
  check_defined(op, a), check_defined(op, b);
  const Shape shape = broadcast(op, a.shape(), b.shape());
  const kernels::BroadcastLayout layout = kernels::broadcast_layout(shape, a.shape(), b.shape());
  Tensor<T> y = binary_result(a, b, shape);
  const Tensor<T> da = dense(a), db = dense(b);
  on_device(a.device(), [&](auto dev) {
    kernels::map_broadcast(dev, layout, da.data(), db.data(), y.data(), Write::set,
                           [f](Index, T u, T v) QDISTILL_ISA_BODY { return f(u, v); });
  });
  return record(op, y, inputs(a, b), [layout, f](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      const T* const g = dy.data();
      // The operands are not needed; dy stands in for them, read at positions that exist in it.
      if (dx[0].wanted() && f.gradient_a(T(1), T(0), T(0)) == T(1) && dx[0].shape() == dy.shape()) {
        dx[0].accumulate(dy);
      } else if (dx[0].wanted()) {
        kernels::broadcast_sum(dev, layout, layout.a, g, g, dx[0].data(), dx[0].mode(),
                               [g, f](Index i, T, T) QDISTILL_ISA_BODY { return f.gradient_a(g[i], T(0), T(0)); });
      }
      if (dx[1].wanted() && f.gradient_b(T(1), T(0), T(0)) == T(1) && dx[1].shape() == dy.shape()) {
        dx[1].accumulate(dy);
      } else if (dx[1].wanted()) {
        kernels::broadcast_sum(dev, layout, layout.b, g, g, dx[1].data(), dx[1].mode(),
                               [g, f](Index i, T, T) QDISTILL_ISA_BODY { return f.gradient_b(g[i], T(0), T(0)); });
      }
    });
  });
}

/// y = f(a, b), with f one of kernels/cpu/arithmetic_functions.hpp.
template <class T, class F>
Tensor<T> binary(const char* op, Tensor<T> a, Tensor<T> b, F f) {
  check_defined(op, a), check_defined(op, b);
  const Shape shape = broadcast(op, a.shape(), b.shape());
  const kernels::BroadcastLayout layout = kernels::broadcast_layout(shape, a.shape(), b.shape());
  Tensor<T> y = binary_result(a, b, shape);
  const Tensor<T> da = dense(a), db = dense(b);
  on_device(a.device(), [&](auto dev) {
    kernels::map_broadcast(dev, layout, da.data(), db.data(), y.data(), Write::set,
                           [f](Index, T u, T v) QDISTILL_ISA_BODY { return f(u, v); });
  });
  return record(op, y, inputs(a, b), [a = save(da), b = save(db), layout, f](const Tensor<T>& dy, Gradients<T>& dx) {
    on_device(dy.device(), [&](auto dev) {
      const T* const g = dy.data();
      const T* const pa = a.data();  // before any gradient is touched: throws if a was changed
      const T* const pb = b.data();
      if (dx[0].wanted())
        kernels::broadcast_sum(dev, layout, layout.a, pa, pb, dx[0].data(), dx[0].mode(),
                               [g, f](Index i, T u, T v) QDISTILL_ISA_BODY { return f.gradient_a(g[i], u, v); });
      if (dx[1].wanted())
        kernels::broadcast_sum(dev, layout, layout.b, pa, pb, dx[1].data(), dx[1].mode(),
                               [g, f](Index i, T u, T v) QDISTILL_ISA_BODY { return f.gradient_b(g[i], u, v); });
    });
  });
}

}  // namespace detail

/// a + b
template <class T>
Tensor<T> add(Tensor<T> a, Tensor<T> b) {
  return detail::linear_binary("add", std::move(a), std::move(b), kernels::Add{});
}
template <class T>
Tensor<T> add(Tensor<T> a, double b) {
  return detail::elementwise("add", std::move(a), kernels::Affine<T>{T(1), static_cast<T>(b)});
}

/// a - b
template <class T>
Tensor<T> sub(Tensor<T> a, Tensor<T> b) {
  return detail::linear_binary("sub", std::move(a), std::move(b), kernels::Sub{});
}
template <class T>
Tensor<T> sub(Tensor<T> a, double b) {
  return detail::elementwise("sub", std::move(a), kernels::Affine<T>{T(1), static_cast<T>(-b)});
}
template <class T>
Tensor<T> sub(double a, Tensor<T> b) {
  return detail::elementwise("sub", std::move(b), kernels::Affine<T>{T(-1), static_cast<T>(a)});
}

/// a b, elementwise.
template <class T>
Tensor<T> mul(Tensor<T> a, Tensor<T> b) {
  return detail::binary("mul", std::move(a), std::move(b), kernels::Mul{});
}
template <class T>
Tensor<T> mul(Tensor<T> a, double b) {
  return detail::elementwise("mul", std::move(a), kernels::Scale<T>{static_cast<T>(b)});
}

/// a / b; division by zero gives infinities or NaN.
template <class T>
Tensor<T> div(Tensor<T> a, Tensor<T> b) {
  return detail::binary("div", std::move(a), std::move(b), kernels::Div{});
}
template <class T>
Tensor<T> div(Tensor<T> a, double b) {
  return detail::elementwise("div", std::move(a), kernels::DivideBy<T>{static_cast<T>(b)});
}
template <class T>
Tensor<T> div(double a, Tensor<T> b) {
  return detail::elementwise("div", std::move(b), kernels::DivideInto<T>{static_cast<T>(a)});
}

/// a^b; NaN where a < 0 and b is not an integer.
template <class T>
Tensor<T> pow(Tensor<T> a, Tensor<T> b) {
  return detail::binary("pow", std::move(a), std::move(b), kernels::Pow{});
}
template <class T>
Tensor<T> pow(Tensor<T> a, double b) {
  if (b == 2) return detail::elementwise("pow", std::move(a), kernels::Square{});
  if (b == 0.5) return detail::elementwise("pow", std::move(a), kernels::Sqrt{});
  if (b == -1) return detail::elementwise("pow", std::move(a), kernels::DivideInto<T>{T(1)});
  return detail::elementwise("pow", std::move(a), kernels::PowerOf<T>{static_cast<T>(b)});
}
template <class T>
Tensor<T> pow(double a, Tensor<T> b) {
  return detail::elementwise("pow", std::move(b),
                             kernels::PowerFrom<T>{static_cast<T>(a), static_cast<T>(std::log(a))});
}

/// The larger of each pair; equal values share the gradient, half each.
template <class T>
Tensor<T> maximum(Tensor<T> a, Tensor<T> b) {
  return detail::binary("maximum", std::move(a), std::move(b), kernels::Maximum{});
}

/// The smaller of each pair; equal values share the gradient, half each.
template <class T>
Tensor<T> minimum(Tensor<T> a, Tensor<T> b) {
  return detail::binary("minimum", std::move(a), std::move(b), kernels::Minimum{});
}

/// -x
template <class T>
Tensor<T> neg(Tensor<T> x) {
  return detail::elementwise("neg", std::move(x), kernels::Scale<T>{T(-1)});
}

template <class T>
Tensor<T> operator+(Tensor<T> a, Tensor<T> b) {
  return add(std::move(a), std::move(b));
}
template <class T>
Tensor<T> operator+(Tensor<T> a, double b) {
  return add(std::move(a), b);
}
template <class T>
Tensor<T> operator+(double a, Tensor<T> b) {
  return add(std::move(b), a);
}
template <class T>
Tensor<T> operator-(Tensor<T> a, Tensor<T> b) {
  return sub(std::move(a), std::move(b));
}
template <class T>
Tensor<T> operator-(Tensor<T> a, double b) {
  return sub(std::move(a), b);
}
template <class T>
Tensor<T> operator-(double a, Tensor<T> b) {
  return sub(a, std::move(b));
}
template <class T>
Tensor<T> operator*(Tensor<T> a, Tensor<T> b) {
  return mul(std::move(a), std::move(b));
}
template <class T>
Tensor<T> operator*(Tensor<T> a, double b) {
  return mul(std::move(a), b);
}
template <class T>
Tensor<T> operator*(double a, Tensor<T> b) {
  return mul(std::move(b), a);
}
template <class T>
Tensor<T> operator/(Tensor<T> a, Tensor<T> b) {
  return div(std::move(a), std::move(b));
}
template <class T>
Tensor<T> operator/(Tensor<T> a, double b) {
  return div(std::move(a), b);
}
template <class T>
Tensor<T> operator/(double a, Tensor<T> b) {
  return div(a, std::move(b));
}
template <class T>
Tensor<T> operator-(Tensor<T> x) {
  return neg(std::move(x));
}

}  // namespace qdistill::inline QDISTILL_ABI
