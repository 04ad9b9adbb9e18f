/// Quant-Noise (Fan et al. 2021, "Training with quantization noise for extreme model compression"): training sees a
/// part of the quantization error at a time, so that most gradients stay exact.
///
///   stored     w, full precision
///   effective  in training: blocks drawn with probability p are quantized, the others are w's; drawn anew each step.
///              In evaluation: all are quantized
///   backward   straight through: dL/dw = dL/d(effective), a surrogate for the blocks that were drawn
///
/// The inner quantizer is any whose codes follow w: quant::Uniform and its like, or quant::Product, whose blocks are
/// replaced by the nearest codeword. Its codebook is fitted when it is attached; attach again (once an epoch) to fit it
/// to the weights as they are by then. The optimizer goes on unchanged.
///
///   quant::attach(net, quant::QuantNoise<quant::Uniform>{.inner = {.bits = 4}, .rate = 0.1});
#pragma once

#include "qdistill/kernels/cpu/mix_blocks.hpp"
#include "qdistill/quant/product.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// Settings around those of the inner quantizer Q.
template <class Q>
struct QuantNoise {
  Q inner = {};
  double rate = 0.1;     ///< p: the part of the blocks that is quantized in training; 1: all, as without Quant-Noise
  Index block_size = 0;  ///< weights that are drawn together; 0: the blocks of a product, else each on its own

  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// Each block of w is its nearest codeword. Stored: w, trained straight through; codewords, float16 numbers, constant.
template <class T>
class NearestCodewords final : public nn::Parametrization<T> {
 public:
  NearestCodewords(Tensor<T> w, const Codebook<T>& book) : d_(book.block_size), k_(book.count()) {
    stored_[0] = {"", std::move(w), true, ""};
    Tensor<T> words = Tensor<T>::from(std::span<const T>(book.codewords), {k_, d_});
    for (T& v : words.span()) v = static_cast<T>(round_to_half(static_cast<float>(v)));
    stored_[1] = {"codewords", std::move(words), false, ""};
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>& w = stored_[0].tensor;
    const Tensor<std::uint16_t> codes = nearest();
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    on_device(w.device(), [&](auto dev) {
      kernels::gather_codewords(dev, w.numel() / d_, d_, codes.data(), words().data(), q.data());
    });
    return record("nearest_codewords", q, inputs(w),
                  [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    detail::check_finite("quant::QuantNoise", w);
    ProductEncoding e{d_, nearest().to_vector(), {}};
    for (const T v : words().span()) e.codewords.push_back(static_cast<float>(v));
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return text("product, ", k_, " codewords of ", d_); }
  Index block_size() const noexcept { return d_; }

 private:
  const Tensor<T>& words() const noexcept { return stored_[1].tensor; }
  Tensor<std::uint16_t> nearest() const {
    const Tensor<T>& w = stored_[0].tensor;
    const Index n = w.numel() / d_;
    Tensor<std::uint16_t> codes = Tensor<std::uint16_t>::empty({n});
    Tensor<T> lanes = Tensor<T>::empty({kernels::lane_elements(n, d_)}), half_norms = Tensor<T>::zeros({k_});
    const Tensor<T> center = Tensor<T>::zeros({d_});
    for (Index i = 0; i < k_ * d_; ++i) half_norms.data()[i / d_] += words().data()[i] * words().data()[i] / 2;
    on_device(w.device(), [&](auto dev) {
      kernels::blocks_to_lanes<T>(dev, n, d_, d_, w.data(), center.data(), nullptr, lanes.data());
      kernels::nearest_codewords<T>(dev, n, d_, lanes.data(), k_, words().data(), half_norms.data(), codes.data());
    });
    return codes;
  }
  Index d_, k_;
  nn::StoredTensor<T> stored_[2];
};

/// See the head of this file.
template <class T>
class QuantNoiseParametrization final : public nn::Parametrization<T> {
 public:
  /// `inner` stores w first. Throws ValueError for a rate outside [0, 1] or block_size below 1.
  QuantNoiseParametrization(std::shared_ptr<nn::Parametrization<T>> inner, double rate, Index block_size)
      : inner_(std::move(inner)), rate_(rate), block_size_(block_size) {
    check(rate >= 0 && rate <= 1, "quant::QuantNoise", "got rate ", rate, ", expected 0 to 1");
    check(block_size >= 1, "quant::QuantNoise", "got block_size ", block_size, ", expected at least 1");
    check(!inner_->stored().empty() && inner_->stored()[0].name.empty(), "quant::QuantNoise", "got ",
          inner_->description(), ", expected a quantizer that keeps the weight and whose codes follow it");
  }
  void refresh() override { inner_->refresh(); }
  Tensor<T> effective(nn::Phase phase) override {
    if (phase == nn::Phase::eval) return inner_->effective(phase);
    const Tensor<T>& w = inner_->stored()[0].tensor;
    Tensor<T> quantized, mixed = Tensor<T>::empty(w.shape(), w.device());
    {
      const NoGrad no_grad;
      quantized = inner_->effective(phase);
    }
    on_device(w.device(), [&](auto dev) {
      kernels::mix_blocks(dev, w.numel(), block_size_, std::as_const(quantized).data(), w.data(), mixed.data(),
                          default_generator().next(), static_cast<std::uint32_t>(rate_ * 0x1p24));
    });
    return record("quant_noise", mixed, inputs(w), [](const Tensor<T>& dq, Gradients<T>& dw) { dw[0].accumulate(dq); });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return inner_->stored(); }
  Encoding encode() const override { return inner_->encode(); }
  double size_bits() const override { return inner_->size_bits(); }
  bool exact_gradient() const noexcept override { return false; }
  std::string description() const override { return text("Quant-Noise ", rate_, " of ", inner_->description()); }

 private:
  std::shared_ptr<nn::Parametrization<T>> inner_;
  double rate_;
  Index block_size_;
};

template <class Q>
template <class T>
std::shared_ptr<nn::Parametrization<T>> QuantNoise<Q>::make(const nn::Parameter<T>& parameter) const {
  std::shared_ptr<nn::Parametrization<T>> made;
  Index size = 1;
  if constexpr (std::is_same_v<Q, Product>) {
    const Codebook<T> book = fit_product<T>(inner, parameter.data(), {}, default_generator().next());
    made = std::make_shared<NearestCodewords<T>>(parameter.data(), book);
    size = book.block_size;
  } else {
    made = inner.template make<T>(parameter);
  }
  return std::make_shared<QuantNoiseParametrization<T>>(std::move(made), rate, block_size != 0 ? block_size : size);
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
