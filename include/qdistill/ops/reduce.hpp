/// Reductions over any set of dims. `keepdim` keeps the reduced dims as 1. All throw ShapeError "[op] ..." for a dim
/// out of range or given twice, and GraphError for an undefined tensor. Results do not depend on threads; see
/// kernels/cpu/reduce.hpp for the order of the additions.
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/ops/reduce_dims.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// dx[i] (=|+=) f(i, u, g), where u and g are the values of `value` and dy of the fiber that element i belongs to. What
/// the graph saved is looked up by the caller, so that a refusal leaves dx untouched.
template <class T, class F>
void spread(const Reduced& r, const T* value, const Tensor<T>& dy, GradientSlot<T>& dx, F f) {
  on_device(dy.device(),
            [&](auto dev) { kernels::map_broadcast(dev, r.layout(), value, dy.data(), dx.data(), dx.mode(), f); });
}

/// scale times the sum.  dL/dx = scale dL/dy.
template <class T>
Tensor<T> scaled_sum(const char* op, const Tensor<T>& x, const Reduced& r, double scale) {
  const Tensor<T> in = dense(x);
  Tensor<T> y = Tensor<T>::empty(r.out, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::reduce<kernels::Sum>(dev, r.fibers, kernels::Source<T>::of(in.data()), y.data(), Write::set, scale);
  });
  return record(op, y, inputs(x), [r, scale](const Tensor<T>& dy, Gradients<T>& dx) {
    spread(r, dy.data(), dy, dx[0], [s = static_cast<T>(scale)](Index, T, T g) QDISTILL_ISA_BODY { return g * s; });
  });
}

/// The extreme value.  dL/dx = dL/dy, shared evenly between the elements that equal y.
template <template <class> class R, class T>
Tensor<T> extreme(const char* op, const Tensor<T>& x, const Dims& dims, bool keepdim) {
  check_defined(op, x);
  const Reduced r(op, x.shape(), dims, keepdim);
  r.check_nonempty(op);
  const Tensor<T> in = dense(x);
  Tensor<T> y = Tensor<T>::empty(r.out, x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::reduce<R>(dev, r.fibers, kernels::Source<T>::of(in.data()), y.data()); });
  return record(op, y, inputs(x), [x = save(in), y = save(y), r](const Tensor<T>& dy, Gradients<T>& dx) {
    Tensor<T> share = Tensor<T>::empty(y.get().shape(), dy.device());
    on_device(dy.device(), [&](auto dev) {
      const T* const v = x.data();
      const kernels::BroadcastLayout layout = r.layout();
      kernels::broadcast_sum(dev, layout, layout.a, y.data(), y.data(), share.data(), Write::set,
                             [v](Index i, T u, T) QDISTILL_ISA_BODY { return v[i] == u ? T(1) : T(0); });
      kernels::map(dev, dy.numel(), dy.data(), share.data(), share.data(),
                   [](T g, T count) QDISTILL_ISA_BODY { return g / count; });
      kernels::map_broadcast(dev, layout, y.data(), share.data(), dx[0].data(), dx[0].mode(),
                             [v](Index i, T u, T s)
                                 QDISTILL_ISA_BODY { return kernels::math::select(v[i] == u, s, T(0)); });
    });
  });
}

}  // namespace detail

/// Sum over `dims`; 0 for no elements.
template <class T>
Tensor<T> sum(const Tensor<T>& x, const Dims& dims = {}, bool keepdim = false) {
  detail::check_defined("sum", x);
  return detail::scaled_sum("sum", x, detail::Reduced("sum", x.shape(), dims, keepdim), 1);
}

/// Mean over `dims`; NaN for no elements.
template <class T>
Tensor<T> mean(const Tensor<T>& x, const Dims& dims = {}, bool keepdim = false) {
  detail::check_defined("mean", x);
  const detail::Reduced r("mean", x.shape(), dims, keepdim);
  return detail::scaled_sum("mean", x, r, 1.0 / static_cast<double>(r.length));
}

/// Variance over `dims`: sum (x - mean)^2 / (n - 1) if `unbiased`, / n otherwise; NaN where the divisor is 0.
/// dL/dx = 2 (x - mean) dL/dy / divisor.
template <class T>
Tensor<T> var(const Tensor<T>& x, const Dims& dims = {}, bool unbiased = true, bool keepdim = false) {
  detail::check_defined("var", x);
  const detail::Reduced r("var", x.shape(), dims, keepdim);
  const Tensor<T> in = detail::dense(x);
  const Tensor<T> center = detail::scaled_sum("var", in, r, 1.0 / static_cast<double>(r.length));
  const double divisor = static_cast<double>(unbiased && r.length > 0 ? r.length - 1 : r.length);
  const T scale = static_cast<T>(1.0 / divisor);
  Tensor<T> y = Tensor<T>::empty(r.out, x.device());
  on_device(x.device(), [&](auto dev) {
    const kernels::BroadcastLayout layout = r.layout();
    kernels::broadcast_sum(dev, layout, layout.a, center.data(), center.data(), y.data(), Write::set,
                           [v = in.data(), scale](Index i, T u, T)
                               QDISTILL_ISA_BODY { return (v[i] - u) * (v[i] - u) * scale; });
    if (r.length == 0) fill_elements(y.data(), y.numel(), std::numeric_limits<T>::quiet_NaN());
  });
  return record("var", y, inputs(x),
                [x = save(in), center = save(center), r, scale](const Tensor<T>& dy, Gradients<T>& dx) {
                  detail::spread(r, center.data(), dy, dx[0],
                                 [v = x.data(), s = T(2) * scale](Index i, T u, T g)
                                     QDISTILL_ISA_BODY { return (v[i] - u) * g * s; });
                });
}

/// sum |x| for p = 1, sqrt(sum x^2) for p = 2.  dL/dx = sign(x) dL/dy, or x dL/dy / y (0 where y is 0). Throws
/// ValueError for another p.
template <class T>
Tensor<T> norm(const Tensor<T>& x, int p = 2, const Dims& dims = {}, bool keepdim = false) {
  detail::check_defined("norm", x);
  check(p == 1 || p == 2, "norm", "got p ", p, ", expected 1 or 2");
  const detail::Reduced r("norm", x.shape(), dims, keepdim);
  const Tensor<T> in = detail::dense(x);
  Tensor<T> y = Tensor<T>::empty(r.out, x.device());
  on_device(x.device(), [&](auto dev) {
    const auto power = [v = in.data(), p](const Index*, Index at, Index n, T* buffer) {
      with_isa([v = v + at, n, buffer, p]() QDISTILL_ISA_BODY {
        if (p == 1) {
          QDISTILL_SIMD
          for (Index i = 0; i < n; ++i) buffer[i] = kernels::math::abs(v[i]);
        } else {
          QDISTILL_SIMD
          for (Index i = 0; i < n; ++i) buffer[i] = v[i] * v[i];
        }
      });
    };
    kernels::reduce<kernels::Sum>(dev, r.fibers, kernels::Source<T>::computed(power), y.data());
    if (p == 2)
      kernels::map(dev, y.numel(), y.data(), y.data(), [](T v) QDISTILL_ISA_BODY { return kernels::math::sqrt(v); });
  });
  return record("norm", y, inputs(x), [x = save(in), y = save(y), r, p](const Tensor<T>& dy, Gradients<T>& dx) {
    using kernels::math::select;
    const T* const v = x.data();
    if (p == 1) {
      detail::spread(r, y.data(), dy, dx[0], [v](Index i, T, T g) QDISTILL_ISA_BODY {
        return select(v[i] > T(0), g, select(v[i] < T(0), -g, T(0)));
      });
    } else {
      detail::spread(r, y.data(), dy, dx[0],
                     [v](Index i, T u, T g) QDISTILL_ISA_BODY { return select(u == T(0), T(0), v[i] * g / u); });
    }
  });
}

/// Largest element over `dims`; NaN if there is one. Elements that tie share the gradient evenly. Throws ShapeError
/// for no elements.
template <class T>
Tensor<T> amax(const Tensor<T>& x, const Dims& dims = {}, bool keepdim = false) {
  return detail::extreme<kernels::Max>("amax", x, dims, keepdim);
}

/// Smallest element over `dims`; NaN if there is one. Elements that tie share the gradient evenly. Throws ShapeError
/// for no elements.
template <class T>
Tensor<T> amin(const Tensor<T>& x, const Dims& dims = {}, bool keepdim = false) {
  return detail::extreme<kernels::Min>("amin", x, dims, keepdim);
}

/// log(sum(exp(x))) over `dims`, computed from the maximum so that it neither overflows nor vanishes; -inf for no
/// elements.  dL/dx = exp(x - y) dL/dy.
template <class T>
Tensor<T> logsumexp(const Tensor<T>& x, const Dims& dims = {}, bool keepdim = false) {
  detail::check_defined("logsumexp", x);
  const detail::Reduced r("logsumexp", x.shape(), dims, keepdim);
  const Tensor<T> in = detail::dense(x);
  Tensor<T> y = Tensor<T>::empty(r.out, x.device()), largest = Tensor<T>::empty(r.out, x.device());
  on_device(x.device(), [&](auto dev) {
    kernels::reduce<kernels::Max>(dev, r.fibers, kernels::Source<T>::of(in.data()), largest.data());
    // An infinite maximum is no reference point: inf - inf is NaN.
    kernels::map(dev, y.numel(), largest.data(), largest.data(), [](T m) QDISTILL_ISA_BODY {
      return kernels::math::select(kernels::math::abs(m) <= std::numeric_limits<T>::max(), m, T(0));
    });
    const kernels::BroadcastLayout layout = r.layout();
    kernels::broadcast_sum(dev, layout, layout.a, largest.data(), largest.data(), y.data(), Write::set,
                           [v = in.data()](Index i, T m, T) QDISTILL_ISA_BODY { return kernels::math::exp(v[i] - m); });
    kernels::map(dev, y.numel(), y.data(), largest.data(), y.data(),
                 [](T s, T m) QDISTILL_ISA_BODY { return m + kernels::math::log(s); });
  });
  return record("logsumexp", y, inputs(x), [x = save(in), y = save(y), r](const Tensor<T>& dy, Gradients<T>& dx) {
    detail::spread(r, y.data(), dy, dx[0],
                   [v = x.data()](Index i, T u, T g) QDISTILL_ISA_BODY { return kernels::math::exp(v[i] - u) * g; });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
