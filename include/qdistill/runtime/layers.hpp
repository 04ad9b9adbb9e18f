/// The operations that the runtime executes, one small type each: a constructor that reads and checks the operation
/// (shapes of one sample, attributes, weights), and `run`, which calls the kernels of training's evaluation phase, so
/// that the results have the same bits. Layers with a product also have `prepare`, to be called once before `run`: it
/// replaces the decoded weight, which may be changed until then, by its packed form (runtime/prepared.hpp).
///
/// `run(n, in)` gets the inputs of a batch of n samples, contiguous. A tensor that is the sole owner of its buffer may
/// be overwritten: its value is not used again.
#pragma once

#include <cmath>
#include <utility>

#include "qdistill/kernels/cpu/arithmetic_functions.hpp"
#include "qdistill/kernels/cpu/batch_norm.hpp"
#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/elementwise_functions.hpp"
#include "qdistill/kernels/cpu/pact.hpp"
#include "qdistill/runtime/op_reader.hpp"
#include "qdistill/runtime/prepared.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

/// Most elements that the values of one sample may take at any time: 1 GiB of floats. A file of a few bytes could
/// otherwise ask for any amount of memory.
inline constexpr Index max_live_elements = Index{1} << 28;

/// [n, sample...]
inline Shape batched(Index n, const Shape& sample) {
  Shape s = sample;
  s.insert(0, n);
  return s;
}

/// y = x w^T + bias over the last dim, then max(y, 0) where `relu`.
struct LinearLayer {
  explicit LinearLayer(const OpReader& op) {
    op.expect_inputs(1), op.expect_roles({"weight", "bias"});
    weight = op.tensor("weight", 2, "[out, in]");
    const Shape& x = op.input();
    out = weight.shape()[0], in = weight.shape()[1];
    op.require<ShapeError>(x.rank() >= 1 && x[x.rank() - 1] == in && out >= 1, "got a sample of shape ", x,
                           " and weight ", weight.shape(), ", expected [..., in] and [out, in]");
    bias = op.vector_if_any("bias", out);
    shape = x;
    shape[x.rank() - 1] = out;
    for (int d = 0; d + 1 < x.rank(); ++d) rows *= x[d];
  }
  void prepare(WeightPacker& packer) { packed = packer.linear(std::exchange(weight, {})); }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    Tensor<float> y = Tensor<float>::empty(batched(n, shape));
    kernels::gemm_packed(Cpu{}, false, n * rows, out, in, std::as_const(x[0]).data(), in, packed.data(), y.data(), out,
                         kernels::Epilogue<float>{nullptr, bias.data(), relu, Write::set});
    return y;
  }

  Shape shape;
  Tensor<float> weight, bias;  ///< weight: until `prepare`
  Tensor<float> packed;
  Index rows = 1, in = 0, out = 0;
  bool relu = false;
};

/// Convolution of one (Spatial 1) or two dims, then max(y, 0) where `relu`.
template <int Spatial>
struct ConvLayer {
  explicit ConvLayer(const OpReader& op) {
    op.expect_roles({"weight", "bias"});
    const Shape& x = op.input_of_rank(Spatial + 1, Spatial == 2 ? "[C, H, W]" : "[C, L]");
    weight = op.tensor("weight", Spatial + 2, Spatial == 2 ? "[out, in / groups, KH, KW]" : "[out, in / groups, K]");
    const Shape& w = weight.shape();
    s.C = x[0], s.H = Spatial == 2 ? x[1] : 1, s.W = x[Spatial];
    s.O = w[0], s.KH = Spatial == 2 ? w[2] : 1, s.KW = w[Spatial + 1];
    s.groups = op.count_or("groups", 1, 1);
    if constexpr (Spatial == 2) {
      const auto stride = op.pair_or("stride", 1, 1), pad = op.pair_or("padding", 0, 0);
      const auto dilation = op.pair_or("dilation", 1, 1);
      s.stride_h = stride.h, s.stride_w = stride.w, s.pad_h = pad.h, s.pad_w = pad.w;
      s.dil_h = dilation.h, s.dil_w = dilation.w;
    } else {
      s.stride_w = op.count_or("stride", 1, 1), s.pad_w = op.count_or("padding", 0, 0);
      s.dil_w = op.count_or("dilation", 1, 1);
    }
    op.require<ShapeError>(w[0] >= 1 && w[1] >= 1 && s.KH >= 1 && s.KW >= 1, "got weight ", w,
                           ", expected no empty dim");
    op.require<ShapeError>(s.O % s.groups == 0 && s.C % s.groups == 0 && s.C / s.groups == w[1],
                           "got a sample of shape ", x, ", weight ", w, " and groups ", s.groups,
                           ", expected (C, ...) and (out, C / groups, ...)");
    const Index high = s.H + 2 * s.pad_h, wide = s.W + 2 * s.pad_w;
    op.require<ShapeError>(s.KH - 1 <= (high - 1) / s.dil_h && s.KW - 1 <= (wide - 1) / s.dil_w,
                           "got a sample of shape ", x, ", weight ", w, ", padding ", Shape{s.pad_h, s.pad_w},
                           " and dilation ", Shape{s.dil_h, s.dil_w},
                           ", expected a kernel that fits into the padded input");
    // The kernel works on a padded copy of an image.
    const double padded = static_cast<double>(high) * static_cast<double>(wide) * static_cast<double>(s.C);
    op.require<ShapeError>(padded <= static_cast<double>(max_live_elements), "got a sample of shape ", x,
                           " with padding ", Shape{s.pad_h, s.pad_w}, ", expected at most 2^28 elements with it");
    bias = op.vector_if_any("bias", s.O);
    shape = Spatial == 2 ? Shape{s.O, s.out_h(), s.out_w()} : Shape{s.O, s.out_w()};
  }
  void prepare(WeightPacker& packer) { packed = packer.conv(s, std::exchange(weight, {})); }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    Tensor<float> y = Tensor<float>::empty(batched(n, shape));
    kernels::Conv2dShape sizes = s;
    sizes.N = n;
    kernels::conv2d_forward(Cpu{}, sizes, std::as_const(x[0]).data(), packed.filters(sizes), bias.data(), y.data(),
                            relu);
    return y;
  }

  Shape shape;
  Tensor<float> weight, bias;  ///< weight: until `prepare`
  ConvWeights packed;
  kernels::Conv2dShape s;
  bool relu = false;
};

/// Batch normalisation with the running statistics, over channel dim 0 of a sample, then max(y, 0) where `relu`.
struct BatchNormLayer {
  explicit BatchNormLayer(const OpReader& op) {
    op.expect_inputs(1), op.expect_roles({"weight", "bias", "running_mean", "running_var"});
    shape = op.input();
    op.require<ShapeError>(shape.rank() >= 1, "got a sample of one number, expected [C, ...]");
    s.channels = shape[0], s.inner = shape.numel() / s.channels;
    const double eps = op.get<double>("eps");
    op.require(eps >= 0, "got eps ", eps, ", expected at least 0");
    mean = op.vector("running_mean", s.channels);
    weight = op.vector_if_any("weight", s.channels);
    bias = op.vector_if_any("bias", s.channels);
    const Tensor<float> var = op.vector("running_var", s.channels);
    inverse_std = Tensor<float>::empty({s.channels});
    for (Index c = 0; c < s.channels; ++c)
      inverse_std.data()[c] = static_cast<float>(1 / std::sqrt(static_cast<double>(var.data()[c]) + eps));
  }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    const float* const from = std::as_const(x[0]).data();
    // The kernel reads each element before it writes it.
    Tensor<float> y = x[0].sole_owner() ? x[0] : Tensor<float>::empty(batched(n, shape));
    kernels::BatchNormShape sizes = s;
    sizes.batch = n;
    kernels::BatchNormChannels<float> p;
    p.weight = weight.data(), p.bias = bias.data();
    p.mean = const_cast<float*>(mean.data()), p.inverse_std = const_cast<float*>(inverse_std.data());  // only read
    kernels::batch_norm_eval(Cpu{}, from, y.data(), sizes, p, relu);
    return y;
  }

  Shape shape;
  Tensor<float> weight, bias, mean, inverse_std;
  kernels::BatchNormShape s;
  bool relu = false;
};

/// y = f(x), F a function of one element, which may come with tensors in `roles`.
template <class F>
struct ElementwiseLayer {
  explicit ElementwiseLayer(const OpReader& op, F function = {}, std::initializer_list<const char*> roles = {})
      : f(function) {
    op.expect_inputs(1), op.expect_roles(roles);
    shape = op.input();
  }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    const float* const from = std::as_const(x[0]).data();
    Tensor<float> y = x[0].sole_owner() ? x[0] : Tensor<float>::empty(batched(n, shape));
    kernels::map(Cpu{}, x[0].numel(), from, y.data(), [g = f](float v) QDISTILL_ISA_BODY { return g(v); });
    return y;
  }

  Shape shape;
  F f;
};

/// Activations clipped at a learned alpha and rounded (kernels/cpu/pact.hpp).
inline ElementwiseLayer<kernels::PactRelu<float>> pact_layer(const OpReader& op) {
  const Index bits = op.count_or("bits", 1, 0);
  op.require(bits >= 1 && bits <= 16, "got ", bits, " bits, expected 1 to 16");
  ElementwiseLayer<kernels::PactRelu<float>> layer(op, {}, {"alpha"});
  layer.f = {op.vector("alpha", 1).item(), static_cast<float>((Index{1} << bits) - 1)};
  op.require(layer.f.alpha > 0 && std::isfinite(layer.f.alpha), "got alpha ", layer.f.alpha,
             ", expected a positive number");
  return layer;
}

/// a + b, of one shape: what joins the branches of a residual network; then max(y, 0) where `relu`.
struct AddLayer {
  explicit AddLayer(const OpReader& op) {
    op.expect_inputs(2), op.expect_roles({});
    shape = op.input(0);
    op.require<ShapeError>(shape == op.input(1), "got samples of shapes ", shape, " and ", op.input(1),
                           ", expected equal ones");
  }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    const float *const a = std::as_const(x[0]).data(), *const b = std::as_const(x[1]).data();
    Tensor<float> y = x[0].sole_owner() ? x[0] : x[1].sole_owner() ? x[1] : Tensor<float>::empty(batched(n, shape));
    if (relu)
      kernels::map(Cpu{}, x[0].numel(), a, b, y.data(),
                   [](float u, float v) QDISTILL_ISA_BODY { return kernels::Relu{}(kernels::Add{}(u, v)); });
    else
      kernels::map(Cpu{}, x[0].numel(), a, b, y.data(),
                   [](float u, float v) QDISTILL_ISA_BODY { return kernels::Add{}(u, v); });
    return y;
  }

  Shape shape;
  bool relu = false;
};

/// [C, H, W] -> [C H W], on the same buffer.
struct FlattenLayer {
  explicit FlattenLayer(const OpReader& op) {
    op.expect_inputs(1), op.expect_roles({});
    op.require<ShapeError>(op.input().rank() >= 1, "got a sample of one number, expected at least one dim");
    shape = Shape{op.input().numel()};
  }
  Tensor<float> run(Index n, std::span<Tensor<float>> x) const {
    const Shape to = batched(n, shape);
    return x[0].window(to, row_major(to), 0);
  }

  Shape shape;
};

}  // namespace qdistill::inline QDISTILL_ABI::runtime
