/// The elementwise functions of one input: a value and a gradient each, on one scalar.
///
/// `f(x)` is the value. `f.gradient(dy, v)` is dL/dx, where v is y or x: what `keep` says the graph has to keep. At
/// kinks the gradients are those of PyTorch: 0 at relu(0), relu6(0), relu6(6) and abs(0), the slope at leaky_relu(0),
/// and 1 at the bounds of clamp. NaN passes through.
#pragma once

#include "qdistill/kernels/cpu/math.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// What a function's gradient reads beside dy.
enum class Keep { nothing, input, output };

/// max(x, 0)
struct Relu {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::select(x <= T(0), T(0), x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return math::select(y <= T(0), T(0), dy);
  }
};

/// min(max(x, 0), 6)
struct Relu6 {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::select(x <= T(0), T(0), math::select(x > T(6), T(6), x));
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return math::select(y <= T(0), T(0), math::select(y >= T(6), T(0), dy));
  }
};

/// x where x > 0, slope x elsewhere.
struct LeakyRelu {
  static constexpr Keep keep = Keep::input;
  double slope = 0.01;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::select(x > T(0), x, x * static_cast<T>(slope));
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return math::select(x > T(0), dy, dy * static_cast<T>(slope));
  }
};

/// x where x > 0, alpha (exp(x) - 1) elsewhere (Clevert, Unterthiner, Hochreiter 2015).
struct Elu {
  static constexpr Keep keep = Keep::input;
  double alpha = 1;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::select(x > T(0), x, static_cast<T>(alpha) * math::expm1(x));
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return math::select(x > T(0), dy, dy * static_cast<T>(alpha) * math::exp(x));
  }
};

/// x Phi(x), Phi the standard normal distribution function (Hendrycks, Gimpel 2016).
struct Gelu {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return T(0.5) * x * (T(1) + math::erf(x * T(0.70710678118654752440)));
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    const T cdf = T(0.5) * (T(1) + math::erf(x * T(0.70710678118654752440)));
    const T pdf = T(0.39894228040143267794) * math::exp(T(-0.5) * x * x);
    return dy * (cdf + x * pdf);
  }
};

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the same paper's approximation.
struct GeluTanh {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return T(0.5) * x * (T(1) + math::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    const T t = math::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x));
    const T slope = T(0.79788456080286535588) * (T(1) + T(3 * 0.044715) * x * x);
    return dy * (T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * slope);
  }
};

/// x sigmoid(x)
struct Silu {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return x * math::sigmoid(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    const T s = math::sigmoid(x);
    return dy * s * (T(1) + x * (T(1) - s));
  }
};

/// x relu6(x + 3) / 6 (Howard and others 2019)
struct Hardswish {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return x * Relu6{}(x + T(3)) * T(1.0 / 6.0);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    const T middle = dy * (x * T(1.0 / 3.0) + T(0.5));
    return math::select(x < T(-3), T(0), math::select(x > T(3), dy, middle));
  }
};

/// log(1 + exp(beta x)) / beta, and x itself where beta x > threshold.
struct Softplus {
  static constexpr Keep keep = Keep::input;
  double beta = 1, threshold = 20;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    const T z = static_cast<T>(beta) * x;
    const T positive = math::select(z < T(0), T(0), z);
    const T y = (positive + math::log1p(math::exp(-math::abs(z)))) / static_cast<T>(beta);
    return math::select(z > static_cast<T>(threshold), x, y);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    const T z = static_cast<T>(beta) * x;
    return math::select(z > static_cast<T>(threshold), dy, dy * math::sigmoid(z));
  }
};

/// 1 / (1 + exp(-x))
struct Sigmoid {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::sigmoid(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return dy * y * (T(1) - y);
  }
};

struct Tanh {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::tanh(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return dy * (T(1) - y * y);
  }
};

struct Erf {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::erf(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return dy * T(1.12837916709551257390) * math::exp(-x * x);
  }
};

struct Exp {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::exp(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return dy * y;
  }
};

struct Log {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::log(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return dy / x;
  }
};

/// log(1 + x)
struct Log1p {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::log1p(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return dy / (T(1) + x);
  }
};

/// exp(x) - 1
struct Expm1 {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::expm1(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return dy * (y + T(1));
  }
};

struct Sqrt {
  static constexpr Keep keep = Keep::output;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::sqrt(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept {
    return T(0.5) * dy / y;
  }
};

struct Abs {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::abs(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return math::select(x > T(0), dy, math::select(x < T(0), -dy, T(0)));
  }
};

/// To the nearest integer, ties to even. The gradient is zero.
struct Round {
  static constexpr Keep keep = Keep::nothing;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return math::round(x);
  }
  template <class T>
  QDISTILL_INLINE T gradient(T, T) const noexcept {
    return T(0);
  }
};

struct Square {
  static constexpr Keep keep = Keep::input;
  template <class T>
  QDISTILL_INLINE T operator()(T x) const noexcept {
    return x * x;
  }
  template <class T>
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return T(2) * dy * x;
  }
};

/// min(max(x, low), high)
template <class T>
struct Clamp {
  static constexpr Keep keep = Keep::input;
  T low, high;
  QDISTILL_INLINE T operator()(T x) const noexcept {
    const T raised = math::select(x < low, low, x);
    return math::select(raised > high, high, raised);
  }
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return math::select(x < low, T(0), math::select(x > high, T(0), dy));
  }
};

/// scale x
template <class T>
struct Scale {
  static constexpr Keep keep = Keep::nothing;
  T scale;
  QDISTILL_INLINE T operator()(T x) const noexcept { return static_cast<T>(scale * x); }
  QDISTILL_INLINE T gradient(T dy, T) const noexcept { return static_cast<T>(scale * dy); }
};

/// scale x + offset
template <class T>
struct Affine {
  static constexpr Keep keep = Keep::nothing;
  T scale, offset;
  QDISTILL_INLINE T operator()(T x) const noexcept { return static_cast<T>(scale * x + offset); }
  QDISTILL_INLINE T gradient(T dy, T) const noexcept { return static_cast<T>(scale * dy); }
};

/// x / divisor
template <class T>
struct DivideBy {
  static constexpr Keep keep = Keep::nothing;
  T divisor;
  QDISTILL_INLINE T operator()(T x) const noexcept { return x / divisor; }
  QDISTILL_INLINE T gradient(T dy, T) const noexcept { return dy / divisor; }
};

/// numerator / x
template <class T>
struct DivideInto {
  static constexpr Keep keep = Keep::input;
  T numerator;
  QDISTILL_INLINE T operator()(T x) const noexcept { return numerator / x; }
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept { return -dy * numerator / (x * x); }
};

/// x^exponent
template <class T>
struct PowerOf {
  static constexpr Keep keep = Keep::input;
  T exponent;
  QDISTILL_INLINE T operator()(T x) const noexcept { return math::pow(x, exponent); }
  QDISTILL_INLINE T gradient(T dy, T x) const noexcept {
    return exponent == T(0) ? T(0) : dy * exponent * math::pow(x, exponent - T(1));
  }
};

/// base^x
template <class T>
struct PowerFrom {
  static constexpr Keep keep = Keep::output;
  T base, log_base;
  QDISTILL_INLINE T operator()(T x) const noexcept { return math::pow(base, x); }
  QDISTILL_INLINE T gradient(T dy, T y) const noexcept { return y == T(0) ? T(0) : dy * y * log_base; }
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels
