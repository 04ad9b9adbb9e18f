/// Weights of DoReFa-Net (Zhou et al. 2016).
///
///   stored     w, full precision
///   effective  k > 1 bits:  2 round(z (2^k - 1)) / (2^k - 1) - 1,  z = tanh(w) / (2 max|tanh(w)|) + 1/2
///              1 bit:       sign(w) mean|w|, the sign of 0 being +1
///   backward   surrogates: k > 1: straight through the rounding; tanh and max|tanh(w)| are differentiated; 1 bit:
///              dL/dw = dL/dq
///
/// The result lies in [-1, 1] whatever the size of w, so a normalisation should follow the layer.
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct DoReFa {
  int bits = 4;  ///< 1 to 16

  void validate() const { check(bits >= 1 && bits <= 16, "quant::DoReFa", "got ", bits, " bits, expected 1 to 16"); }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class DoReFaParametrization final : public nn::Parametrization<T> {
 public:
  DoReFaParametrization(const DoReFa& settings, Tensor<T> w) : settings_(settings) {
    settings_.validate();
    stored_[0] = {"", std::move(w), true, ""};
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>& w = stored_[0].tensor;
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    const Scale<T> s = quantize<T>(w, q.data());
    on_device(w.device(), [&](auto dev) {
      kernels::map(dev, w.numel(), std::as_const(q).data(), q.data(),
                   [s](T level) QDISTILL_ISA_BODY { return dequantize<T>(level, s.divisor, s.alpha, s.beta); });
    });
    if (settings_.bits == 1)
      return record("dorefa", q, inputs(w), [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
    return record("dorefa", q, inputs(w), [w = save(w), s](const Tensor<T>& dq, Gradients<T>& dw) {
      const T *const v = w.data(), *const g = dq.data(), most = s.most;
      T* const out = dw[0].data();
      on_device(dq.device(), [&](auto dev) {  // of t / most, t = tanh(w)
        kernels::map_backward(dev, dq.numel(), g, v, out, dw[0].mode(), [most](T d, T x) QDISTILL_ISA_BODY {
          const T t = kernels::math::tanh(x);
          return d * (T(1) - t * t) / most;
        });
        const double of_most = kernels::sum_map<T>(
            dev, dq.numel(), [v, g](Index i) QDISTILL_ISA_BODY { return g[i] * kernels::math::tanh(v[i]); });
        if (dq.numel() == 0) return;
        const T t = kernels::math::tanh(v[s.widest]), sign = t < T(0) ? T(-1) : T(1);
        out[s.widest] -= sign * (T(1) - t * t) * static_cast<T>(of_most) / (most * most);
      });
    });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    const Tensor<float> v = detail::finite_floats("quant::DoReFa", w);
    Tensor<float> level = Tensor<float>::empty(w.shape());
    const Scale<float> s = quantize<float>(v, level.data());
    UniformEncoding e;
    e.bits = settings_.bits;
    for (const float l : level.span()) e.codes.push_back(static_cast<std::uint16_t>(l));
    if (w.numel() > 0) e.scale = {s.alpha}, e.offset = {s.beta};
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override {
    return text("DoReFa, ", settings_.bits, settings_.bits == 1 ? " bit" : " bits");
  }

 private:
  template <class U>
  struct Scale {
    U divisor, alpha, beta;  ///< value = alpha level / divisor + beta
    U most = 1;              ///< max|tanh(w)|
    Index widest = 0;        ///< where it is
  };
  /// Writes the level of each weight.
  template <class U>
  Scale<U> quantize(const Tensor<U>& w, U* level) const {
    const U* const v = w.data();
    const Index n = w.numel();
    return on_device(w.device(), [&](auto dev) {
      if (settings_.bits == 1) {
        const U mean = static_cast<U>(detail::mean_magnitude(w));
        kernels::map(dev, n, v, level, [](U x) QDISTILL_ISA_BODY { return x < U(0) ? U(0) : U(1); });
        return Scale<U>{U(1), 2 * mean, -mean};
      }
      U lo = 0, hi = 0;
      kernels::RangePlaces places;
      kernels::value_range(dev, v, n, lo, hi, &places);
      Scale<U> s{static_cast<U>((1 << settings_.bits) - 1), U(2), U(-1)};
      s.widest = -lo > hi ? places.lowest : places.highest;
      const U most = kernels::math::tanh(-lo > hi ? -lo : hi);
      if (most >= U(1e-10)) s.most = most;
      kernels::map(dev, n, v, level, [s](U x) QDISTILL_ISA_BODY {
        return quantize_level<U>(kernels::math::tanh(x), s.divisor, U(2) * s.most, -s.most);
      });
      return s;
    });
  }
  DoReFa settings_;
  nn::StoredTensor<T> stored_[1];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> DoReFa::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<DoReFaParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
