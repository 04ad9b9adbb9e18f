/// Uniform quantization as a parametrization (Polino, Pascanu, Alistarh 2018).
///
///   stored     w, full precision
///   effective  Q(w), uniform levels per bucket (section 2.1; kernels/cpu/uniform_quantize.hpp has the formula)
///   backward   straight through: dL/dw = dL/dQ(w), a surrogate (Algorithm 1, line "apply the gradient to w"). The
///              variants of the authors' code: truncated, full.
///
/// Trained with a distillation loss this is quantized distillation (QD, Algorithm 1); attached to a trained network and
/// left alone it is post-mortem quantization (PM).
#pragma once

#include "qdistill/kernels/cpu/uniform_quantize.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

enum class Rounding { nearest, stochastic };

/// How the gradient passes the quantizer.
///   straight   dL/dw = dL/dq
///   truncated  w is clamped to [-1, 1] before quantizing; the gradient is zero where |w| > 1
///   full       straight through the rounding only; the scale and offset of the bucket are differentiated too
enum class Gradient { straight, truncated, full };

/// Settings. Defaults are those of the published experiments. Rounding is stochastic in training only.
struct Uniform {
  int bits = 4;             ///< 1 to 16; s = 2^bits levels. With absmax and absnorm one bit is the sign: 2 to 16
  Index bucket_size = 256;  ///< 0: no buckets
  Scaling scaling = Scaling::linear;
  Rounding rounding = Rounding::nearest;
  Gradient gradient = Gradient::straight;
  bool subtract_mean = false;  ///< of the whole tensor, added back
  double max_element = 0;      ///< clamp to [-m, m] before scaling; 0: not

  /// Throws ValueError for settings that make no sense.
  void validate() const {
    const int least = scaling == Scaling::linear ? 1 : 2;
    check(bits >= least && bits <= 16, "quant::Uniform", "got ", bits, " bits, expected ", least, " to 16 with ",
          name(scaling), " scaling");
    check(bucket_size >= 0, "quant::Uniform", "got bucket_size ", bucket_size, ", expected 0 (no buckets) or more");
    check(max_element >= 0 && std::isfinite(max_element), "quant::Uniform", "got max_element ", max_element,
          ", expected 0 (no clamping) or more");
    check(gradient != Gradient::full || (scaling == Scaling::linear && max_element == 0), "quant::Uniform",
          "the full gradient is defined for linear scaling without clamping");
  }
  std::string description() const {
    std::string out = text("uniform ", bits, bits == 1 ? " bit" : " bits");
    out += bucket_size ? text(", bucket ", bucket_size) : std::string(", no buckets");
    if (scaling != Scaling::linear) out += text(", ", name(scaling));
    if (rounding == Rounding::stochastic) out += ", stochastic";
    if (gradient != Gradient::straight) out += gradient == Gradient::full ? ", full gradient" : ", truncated gradient";
    return out;
  }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class UniformParametrization final : public nn::Parametrization<T> {
 public:
  UniformParametrization(const Uniform& settings, Tensor<T> w) : settings_(settings) {
    settings_.validate();
    stored_[0] = {"", std::move(w), true, ""};
  }
  Tensor<T> effective(nn::Phase phase) override {
    const Tensor<T>& w = stored_[0].tensor;
    const kernels::UniformRule<T> rule = rule_for(w, phase == nn::Phase::train);
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    on_device(w.device(), [&](auto dev) {
      kernels::uniform_quantize(dev, w.numel(), w.data(), rule, kernels::UniformResult<T>{.values = q.data()});
    });
    switch (settings_.gradient) {
      case Gradient::straight:
        return record("quantize", q, inputs(w), [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
      case Gradient::truncated:
        return record("quantize", q, inputs(w), [w = save(w)](const Tensor<T>& dq, Gradients<T>& dw) {
          const T* const v = w.data();
          const T* const g = dq.data();
          T* const out = dw[0].data();
          const bool add = dw[0].mode() == Write::add;
          for (Index i = 0, n = dq.numel(); i < n; ++i)
            out[i] = (add ? out[i] : T(0)) + (v[i] < T(-1) || v[i] > T(1) ? T(0) : g[i]);
        });
      case Gradient::full:
        return record("quantize", q, inputs(w), [w = save(w), rule](const Tensor<T>& dq, Gradients<T>& dw) {
          on_device(dq.device(), [&](auto dev) {
            kernels::uniform_quantize_backward_full(dev, dq.numel(), w.data(), dq.data(), dw[0].data(), dw[0].mode(),
                                                    rule);
          });
        });
    }
    return q;
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    const Index n = w.numel();
    const Tensor<float> single = detail::finite_floats("quant::Uniform", w);
    UniformEncoding e;
    e.bits = settings_.bits, e.bucket_size = settings_.bucket_size, e.scaling = settings_.scaling;
    UniformParametrization<float> as_float(settings_, single);
    const kernels::UniformRule<float> rule = as_float.rule_for(single, false);
    const auto buckets = static_cast<std::size_t>(bucket_count(n, settings_.bucket_size));
    e.codes.resize(static_cast<std::size_t>(n)), e.scale.resize(buckets), e.offset.resize(buckets);
    kernels::uniform_quantize(
        Cpu{}, n, single.data(), rule,
        {.values = nullptr, .codes = e.codes.data(), .alpha = e.scale.data(), .beta = e.offset.data()});
    if (settings_.scaling != Scaling::linear) e.offset.clear();
    if (rule.mean != 0) e.mean = rule.mean;
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return settings_.description(); }
  const Uniform& settings() const noexcept { return settings_; }

 private:
  template <class U>
  friend class UniformParametrization;
  kernels::UniformRule<T> rule_for(const Tensor<T>& w, bool training) const {
    kernels::UniformRule<T> rule;
    rule.levels = Index{1} << (settings_.scaling == Scaling::linear ? settings_.bits : settings_.bits - 1);
    rule.bucket_size = settings_.bucket_size, rule.scaling = settings_.scaling;
    if (settings_.subtract_mean)
      on_device(w.device(), [&](auto dev) { rule.mean = kernels::mean_of(dev, w.data(), w.numel()); });
    rule.max_element = static_cast<T>(settings_.max_element);
    if (settings_.gradient == Gradient::truncated && !(rule.max_element > 0 && rule.max_element < 1))
      rule.max_element = 1;
    rule.stochastic = settings_.rounding == Rounding::stochastic && training;
    if (rule.stochastic) rule.stream = default_generator().next();
    return rule;
  }
  Uniform settings_;
  nn::StoredTensor<T> stored_[1];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Uniform::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<UniformParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
