/// The elementwise functions of two inputs: a value, and dL/da and dL/db, on one scalar each.
#pragma once

#include "qdistill/kernels/cpu/math.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

struct Add {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return static_cast<T>(a + b);
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T, T) const noexcept {
    return dy;
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T, T) const noexcept {
    return dy;
  }
};

struct Sub {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return static_cast<T>(a - b);
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T, T) const noexcept {
    return dy;
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T, T) const noexcept {
    return -dy;
  }
};

struct Mul {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return static_cast<T>(a * b);
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T, T b) const noexcept {
    return dy * b;
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T a, T) const noexcept {
    return dy * a;
  }
};

struct Div {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return a / b;
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T, T b) const noexcept {
    return dy / b;
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T a, T b) const noexcept {
    return -dy * (a / b) / b;
  }
};

/// a^b.  As in PyTorch, dL/da is 0 where b = 0, and dL/db is 0 where a = 0 and b >= 0.
struct Pow {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return math::pow(a, b);
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T a, T b) const noexcept {
    return b == T(0) ? T(0) : dy * b * math::pow(a, b - T(1));
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T a, T b) const noexcept {
    return a == T(0) && b >= T(0) ? T(0) : dy * math::pow(a, b) * math::log(a);
  }
};

/// The larger; NaN wins. Of two equal values each takes half the gradient.
struct Maximum {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return math::select(a >= b, a, math::select(a != a, a, b));
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T a, T b) const noexcept {
    return math::select(a == b, T(0.5) * dy, math::select(a < b, T(0), dy));
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T a, T b) const noexcept {
    return math::select(a == b, T(0.5) * dy, math::select(b < a, T(0), dy));
  }
};

/// The smaller; NaN wins. Of two equal values each takes half the gradient.
struct Minimum {
  template <class T>
  QDISTILL_INLINE T operator()(T a, T b) const noexcept {
    return math::select(a <= b, a, math::select(a != a, a, b));
  }
  template <class T>
  QDISTILL_INLINE T gradient_a(T dy, T a, T b) const noexcept {
    return math::select(a == b, T(0.5) * dy, math::select(a > b, T(0), dy));
  }
  template <class T>
  QDISTILL_INLINE T gradient_b(T dy, T a, T b) const noexcept {
    return math::select(a == b, T(0.5) * dy, math::select(b > a, T(0), dy));
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels
