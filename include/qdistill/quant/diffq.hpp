/// DiffQ as a parametrization (Defossez, Adi, Synnaeve 2022): trained with noise as large as the rounding
/// error would be, so that the number of bits has a gradient.
///
///   stored     w, full precision; "bits": a logit l per group, in the optimizer group "bits"
///   effective  training:   w + (max w - min w) n / (2^b - 1), b a function of l, n noise (kernels/cpu/diffq.hpp)
///              evaluation: uniform levels between min w and max w, with round(b) bits, clamped to 1 to 15
///   backward   exact in training, max and min of w included; straight through to w alone in evaluation
///   penalty    the size in MB = 2^20 bytes, (g sum b + 64 + 8 + groups B) / (8 2^20): codes, max and min, and the
///              widths, of B = ceil(log2(1 + round(max b) - min_bits)) bits each, B constant in the gradient
///
/// Train w with the optimizer of one's choice and the logits with an Adam of their own, without weight decay, on
/// loss + lambda quant::SizePenalty (quant/size.hpp): distill::Options has penalty_weight and bits_lr for it.
#pragma once

#include <algorithm>
#include <tuple>

#include "qdistill/kernels/cpu/diffq.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// n: a standard normal number halved, or uniform in [-1/2, 1/2).
enum class Noise { gaussian, uniform };

/// What sigmoid(l) interpolates between its values at min_bits and max_bits: the number of bits, or the logarithm of
/// the noise's scale 1 / (2^b - 1).
enum class Interpolate { bits, noise };

/// Settings, with the authors' defaults. A tensor that group_size does not divide is refused by attach, by name of its
/// shape; quant::divisible_by leaves such tensors out.
struct DiffQ {
  Index group_size = 8;  ///< consecutive elements that share a bit width; 0: the whole tensor
  double min_bits = 2, max_bits = 15, init_bits = 8;
  Noise noise = Noise::gaussian;
  Interpolate interpolate = Interpolate::bits;
  bool train_bits = true;  ///< false: every group keeps init_bits

  /// Throws ValueError for settings that make no sense.
  void validate() const {
    check(group_size >= 0, "quant::DiffQ", "got group_size ", group_size, ", expected 0 (the whole tensor) or more");
    check(min_bits >= 1 && max_bits <= 15 && min_bits < init_bits && init_bits < max_bits, "quant::DiffQ",
          "got min_bits ", min_bits, ", init_bits ", init_bits, " and max_bits ", max_bits,
          ", expected 1 <= min_bits < init_bits < max_bits <= 15");
  }
  std::string description() const {
    std::string out =
        train_bits ? text("DiffQ, ", min_bits, " to ", max_bits, " bits") : text("DiffQ, ", init_bits, " bits");
    out += group_size ? text(", groups of ", group_size) : std::string(", one group");
    if (noise == Noise::uniform) out += ", uniform noise";
    if (interpolate == Interpolate::noise) out += ", noise interpolated";
    return out;
  }
  /// The logit of init_bits.
  double init_logit() const {
    const auto log_unit = [](double b) { return -std::log(std::exp2(b) - 1); };
    const double t = interpolate == Interpolate::bits
                         ? (init_bits - min_bits) / (max_bits - min_bits)
                         : (log_unit(init_bits) - log_unit(min_bits)) / (log_unit(max_bits) - log_unit(min_bits));
    return std::log(t / (1 - t));
  }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// See the head of this file.
template <class T>
class DiffQParametrization final : public nn::Parametrization<T> {
 public:
  /// `logit`: [groups], to start from; undefined: that of init_bits.
  explicit DiffQParametrization(const DiffQ& settings, Tensor<T> w, Tensor<T> logit = {})
      : settings_(settings),
        rule_(kernels::BitsRule<T>::from(settings.min_bits, settings.max_bits,
                                         settings.interpolate == Interpolate::noise)) {
    settings_.validate();
    const Index n = w.numel();
    group_ = settings_.group_size > 0 || n == 0 ? std::max<Index>(settings_.group_size, 1) : n;
    check<ShapeError>(n % group_ == 0, "quant::DiffQ", "got group_size ", group_, " for a weight of shape ", w.shape(),
                      ", expected a divisor of its ", n, " elements. HINT: select with quant::divisible_by(", group_,
                      ')');
    if (!logit.defined()) logit = Tensor<T>::full({n / group_}, static_cast<T>(settings_.init_logit()), w.device());
    check<ShapeError>(logit.shape() == Shape{n / group_}, "quant::DiffQ", "got logits of shape ", logit.shape(),
                      ", expected ", Shape{n / group_});
    if (settings_.train_bits && !logit.requires_grad()) logit = requires_grad(logit);
    stored_[0] = {"", std::move(w), true, ""};
    stored_[1] = {"bits", std::move(logit), settings_.train_bits, "bits"};
  }
  Tensor<T> effective(nn::Phase phase) override {
    if (phase == nn::Phase::train) return noisy({settings_.noise == Noise::gaussian, default_generator().next()});
    const Tensor<T>& w = weight();
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    quantize<T>(w, q.data(), nullptr);
    return record("diffq_eval", q, inputs(w), [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
  }
  /// The weight with the given noise.
  Tensor<T> noisy(kernels::PseudoNoise<T> noise) {
    const Tensor<T>&w = weight(), &l = logit();
    const Index n = w.numel(), g = group_;
    T lo = 0, hi = 0;
    kernels::RangePlaces ends;
    Tensor<T> y = Tensor<T>::empty(w.shape(), w.device());
    on_device(w.device(), [&](auto dev) {
      kernels::value_range(dev, w.data(), n, lo, hi, grad_enabled() ? &ends : nullptr);
      kernels::diffq_noisy(dev, n, g, w.data(), l.data(), rule_, hi - lo, noise, y.data());
    });
    return record(
        "diffq", y, inputs(w, l),
        [l = save(l), rule = rule_, range = hi - lo, n, g, ends, noise](const Tensor<T>& dy, Gradients<T>& dx) {
          if (n == 0) return;
          Tensor<T> sums = Tensor<T>::empty({kernels::detail::group_sums(n, g)}, dy.device());
          kernels::DiffqGradients<T> out;
          out.ends = ends;
          if (dx[0].wanted()) out.w = dx[0].data(), out.w_mode = dx[0].mode();
          if (dx[1].wanted()) out.logit = dx[1].data(), out.logit_mode = dx[1].mode();
          on_device(dy.device(), [&](auto dev) {
            kernels::diffq_noisy_backward(dev, n, g, dy.data(), l.data(), rule, range, noise, sums.data(), out);
          });
        });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Tensor<T> penalty() override {
    const Tensor<T>& l = logit();
    const Index groups = l.numel(), g = group_;
    double bits = 0;
    T lo = 0, hi = 0;
    on_device(l.device(), [&](auto dev) {
      bits = kernels::diffq_bit_sum(dev, groups, l.data(), rule_);
      kernels::value_range(dev, l.data(), groups, lo, hi);  // bits grow with the logit
    });
    const T widest = rule_.choose([&](auto by_noise) { return rule_.template bits<by_noise()>(hi); });
    const double most = groups > 0 ? kernels::math::round(static_cast<double>(widest)) : settings_.min_bits;
    const Tensor<T> mb = Tensor<T>::scalar(static_cast<T>(total_bits(bits, most) / bits_per_mb));
    return record(
        "diffq_size", mb, inputs(l), [l = save(l), rule = rule_, groups, g](const Tensor<T>& d, Gradients<T>& dl) {
          const T scale = static_cast<T>(static_cast<double>(d.item()) * static_cast<double>(g) / bits_per_mb);
          on_device(d.device(), [&](auto dev) {
            kernels::diffq_bits_backward(dev, groups, l.data(), rule, scale, dl[0].data(), dl[0].mode());
          });
        });
  }
  Encoding encode() const override {
    const Tensor<T>& w = weight();
    GroupedEncoding e;
    e.group_size = settings_.group_size;
    e.codes.resize(static_cast<std::size_t>(w.numel()));
    e.widths = widths();
    const Tensor<float> single = detail::finite_floats("quant::DiffQ", w);
    std::tie(e.scale, e.offset) = quantize<float>(single, nullptr, e.codes.data());
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  double size_bits() const override {
    double bits = 0, most = settings_.min_bits;
    for (const std::uint8_t b : widths()) {
      bits += b;
      if (b > most) most = b;
    }
    return total_bits(bits, most);
  }
  /// Bits of each group now, not rounded.
  std::vector<T> bits() const {
    const Tensor<T>& l = logit();
    std::vector<T> out(static_cast<std::size_t>(l.numel()));
    on_device(l.device(), [&](auto dev) { kernels::diffq_bits(dev, l.numel(), l.data(), rule_, out.data()); });
    return out;
  }
  /// Bits of each group in evaluation. Throws ValueError for a logit that is NaN.
  std::vector<std::uint8_t> widths() const {
    const std::vector<T> exact = bits();
    std::vector<std::uint8_t> out;
    out.reserve(exact.size());
    for (const T b : exact) {
      check(!std::isnan(b), "quant::DiffQ", "got NaN bits for group ", out.size());
      const double rounded = kernels::math::round(static_cast<double>(b));
      out.push_back(static_cast<std::uint8_t>(rounded < 1 ? 1 : rounded > 15 ? 15 : rounded));
    }
    return out;
  }
  bool exact_gradient() const noexcept override { return true; }
  std::string description() const override { return settings_.description(); }
  const DiffQ& settings() const noexcept { return settings_; }

 private:
  const Tensor<T>& weight() const noexcept { return stored_[0].tensor; }
  const Tensor<T>& logit() const noexcept { return stored_[1].tensor; }
  static constexpr double bits_per_mb = 8 * 0x1p20;
  /// Bits of the whole tensor from the sum over groups and the widest group.
  double total_bits(double sum, double most) const {
    const double field = std::ceil(std::log2(std::max(1.0, 1 + most - settings_.min_bits)));
    return static_cast<double>(group_) * sum + 64 + 8 + static_cast<double>(logit().numel()) * field;
  }
  /// Writes v's levels as values or codes; returns max - min and min.
  template <class U>
  std::pair<U, U> quantize(const Tensor<U>& v, U* values, std::uint16_t* codes) const {
    const std::vector<std::uint8_t> b = widths();
    U alpha = 1, beta = 0;
    on_device(v.device(), [&](auto dev) {
      kernels::uniform_quantize(dev, v.numel(), v.data(), kernels::UniformRule<U>{}, {.alpha = &alpha, .beta = &beta});
      kernels::grouped_quantize(dev, v.numel(), group_, v.data(), b.data(), alpha, beta, values, codes);
    });
    return {alpha, beta};
  }
  DiffQ settings_;
  kernels::BitsRule<T> rule_;
  Index group_ = 1;
  nn::StoredTensor<T> stored_[2];
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> DiffQ::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<DiffQParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
