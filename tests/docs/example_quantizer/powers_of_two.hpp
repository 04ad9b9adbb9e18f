// [snippet quantizer]
/// Weights as signed powers of two, so that a product is a shift (Miyashita, Lee, Murmann 2016, in spirit).
///
///   stored     w, full precision
///   effective  sign(w) 2^e, e = log2|w| rounded, one of the 2^(bits - 1) exponents up to that of the largest |w|
///   backward   straight through: dL/dw = dL/dq, a surrogate
#pragma once

#include <cmath>

#include "qdistill/nn/parameter.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct PowersOfTwo {
  int bits = 4;
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

template <class T>
class PowersOfTwoParametrization final : public nn::Parametrization<T> {
 public:
  PowersOfTwoParametrization(int bits, Tensor<T> w) : bits_(bits) {
    check(bits >= 1 && bits <= 6, "quant::PowersOfTwo", "got ", bits, " bits, expected 1 to 6");
    stored_[0] = {"", std::move(w), true, ""};
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>& w = stored_[0].tensor;
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    const int top = top_exponent();
    for (Index i = 0; i < w.numel(); ++i)
      q.data()[i] = std::copysign(std::ldexp(T(1), top - steps_below(w.data()[i], top)), w.data()[i]);
    return record("powers_of_two", q, inputs(w), [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    const int top = top_exponent(), half = 1 << (bits_ - 1);
    TableEncoding e;  // the positive powers, then the negative ones
    for (int i = 0; i < 2 * half; ++i) e.points.push_back(std::ldexp(i < half ? 1.0f : -1.0f, top - i % half));
    for (const T v : w.span())
      e.codes.push_back(static_cast<std::uint16_t>(steps_below(v, top) + (std::signbit(v) ? half : 0)));
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return text("powers of two, ", bits_, " bits"); }

 private:
  int top_exponent() const {
    T most = 0;
    for (const T v : stored_[0].tensor.span()) most = std::max(most, std::abs(v));
    check(std::isfinite(most), "quant::PowersOfTwo", "got a weight that is not finite");
    return most > 0 ? static_cast<int>(std::lround(std::log2(most))) : 0;
  }
  int steps_below(T v, int top) const {  // 0 for the largest power, at most 2^(bits - 1) - 1
    const int least = (1 << (bits_ - 1)) - 1;
    return v == 0 ? least : std::clamp(top - static_cast<int>(std::lround(std::log2(std::abs(v)))), 0, least);
  }
  int bits_;
  nn::StoredTensor<T> stored_[1];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> PowersOfTwo::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<PowersOfTwoParametrization<T>>(bits, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
// [end]
