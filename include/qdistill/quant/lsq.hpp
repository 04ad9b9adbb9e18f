/// Learned step size quantization of weights (Esser et al. 2020; the baseline LSQ of Defossez, Adi, Synnaeve 2022).
///
///   stored     w, full precision; "scale": s, one per tensor, at first 2 mean|w| / sqrt(2^(bits-1))
///   effective  s l,  l = round(clamp(w / s, low, high)),  low = -2^(bits-1), high = 2^(bits-1) - 1
///   backward   surrogates: dL/dw = dL/dq where low <= w / s <= high, 0 elsewhere;
///              dL/ds = sum of dL/dq (l - w / s inside; low or high outside) / sqrt(n high)
///
/// Both are trained by the main optimizer. s is kept above 0: refresh() raises it to 1e-8. The product s l is computed
/// as a uniform level, (s (2^bits - 1)) (l - low) / (2^bits - 1) + s low, so that the packed weight has its bits.
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct Lsq {
  int bits = 4;  ///< 2 to 16

  /// Throws ValueError: with 1 bit high is 0, and the gradient of the scale divides by it.
  void validate() const { check(bits >= 2 && bits <= 16, "quant::Lsq", "got ", bits, " bits, expected 2 to 16"); }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class LsqParametrization final : public nn::Parametrization<T> {
 public:
  /// Throws ValueError for bad settings or weights that are not finite.
  LsqParametrization(const Lsq& settings, Tensor<T> w) : settings_(settings) {
    settings_.validate();
    const double mean = detail::finite_mean_magnitude("quant::Lsq", std::as_const(w));
    const double s = mean > 0 ? 2 * mean / std::sqrt(std::exp2(settings_.bits - 1)) : 1;
    stored_[0] = {"", std::move(w), true, ""};
    stored_[1] = {"scale", requires_grad(Tensor<T>::full({1}, static_cast<T>(s))), true, ""};
  }
  void refresh() override {
    Tensor<T>& s = stored_[1].tensor;
    if (!(*std::as_const(s).data() < least_scale)) return;
    s.fill(least_scale);
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>&w = stored_[0].tensor, &s = stored_[1].tensor;
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    const Levels<T> f = levels<T>(s.item());
    on_device(w.device(), [&](auto dev) {
      kernels::map(dev, w.numel(), w.data(), q.data(), [f](T v) QDISTILL_ISA_BODY {
        return dequantize<T>(f.level(v) - f.low, f.divisor, f.alpha, f.beta);
      });
    });
    return record("lsq", q, inputs(w, s), [w = save(w), f](const Tensor<T>& dq, Gradients<T>& dx) {
      const T *const v = w.data(), *const g = dq.data();
      const Index n = dq.numel();
      on_device(dq.device(), [&](auto dev) {
        if (dx[0].wanted())
          kernels::map_backward(dev, n, g, v, dx[0].data(), dx[0].mode(),
                                [f](T d, T x) QDISTILL_ISA_BODY { return f.inside(x) ? d : T(0); });
        if (!dx[1].wanted()) return;
        const double sum = kernels::sum_map<T>(dev, n, [f, v, g](Index i) QDISTILL_ISA_BODY {
          return g[i] * (f.level(v[i]) - (f.inside(v[i]) ? v[i] / f.scale : T(0)));
        });
        const double ds = n > 0 ? sum / std::sqrt(static_cast<double>(n) * static_cast<double>(f.high)) : 0;
        T* const out = dx[1].data();
        *out = (dx[1].mode() == Write::add ? *out : T(0)) + static_cast<T>(ds);
      });
    });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    const Levels<float> f = levels<float>(static_cast<float>(stored_[1].tensor.item()));
    check(std::isfinite(f.alpha), "quant::Lsq", "got scale ", f.scale, " for a tensor of shape ", w.shape());
    UniformEncoding e;
    e.bits = settings_.bits;
    const Tensor<float> single = detail::finite_floats("quant::Lsq", w);
    for (const float v : single.span()) e.codes.push_back(static_cast<std::uint16_t>(f.level(v) - f.low));
    if (w.numel() > 0) e.scale = {f.alpha}, e.offset = {f.beta};
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  /// A width for each weight, and s in 32 bits.
  double size_bits() const override {
    return static_cast<double>(settings_.bits) * static_cast<double>(stored_[0].tensor.numel()) + 32;
  }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return text("LSQ, ", settings_.bits, " bits"); }

 private:
  static constexpr T least_scale = T(1e-8);
  template <class U>
  struct Levels {
    U scale, low, high, divisor, alpha, beta;
    QDISTILL_INLINE U level(U v) const noexcept {
      const U x = v / scale;
      return round_half_even<U>(x < low ? low : x > high ? high : x);
    }
    QDISTILL_INLINE bool inside(U v) const noexcept { return v / scale >= low && v / scale <= high; }
  };
  template <class U>
  Levels<U> levels(U scale) const noexcept {
    const U half = static_cast<U>(1 << (settings_.bits - 1)), divisor = 2 * half - 1;
    return {scale, -half, half - 1, divisor, scale * divisor, -scale * half};
  }
  Lsq settings_;
  nn::StoredTensor<T> stored_[2];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Lsq::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<LsqParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
