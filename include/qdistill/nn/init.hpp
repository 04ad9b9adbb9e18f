/// Initialisation: Xavier (Glorot, Bengio 2010) and Kaiming (He et al. 2015), uniform and normal, with gains.
#pragma once

#include <cmath>
#include <string_view>

#include "qdistill/core/tensor.hpp"

namespace qdistill::inline QDISTILL_ABI::nn::init {

/// fan_in and fan_out of a weight [out, in, ...]: in (out) times the size of the kernel. Throws ShapeError below
/// rank 2.
struct Fan {
  Index in = 0, out = 0;
};
inline Fan fan_of(const Shape& shape) {
  check<ShapeError>(shape.rank() >= 2, "init", "got shape ", shape, ", expected a weight of at least 2 dims");
  Index kernel = 1;
  for (int d = 2; d < shape.rank(); ++d) kernel *= shape[d];
  return {shape[1] * kernel, shape[0] * kernel};
}

/// Recommended gain of a nonlinearity: linear, sigmoid, tanh, relu, leaky_relu (with its slope), selu. ValueError.
inline double gain(std::string_view nonlinearity, double slope = 0.01) {
  if (nonlinearity == "linear" || nonlinearity == "conv2d" || nonlinearity == "sigmoid") return 1.0;
  if (nonlinearity == "tanh") return 5.0 / 3.0;
  if (nonlinearity == "relu") return std::sqrt(2.0);
  if (nonlinearity == "leaky_relu") return std::sqrt(2.0 / (1.0 + slope * slope));
  if (nonlinearity == "selu") return 0.75;
  fail("init", "got nonlinearity '", nonlinearity, "', expected linear, conv2d, sigmoid, tanh, relu, leaky_relu, selu");
}

namespace detail {
inline bool& skipping() noexcept {
  thread_local bool on = false;
  return on;
}
}  // namespace detail

/// While it lives, this thread's initialisers leave weights as they are, uninitialised at first, and draw no random
/// numbers: for a network whose state is loaded next.
class Skip {
 public:
  Skip() noexcept : before_(detail::skipping()) { detail::skipping() = true; }
  ~Skip() { detail::skipping() = before_; }
  Skip(const Skip&) = delete;
  Skip& operator=(const Skip&) = delete;

 private:
  bool before_;
};

template <class T>
void uniform(Tensor<T>& w, double lo, double hi, Generator& g = default_generator()) {
  if (detail::skipping()) return;
  w.copy_from(Tensor<T>::uniform(w.shape(), g.next(), static_cast<T>(lo), static_cast<T>(hi)));
}
template <class T>
void normal(Tensor<T>& w, double mean, double std, Generator& g = default_generator()) {
  if (detail::skipping()) return;
  w.copy_from(Tensor<T>::normal(w.shape(), g.next(), static_cast<T>(mean), static_cast<T>(std)));
}
/// U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)).
template <class T>
void xavier_uniform(Tensor<T>& w, double gain = 1, Generator& g = default_generator()) {
  const Fan fan = fan_of(w.shape());
  const double a = gain * std::sqrt(6.0 / static_cast<double>(fan.in + fan.out));
  uniform(w, -a, a, g);
}
/// N(0, gain^2 2 / (fan_in + fan_out)).
template <class T>
void xavier_normal(Tensor<T>& w, double gain = 1, Generator& g = default_generator()) {
  const Fan fan = fan_of(w.shape());
  normal(w, 0, gain * std::sqrt(2.0 / static_cast<double>(fan.in + fan.out)), g);
}
/// U(-a, a), a = gain sqrt(3 / fan_in).
template <class T>
void kaiming_uniform(Tensor<T>& w, double gain = std::sqrt(2.0), Generator& g = default_generator()) {
  const double a = gain * std::sqrt(3.0 / static_cast<double>(fan_of(w.shape()).in));
  uniform(w, -a, a, g);
}
/// N(0, gain^2 / fan_in), or of fan_out for the backward pass.
template <class T>
void kaiming_normal(Tensor<T>& w, double gain = std::sqrt(2.0), bool use_fan_out = false,
                    Generator& g = default_generator()) {
  const Fan fan = fan_of(w.shape());
  normal(w, 0, gain / std::sqrt(static_cast<double>(use_fan_out ? fan.out : fan.in)), g);
}
/// PyTorch's default of linear and convolution layers: weight and bias U(-a, a), a = 1 / sqrt(fan_in).
template <class T>
void torch_default(Tensor<T>& weight, Tensor<T>* bias, Generator& g = default_generator()) {
  const Index fan_in = fan_of(weight.shape()).in;
  const double a = fan_in > 0 ? 1.0 / std::sqrt(static_cast<double>(fan_in)) : 0.0;
  uniform(weight, -a, a, g);
  if (bias) uniform(*bias, -a, a, g);
}

}  // namespace qdistill::inline QDISTILL_ABI::nn::init
