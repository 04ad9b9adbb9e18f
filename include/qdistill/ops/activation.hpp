/// Elementwise functions of one input of any shape. Values, gradients and conventions at kinks stand, function by
/// function, in kernels/cpu/elementwise_functions.hpp. All throw GraphError for an undefined tensor.
#pragma once

#include "qdistill/kernels/cpu/elementwise_functions.hpp"
#include "qdistill/ops/elementwise.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// max(x, 0)
template <class T>
Tensor<T> relu(Tensor<T> x) {
  return detail::elementwise("relu", std::move(x), kernels::Relu{});
}

/// min(max(x, 0), 6)
template <class T>
Tensor<T> relu6(Tensor<T> x) {
  return detail::elementwise("relu6", std::move(x), kernels::Relu6{});
}

/// x where x > 0, negative_slope x elsewhere.
template <class T>
Tensor<T> leaky_relu(Tensor<T> x, double negative_slope = 0.01) {
  return detail::elementwise("leaky_relu", std::move(x), kernels::LeakyRelu{negative_slope});
}

/// x where x > 0, alpha (exp(x) - 1) elsewhere.
template <class T>
Tensor<T> elu(Tensor<T> x, double alpha = 1) {
  return detail::elementwise("elu", std::move(x), kernels::Elu{alpha});
}

/// x Phi(x), with Phi the standard normal distribution function.
template <class T>
Tensor<T> gelu(Tensor<T> x) {
  return detail::elementwise("gelu", std::move(x), kernels::Gelu{});
}

/// The tanh approximation of gelu.
template <class T>
Tensor<T> gelu_tanh(Tensor<T> x) {
  return detail::elementwise("gelu_tanh", std::move(x), kernels::GeluTanh{});
}

/// x sigmoid(x)
template <class T>
Tensor<T> silu(Tensor<T> x) {
  return detail::elementwise("silu", std::move(x), kernels::Silu{});
}

/// x relu6(x + 3) / 6
template <class T>
Tensor<T> hardswish(Tensor<T> x) {
  return detail::elementwise("hardswish", std::move(x), kernels::Hardswish{});
}

/// log(1 + exp(beta x)) / beta, and x itself where beta x > threshold. Throws ValueError unless beta > 0.
template <class T>
Tensor<T> softplus(Tensor<T> x, double beta = 1, double threshold = 20) {
  check(beta > 0, "softplus", "got beta ", beta, ", expected it above 0");
  return detail::elementwise("softplus", std::move(x), kernels::Softplus{beta, threshold});
}

/// 1 / (1 + exp(-x))
template <class T>
Tensor<T> sigmoid(Tensor<T> x) {
  return detail::elementwise("sigmoid", std::move(x), kernels::Sigmoid{});
}

template <class T>
Tensor<T> tanh(Tensor<T> x) {
  return detail::elementwise("tanh", std::move(x), kernels::Tanh{});
}

/// 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.
template <class T>
Tensor<T> erf(Tensor<T> x) {
  return detail::elementwise("erf", std::move(x), kernels::Erf{});
}

template <class T>
Tensor<T> exp(Tensor<T> x) {
  return detail::elementwise("exp", std::move(x), kernels::Exp{});
}

/// exp(x) - 1, accurate near 0.
template <class T>
Tensor<T> expm1(Tensor<T> x) {
  return detail::elementwise("expm1", std::move(x), kernels::Expm1{});
}

/// Natural logarithm.
template <class T>
Tensor<T> log(Tensor<T> x) {
  return detail::elementwise("log", std::move(x), kernels::Log{});
}

/// log(1 + x), accurate near 0.
template <class T>
Tensor<T> log1p(Tensor<T> x) {
  return detail::elementwise("log1p", std::move(x), kernels::Log1p{});
}

template <class T>
Tensor<T> sqrt(Tensor<T> x) {
  return detail::elementwise("sqrt", std::move(x), kernels::Sqrt{});
}

/// x^2
template <class T>
Tensor<T> square(Tensor<T> x) {
  return detail::elementwise("square", std::move(x), kernels::Square{});
}

template <class T>
Tensor<T> abs(Tensor<T> x) {
  return detail::elementwise("abs", std::move(x), kernels::Abs{});
}

/// To the nearest integer, ties to even; the gradient is zero.
template <class T>
Tensor<T> round(Tensor<T> x) {
  return detail::elementwise("round", std::move(x), kernels::Round{});
}

/// min(max(x, low), high). The gradient passes inside and at the bounds, which are cast to T first. Throws ValueError
/// unless low <= high.
template <class T>
Tensor<T> clamp(Tensor<T> x, double low, double high) {
  check(low <= high, "clamp", "got bounds ", low, " and ", high, ", expected the first at most the second");
  return detail::elementwise("clamp", std::move(x), kernels::Clamp<T>{static_cast<T>(low), static_cast<T>(high)});
}

}  // namespace qdistill::inline QDISTILL_ABI
