/// Trained ternary quantization (Zhu, Han, Mao, Dally 2017).
///
///   stored     w, full precision; "positive", "negative": the scales P and N, one each per tensor, trained by the main
///              optimizer; at first mean|w|
///   effective  P where w > d, -N where w < -d, 0 elsewhere; d = threshold max|w|
///   backward   dL/dP = sum of dL/dq where w > d;  dL/dN = -sum of dL/dq where w < -d: exact
///              dL/dw = P dL/dq, N dL/dq or dL/dq in the three regions: a surrogate
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"
#include "qdistill/kernels/cpu/uniform_quantize.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct Ternary {
  double threshold = 0.05;  ///< as a part of max|w|, in [0, 1)

  void validate() const {
    check(threshold >= 0 && threshold < 1, "quant::Ternary", "got threshold ", threshold, ", expected it in [0, 1)");
  }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class TernaryParametrization final : public nn::Parametrization<T> {
 public:
  /// Throws ValueError for bad settings or weights that are not finite.
  TernaryParametrization(const Ternary& settings, Tensor<T> w) : settings_(settings) {
    settings_.validate();
    const double mean = detail::finite_mean_magnitude("quant::Ternary", std::as_const(w));
    const T scale = mean > 0 ? static_cast<T>(mean) : T(1);
    stored_[0] = {"", std::move(w), true, ""};
    stored_[1] = {"positive", requires_grad(Tensor<T>::full({1}, scale)), true, ""};
    stored_[2] = {"negative", requires_grad(Tensor<T>::full({1}, scale)), true, ""};
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>&w = stored_[0].tensor, &p = stored_[1].tensor, &m = stored_[2].tensor;
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    const T d = threshold(), positive = p.item(), negative = m.item();
    on_device(w.device(), [&](auto dev) {
      kernels::map(dev, w.numel(), w.data(), q.data(), [=](T v) QDISTILL_ISA_BODY {
        return v > d ? positive : v < -d ? -negative : T(0);
      });
    });
    return record("ternary", q, inputs(w, p, m), [=, w = save(w)](const Tensor<T>& dq, Gradients<T>& dx) {
      const T *const v = w.data(), *const g = dq.data();
      const Index n = dq.numel();
      on_device(dq.device(), [&](auto dev) {
        if (dx[0].wanted())
          kernels::map_backward(dev, n, g, v, dx[0].data(), dx[0].mode(), [=](T e, T x) QDISTILL_ISA_BODY {
            return (x > d ? positive : x < -d ? negative : T(1)) * e;
          });
        for (int k = 1; k <= 2; ++k) {
          if (!dx[k].wanted()) continue;
          const T sign = k == 1 ? T(1) : T(-1);
          const double sum = kernels::sum_map<T>(
              dev, n, [=](Index i) QDISTILL_ISA_BODY { return sign * v[i] > d ? sign * g[i] : T(0); });
          T* const out = dx[k].data();
          *out = (dx[k].mode() == Write::add ? *out : T(0)) + static_cast<T>(sum);
        }
      });
    });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    const T d = threshold();
    TableEncoding e;
    e.points = {-static_cast<float>(stored_[2].tensor.item()), 0.0f, static_cast<float>(stored_[1].tensor.item())};
    detail::check_finite("quant::Ternary", w);
    for (const T v : w.span()) e.codes.push_back(v > d ? 2 : v < -d ? 0 : 1);
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return text("ternary, threshold ", settings_.threshold); }

 private:
  T threshold() const {
    const Tensor<T>& w = stored_[0].tensor;
    T lo = 0, hi = 0;
    on_device(w.device(), [&](auto dev) { kernels::value_range(dev, w.data(), w.numel(), lo, hi); });
    return static_cast<T>(settings_.threshold) * (-lo > hi ? -lo : hi);
  }
  Ternary settings_;
  nn::StoredTensor<T> stored_[3];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Ternary::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<TernaryParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
