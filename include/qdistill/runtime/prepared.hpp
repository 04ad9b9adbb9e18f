/// Weights in the form in which the kernels read them, made once for all calls of a loaded network.
///
/// Packing permutes a weight, so the packed one takes the decoded one's place in memory. Winograd's transform of a
/// convolution, 36 numbers for each pair of channels, is made at the first call that gains from it and kept beside the
/// packed weights, from which every other call is served.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "qdistill/core/tensor.hpp"
#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/gemm.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

/// A convolution's weights. Copies share them.
class ConvWeights {
 public:
  ConvWeights() = default;
  /// `packed`: what conv2d_pack wrote.
  explicit ConvWeights(Tensor<float> packed) : held_(std::make_shared<Held>()) { held_->packed = std::move(packed); }
  /// What a call for `s` runs with; may be called from several threads at a time.
  kernels::ConvFilters<float> filters(const kernels::Conv2dShape& s) const {
    kernels::ConvFilters<float> out{std::as_const(held_->packed).data()};
    if (kernels::conv2d_wants_transform<float>(s)) {
      std::call_once(held_->once, [&] {
        Tensor<float> made = Tensor<float>::empty({kernels::conv2d_transform_size(s)});
        kernels::conv2d_transform(Cpu{}, s, out.packed, made.data());
        held_->transformed = std::move(made);
      });
      out.winograd = std::as_const(held_->transformed).data();
    }
    return out;
  }

 private:
  struct Held {
    Tensor<float> packed, transformed;
    std::once_flag once;
  };
  std::shared_ptr<Held> held_;
};

/// Packs decoded weights (op_reader.hpp, `roomy`); one that several layers share is packed once.
class WeightPacker {
 public:
  /// For y = x weight^T.
  Tensor<float> linear(Tensor<float> weight) {
    Tensor<float>& held = linear_[std::as_const(weight).data()];
    if (!held.defined()) {
      const Index out = weight.shape()[0], in = weight.shape()[1];
      held = pack(std::move(weight), kernels::packed_columns_size<float>(out, in),
                  [=](const float* from, float* to) { kernels::pack_columns(Cpu{}, true, out, in, from, in, to); });
    }
    return held;
  }
  ConvWeights conv(const kernels::Conv2dShape& s, Tensor<float> weight) {
    const auto [at, added] = conv_.try_emplace({std::as_const(weight).data(), s.groups});
    if (added) {
      const Index size = weight.numel();
      at->second = ConvWeights(pack(std::move(weight), size,
                                    [&](const float* from, float* to) { kernels::conv2d_pack(Cpu{}, s, from, to); }));
    }
    return at->second;
  }

 private:
  /// `size` elements, written by f(weight, to): in the weight's place unless another layer still needs it or there is
  /// no room behind it.
  template <class F>
  static Tensor<float> pack(Tensor<float> weight, Index size, F f) {
    const Shape flat{size};
    if (!weight.sole_owner() || weight.storage()->bytes() < static_cast<std::size_t>(size) * sizeof(float)) {
      Tensor<float> out = Tensor<float>::empty(flat);
      f(std::as_const(weight).data(), out.data());
      return out;
    }
    const float* const from = std::as_const(weight).data();
    const std::vector<float> copy(from, from + weight.numel());
    f(copy.data(), weight.data());
    return weight.window(flat, row_major(flat), 0);
  }

  std::map<const float*, Tensor<float>> linear_;
  std::map<std::pair<const float*, Index>, ConvWeights> conv_;
};

}  // namespace qdistill::inline QDISTILL_ABI::runtime
