/// Batch normalisation folded into the convolution or linear layer in front of it, whose output channel c it scales:
///
///   scale_c = weight_c / sqrt(running_var_c + eps)
///   w'_c = scale_c w_c        b'_c = scale_c (b_c - running_mean_c) + bias_c
///
/// It is done on the layers that are about to run, after their weights were decoded, so it serves every network and
/// every encoding and leaves the packed file's codes alone. The result is the same up to rounding: each weight and bias
/// is rounded once more, and the sums run over scaled weights. It is not valid, and not done, where anything stands
/// between the two (the ReLU of the first paper's networks, a sum), where the layer's result is read elsewhere too (a
/// shortcut, the network's output), or where the channels are not the linear layer's outputs ([N, C, L] inputs).
#pragma once

#include "qdistill/runtime/layers.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

/// Folds `norm` into `product`, a LinearLayer or ConvLayer whose result it alone reads. False, with nothing changed, if
/// it cannot be: a ReLU is in between, the channels are others, or a factor is not finite.
template <class Product>
bool fold_batch_norm(Product& product, const BatchNormLayer& norm) {
  const Index channels = norm.s.channels;
  if (product.relu || product.weight.shape()[0] != channels) return false;
  if (std::is_same_v<Product, LinearLayer> && product.shape.rank() != 1) return false;  // its outputs come last
  const Index taps = product.weight.numel() / channels;
  Tensor<float> weight = roomy(product.weight.shape()), bias = Tensor<float>::empty({channels});
  for (Index c = 0; c < channels; ++c) {
    const auto at = [c](const Tensor<float>& t, double otherwise) {
      return t.defined() ? static_cast<double>(t.data()[c]) : otherwise;
    };
    const double scale = at(norm.inverse_std, 1) * at(norm.weight, 1);
    const double shift = scale * (at(product.bias, 0) - at(norm.mean, 0)) + at(norm.bias, 0);
    if (!std::isfinite(scale) || !std::isfinite(shift)) return false;
    const float* const from = std::as_const(product.weight).data() + c * taps;
    float* const to = weight.data() + c * taps;
    for (Index i = 0; i < taps; ++i) to[i] = static_cast<float>(scale * static_cast<double>(from[i]));
    bias.data()[c] = static_cast<float>(shift);
  }
  product.weight = std::move(weight), product.bias = std::move(bias);
  return true;
}

}  // namespace qdistill::inline QDISTILL_ABI::runtime
