/// Conversion to another scalar type.
#pragma once

#include <limits>

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// v as a U. From a floating-point number to an integer: towards zero, clamped to U's range, NaN as 0; between integers
/// modulo 2^n, as C++ defines it.
template <class U, class T>
QDISTILL_INLINE U convert(T v) noexcept {
  if constexpr (std::is_integral_v<U> && std::is_floating_point_v<T>) {
    // The bounds as T: the lower one is exact, the upper one may round up to 2^n, hence >=.
    constexpr T low = static_cast<T>(std::numeric_limits<U>::min()),
                high = static_cast<T>(std::numeric_limits<U>::max());
    if (!(v > low)) return v == v ? std::numeric_limits<U>::min() : U(0);
    if (v >= high) return std::numeric_limits<U>::max();
  }
  return static_cast<U>(v);
}

}  // namespace detail

/// x with elements of type U. Differentiable between float and double; dL/dx = dL/dy. To U's own type it is x itself.
/// Floating-point numbers become integers towards zero, clamped to the range, NaN as 0. Throws GraphError for an
/// undefined tensor.
template <class U, class T>
Tensor<U> to(const Tensor<T>& x) {
  detail::check_defined("to", x);
  if constexpr (std::is_same_v<T, U>) {
    return x;
  } else {
    const Tensor<T> in = detail::dense(x);
    Tensor<U> y = Tensor<U>::empty(x.shape(), x.device());
    on_device(x.device(), [&](auto dev) {
      kernels::map(dev, in.numel(), in.data(), y.data(), [](T v) QDISTILL_ISA_BODY { return detail::convert<U>(v); });
    });
    if constexpr (std::is_floating_point_v<T> && std::is_floating_point_v<U>) {
      return record("to", y, inputs(x), [](const Tensor<U>& dy, Gradients<T>& dx) {
        on_device(dy.device(), [&](auto dev) {
          Tensor<T> g = Tensor<T>::empty(dy.shape(), dy.device());
          kernels::map(dev, dy.numel(), dy.data(), g.data(), [](U v) QDISTILL_ISA_BODY { return static_cast<T>(v); });
          dx[0].accumulate(std::move(g));
        });
      });
    } else {
      return y;
    }
  }
}

}  // namespace qdistill::inline QDISTILL_ABI
