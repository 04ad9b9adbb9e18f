/// What a layer's inputs are to the codebook of its weights: rows of A for quant/codebook.hpp (Stock et al. 2020,
/// section 3.2), drawn at random and added to Gram matrices at once. Neither the inputs nor their patches are kept.
///
/// A row of inputs is what one output position sees: the C_in / groups x K x K patch of a convolution, in the order of
/// its weights (of a grouped one, each group's patch is a row), or the features of a linear layer. Cut into
/// m = length / d chunks it gives m rows of A, since all blocks of a weight share one codebook.
#pragma once

#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/quant/codebook.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// The rows of a layer's input x: [N, C, H, W] for a convolution, [N, .., features] for a linear layer.
class InputRows {
 public:
  template <class T>
  explicit InputRows(const nn::Conv2d<T>& layer)
      : shape_(layer.weight->shape()), options_(layer.options()), convolution_(true) {}
  template <class T>
  explicit InputRows(const nn::Linear<T>& layer) : shape_(layer.weight->shape()) {}
  InputRows(const Shape& weight, const Conv2dOptions& options)
      : shape_(weight), options_(options), convolution_(true) {}

  /// Numbers in a row.
  Index length() const { return shape_.numel() / shape_[0]; }
  /// Output channels.
  Index outputs() const { return shape_[0]; }
  /// Rows that one of the N inputs gives. Throws ShapeError for an input that is not the layer's.
  template <class T>
  Index per_image(const Tensor<T>& x) const {
    if (!convolution_) {
      check<ShapeError>(x.rank() >= 2 && x.size(-1) == length(), "InputRows", "got an input of shape ", x.shape(),
                        " for a linear layer of ", length(), " features");
      return x.numel() / (x.shape()[0] * length());
    }
    const kernels::Conv2dShape s = conv_shape(x);
    return s.groups * s.out_h() * s.out_w();
  }
  /// Row `row` of image n of x, which is contiguous: the output positions of the first group, then the next.
  template <class T>
  void read(const Tensor<T>& x, Index n, Index row, T* out) const {
    if (!convolution_) {
      copy_elements(x.data() + (n * per_image(x) + row) * length(), out, length());
      return;
    }
    const kernels::Conv2dShape s = conv_shape(x);
    const Index pixels = s.out_h() * s.out_w(), group = row / pixels, channels = s.C / s.groups;
    const Index top = row % pixels / s.out_w() * s.stride_h - s.pad_h, left = row % s.out_w() * s.stride_w - s.pad_w;
    const T* image = x.data() + (n * s.C + group * channels) * s.H * s.W;
    for (Index c = 0; c < channels; ++c, image += s.H * s.W) {
      for (Index kh = 0; kh < s.KH; ++kh) {
        for (Index kw = 0; kw < s.KW; ++kw) {
          const Index h = top + kh * s.dil_h, w = left + kw * s.dil_w;
          *out++ = h >= 0 && h < s.H && w >= 0 && w < s.W ? image[h * s.W + w] : T(0);
        }
      }
    }
  }

 private:
  template <class T>
  kernels::Conv2dShape conv_shape(const Tensor<T>& x) const {
    const Conv2dOptions& o = options_;
    check<ShapeError>(x.rank() == 4 && shape_.rank() == 4 && x.shape()[1] == shape_[1] * o.groups, "InputRows",
                      "got an input of shape ", x.shape(), " for a convolution of weight ", shape_);
    return {x.shape()[0], x.shape()[1], x.shape()[2], x.shape()[3], shape_[0],    shape_[2],    shape_[3],
            o.stride.h,   o.stride.w,   o.padding.h,  o.padding.w,  o.dilation.h, o.dilation.w, o.groups};
  }
  Shape shape_;
  Conv2dOptions options_ = {};
  bool convolution_ = false;
};

/// How much is drawn.
struct InputSampling {
  Index images = 1024;     ///< whose inputs are looked at
  Index samples = 25000;   ///< divided by the layer's output channels: the rows drawn for one iteration, at least one
  Index iterations = 100;  ///< each draws rows of its own
};

/// Draws rows while the layer's inputs pass, batch after batch, and adds them to the Gram matrices of the iterations
/// and of the fixed sample. Rows are drawn with replacement from all rows of all images; which ones is a function of
/// the stream alone.
template <class T>
class InputSampler {
 public:
  /// For blocks of d, a divisor of the rows' length. Throws ValueError for settings below 1.
  InputSampler(InputRows rows, Index d, const InputSampling& sampling, RandomStream stream)
      : rows_(std::move(rows)),
        d_(d),
        images_(sampling.images),
        draws_(std::max<Index>(1, sampling.samples / rows_.outputs())),
        iterations_(sampling.iterations),
        stream_(stream) {
    check(sampling.images >= 1 && sampling.images < (Index{1} << 32) && sampling.samples >= 1 && iterations_ >= 1,
          "InputSampler", "got ", sampling.images, " images, ", sampling.samples, " samples and ", iterations_,
          " iterations, expected at least 1 of each");
    check<ShapeError>(d >= 1 && rows_.length() % d == 0, "InputSampler", "got blocks of ", d, " for rows of ",
                      rows_.length(), ", expected a divisor");
    grams_.block_size = d;
    grams_.each.assign(static_cast<std::size_t>(iterations_ * d * d), 0.0);
    grams_.fixed.assign(static_cast<std::size_t>(d * d), 0.0);
  }
  /// The inputs of the next x.shape()[0] images.
  void add(const Tensor<T>& x) {
    const Tensor<T> in = x.contiguous() ? x.detach() : x.clone();
    const Index per_image = rows_.per_image(in), first = seen_, last = seen_ + in.shape()[0];
    seen_ = last;
    if (first >= images_ || per_image == 0) return;
    const Index chunks = rows_.length() / d_;
    // Iterations share nothing, so that they may run in parallel; the last one is the fixed sample.
    parallel_for(iterations_ + 1, 1, [&](Index begin, Index end) {
      std::vector<T> row(static_cast<std::size_t>(rows_.length()));
      for (Index t = begin; t < end; ++t) {
        for (Index i = 0; i < draws_; ++i) {
          const auto key = static_cast<std::uint64_t>(2 * (t * draws_ + i));
          const Index image = stream_.below(key, static_cast<std::uint32_t>(images_));
          if (image < first || image >= last) continue;
          const Index position = stream_.below(key + 1, static_cast<std::uint32_t>(per_image));
          rows_.read(in, image - first, position, row.data());
          if (t < iterations_) kernels::add_gram(Cpu{}, chunks, d_, row.data(), grams_.each.data() + t * d_ * d_);
          else kernels::add_gram(Cpu{}, fixed_chunks(i), d_, row.data(), grams_.fixed.data());
        }
      }
    });
  }
  bool complete() const noexcept { return seen_ >= images_; }
  /// Throws ValueError before all images have passed.
  const InputGrams& grams() const {
    check(complete(), "InputSampler", "got the inputs of ", seen_, " images, expected ", images_);
    return grams_;
  }

 private:
  /// The fixed sample has the first 128 rows of its A, which begins with the first chunk of every drawn row.
  Index fixed_chunks(Index i) const {
    return std::clamp<Index>((128 - i + draws_ - 1) / draws_, 0, rows_.length() / d_);
  }
  InputRows rows_;
  Index d_, images_, draws_, iterations_;
  RandomStream stream_;
  Index seen_ = 0;
  InputGrams grams_;
};

/// A convolution or linear layer of a network.
struct WeightLayer {
  std::string name;  ///< "layer1.0.conv1"
  nn::Module<float>* module = nullptr;
  nn::ParameterPtr<float> weight;
  InputRows rows;
  bool convolution = false;
};

namespace detail {

inline void collect_layers(nn::Module<float>& module, const std::string& name, std::vector<WeightLayer>& out) {
  if (auto* const c = dynamic_cast<nn::Conv2d<float>*>(&module))
    out.push_back({name, c, c->weight, InputRows(*c), true});
  else if (auto* const l = dynamic_cast<nn::Linear<float>*>(&module))
    out.push_back({name, l, l->weight, InputRows(*l), false});
  for (const auto& child : module.children()) collect_layers(*child.module, nn::joined(name, child.name), out);
}

}  // namespace detail

/// The nn::Conv2d and nn::Linear layers of a network in the order in which its forward pass on `x` uses them first; of
/// layers that share a weight the first one.
inline std::vector<WeightLayer> layers_in_forward_order(nn::Module<float>& model, const Tensor<float>& x) {
  std::vector<WeightLayer> all, used;
  detail::collect_layers(model, "", all);
  std::vector<nn::Observing<float>> observing;
  for (const WeightLayer& layer : all)
    observing.emplace_back(*layer.module, [&used, &layer](const Tensor<float>&) {
      for (const WeightLayer& u : used)
        if (u.weight == layer.weight) return;
      used.push_back(layer);
    });
  const NoGrad no_grad;
  model(x);
  return used;
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
