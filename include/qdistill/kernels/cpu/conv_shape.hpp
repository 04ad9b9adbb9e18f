/// Sizes of a two-dimensional convolution (cross-correlation, as in PyTorch), NCHW.
#pragma once

#include "qdistill/core/abi.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// x (N, C, H, W), weight (O, C / groups, KH, KW), y (N, O, out_h, out_w). Strides and dilations are at least 1,
/// padding at least 0, groups divide C and O. A kernel larger than the padded image gives an empty output.
struct Conv2dShape {
  Index N = 0, C = 0, H = 0, W = 0;
  Index O = 0, KH = 1, KW = 1;
  Index stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dil_h = 1, dil_w = 1, groups = 1;

  Index out_h() const noexcept { return out(H, KH, stride_h, pad_h, dil_h); }
  Index out_w() const noexcept { return out(W, KW, stride_w, pad_w, dil_w); }

 private:
  static Index out(Index size, Index k, Index stride, Index pad, Index dil) noexcept {
    const Index span = size + 2 * pad - dil * (k - 1) - 1;
    return span < 0 ? 0 : span / stride + 1;
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels
