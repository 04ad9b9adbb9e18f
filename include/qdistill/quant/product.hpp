/// Product quantization as a parametrization (Stock et al. 2020, "And the Bit Goes Down", section 3).
///
///   stored     codewords (k x d), trained; codes, one per block of d consecutive weights, fixed
///   effective  every block is its codeword; in evaluation rounded to float16, as it is stored
///   backward   dL/d(codeword) = the mean of dL/d(block) over its blocks (section 3.3), a surrogate: the exact gradient
///              is their sum, of which the mean makes a step whose size does not depend on how many blocks share it
///
/// Weight decay and momentum of the optimizer act on the codewords, which is the same as on all weights of a cluster,
/// since these are equal. The gradient passes the rounding to float16.
///
/// Attached without more (quant::attach) the codewords fit the weights alone. With the layer's inputs they fit its
/// output: distill/product_quantization.hpp, which also trains them.
#pragma once

#include "qdistill/encoding/product_size.hpp"
#include "qdistill/kernels/cpu/codewords.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/codebook.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// mean: the paper's. sum: the exact gradient.
enum class CodewordGradient { mean, sum };

/// Settings; the defaults are the paper's small blocks. Its large ones: {.kernels = 2, .pointwise = 8}.
///
/// A block never reaches over the end of an output channel's weights. Where the size asked for does not divide them,
/// the next smaller one that does is taken (for `kernels`: in whole kernels), but for `block_size` itself.
struct Product {
  Index codewords = 256;   ///< k; fewer for a small tensor, see codeword_count()
  Index kernels = 1;       ///< K x K kernels in a block of a convolution: d = kernels K K
  Index pointwise = 4;     ///< d of a 1 x 1 convolution
  Index linear = 4;        ///< d of a linear layer
  Index block_size = 0;    ///< d whatever the layer; 0: by the three above
  Index iterations = 100;  ///< of the k-means
  CodewordGradient gradient = CodewordGradient::mean;

  /// Throws ValueError for settings that make no sense.
  void validate() const {
    check(codewords >= 1 && codewords <= 65536, "quant::Product", "got ", codewords, " codewords, expected 1 to 65536");
    check(kernels >= 1 && pointwise >= 1 && linear >= 1 && block_size >= 0, "quant::Product", "got kernels ", kernels,
          ", pointwise ", pointwise, ", linear ", linear, " and block_size ", block_size,
          ", expected at least 1, 1, 1 and 0");
    check(iterations >= 1, "quant::Product", "got ", iterations, " iterations, expected at least 1");
  }
  /// d for a weight [out, in], [out, in / groups, K] or [out, in / groups, K, K]. Throws ShapeError for another rank
  /// or an explicit block_size that does not divide the weights of an output channel.
  Index block_size_of(const Shape& weight) const {
    check<ShapeError>(weight.rank() >= 2 && weight.numel() > 0, "quant::Product", "got a parameter of shape ", weight,
                      ", expected the weight of a linear layer or convolution. HINT: quant::weights_only() leaves out "
                      "biases and normalisation");
    const Index row = weight.numel() / weight[0], kernel = row / weight[1];
    check<ShapeError>(block_size == 0 || row % block_size == 0, "quant::Product", "got block_size ", block_size,
                      " for a weight of shape ", weight, ", expected a divisor of ", row);
    if (block_size > 0) return block_size;
    const auto divisor = [](Index of, Index most) {
      while (of % most != 0) --most;
      return most;
    };
    if (kernel > 1) return kernel * divisor(weight[1], kernels);
    return divisor(row, weight.rank() == 2 ? linear : pointwise);
  }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// Fits a codebook to `weight` as the settings say; `inputs` may be empty. Throws as fit_codebook does.
template <class T>
Codebook<T> fit_product(const Product& settings, const Tensor<T>& weight, const InputGrams& inputs,
                        RandomStream stream) {
  settings.validate();
  const Index d = settings.block_size_of(weight.shape()), k = codeword_count(weight.numel() / d, settings.codewords);
  for (const T v : weight.span())
    check(std::abs(static_cast<double>(v)) < 65520, "quant::Product", "got a weight of ", v, " in a tensor of shape ",
          weight.shape(), ", expected numbers that float16 holds");
  return fit_codebook<T>(weight.span(), d, {k, settings.iterations}, inputs, stream);
}

/// See the head of this file.
template <class T>
class ProductParametrization final : public nn::Parametrization<T> {
 public:
  /// Of a weight of shape `shape`. Throws ShapeError or ValueError for a codebook that does not fit it.
  ProductParametrization(const Shape& shape, const Codebook<T>& book, CodewordGradient gradient)
      : shape_(shape), d_(book.block_size), k_(book.count()), gradient_(gradient) {
    check<ShapeError>(d_ >= 1 && k_ >= 1 && k_ <= 65536 && static_cast<Index>(book.codewords.size()) == k_ * d_ &&
                          static_cast<Index>(book.codes.size()) * d_ == shape.numel(),
                      "quant::Product", "got ", book.codewords.size(), " numbers in the codebook and ",
                      book.codes.size(), " codes of blocks of ", d_, " for a weight of shape ", shape);
    Tensor<T> codes = Tensor<T>::empty({static_cast<Index>(book.codes.size())});
    std::copy(book.codes.begin(), book.codes.end(), codes.data());
    stored_[0] = {"codewords", requires_grad(Tensor<T>::from(std::span<const T>(book.codewords), {k_, d_})), true, ""};
    stored_[1] = {"codes", codes, false, ""};
    refresh();
  }

  /// Reads the codes again if they changed, which only a loaded state does. Throws ValueError for codes that are none.
  void refresh() override {
    const Tensor<T>& codes = stored_[1].tensor;
    if (blocks_ && read_version_ == codes.version()) return;
    auto blocks = std::make_shared<Blocks>();
    const Index n = codes.numel();
    blocks->codes.resize(static_cast<std::size_t>(n)), blocks->members.resize(static_cast<std::size_t>(n));
    blocks->first.assign(static_cast<std::size_t>(k_ + 1), 0);
    for (Index i = 0; i < n; ++i) {
      const T v = codes.data()[i];
      check(v >= 0 && v < static_cast<T>(k_) && v == std::floor(v), "quant::Product", "got code ", v, " at ", i,
            ", expected an integer below ", k_);
      const auto code = static_cast<std::uint16_t>(v);
      blocks->codes[static_cast<std::size_t>(i)] = code;
      ++blocks->first[static_cast<std::size_t>(code) + 1];
    }
    for (std::size_t c = 0; c < static_cast<std::size_t>(k_); ++c) blocks->first[c + 1] += blocks->first[c];
    std::vector<Index> next = blocks->first;
    for (Index i = 0; i < n; ++i)
      blocks->members[static_cast<std::size_t>(next[blocks->codes[static_cast<std::size_t>(i)]]++)] = i;
    blocks_ = std::move(blocks), read_version_ = codes.version();
  }
  Tensor<T> effective(nn::Phase phase) override {
    const Tensor<T>& codewords = stored_[0].tensor;
    const Tensor<T> words = phase == nn::Phase::eval ? rounded(codewords) : codewords.detach();
    Tensor<T> w = Tensor<T>::empty(shape_, codewords.device());
    const Index n = shape_.numel() / d_;
    on_device(w.device(),
              [&](auto dev) { kernels::gather_codewords(dev, n, d_, blocks_->codes.data(), words.data(), w.data()); });
    return record("product", w, inputs(codewords),
                  [blocks = blocks_, k = k_, d = d_, mean = gradient_ == CodewordGradient::mean](const Tensor<T>& dw,
                                                                                                 Gradients<T>& dc) {
                    T* const to = dc[0].data();
                    on_device(dw.device(), [&](auto dev) {
                      kernels::codeword_gradient(dev, k, d, blocks->first.data(), blocks->members.data(), dw.data(), to,
                                                 mean, dc[0].mode());
                    });
                  });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    ProductEncoding e{d_, blocks_->codes, {}};
    for (const T v : rounded(stored_[0].tensor).to_vector()) {
      check(std::isfinite(v), "quant::Product", "got a codeword that float16 does not hold, of a weight of shape ",
            shape_);
      e.codewords.push_back(static_cast<float>(v));
    }
    return {{shape_.begin(), shape_.end()}, std::move(e)};
  }
  /// In training; evaluation rounds.
  bool exact_gradient() const noexcept override { return gradient_ == CodewordGradient::sum; }
  std::string description() const override {
    return text("product, ", k_, k_ == 1 ? " codeword of " : " codewords of ", d_);
  }
  Index block_size() const noexcept { return d_; }
  Index codewords() const noexcept { return k_; }

 private:
  /// The codes, and the blocks of each code: what the graph may keep.
  struct Blocks {
    std::vector<std::uint16_t> codes;
    std::vector<Index> first, members;
  };
  static Tensor<T> rounded(const Tensor<T>& codewords) {
    Tensor<T> out = Tensor<T>::empty(codewords.shape());
    for (Index i = 0, n = out.numel(); i < n; ++i)
      out.data()[i] = static_cast<T>(round_to_half(static_cast<float>(codewords.data()[i])));
    return out;
  }
  Shape shape_;
  Index d_, k_;
  CodewordGradient gradient_;
  nn::StoredTensor<T> stored_[2];
  std::shared_ptr<const Blocks> blocks_;
  std::uint64_t read_version_ = 0;
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Product::make(const nn::Parameter<T>& parameter) const {
  const Codebook<T> book = fit_product(*this, parameter.data(), {}, default_generator().next());
  return std::make_shared<ProductParametrization<T>>(parameter.shape(), book, gradient);
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
