/// Convolutions (cross-correlations, as in PyTorch) of one and two dimensions, also with the ReLU in the epilogue.
#pragma once

#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/conv_data.hpp"
#include "qdistill/kernels/cpu/conv_weights.hpp"
#include "qdistill/ops/conv_options.hpp"
#include "qdistill/ops/linear.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// Throws ValueError or ShapeError for what the kernels cannot run; x (N, C, H, W) and w (O, C / groups, KH, KW) only
/// serve the text.
inline void check_convolution(const char* op, const kernels::Conv2dShape& s, const Shape& x, const Shape& w) {
  constexpr Index most = Index{1} << 31;
  check(s.stride_h >= 1 && s.stride_w >= 1 && s.stride_h <= most && s.stride_w <= most, op, "got stride ",
        Shape{s.stride_h, s.stride_w}, ", expected at least 1");
  check(s.dil_h >= 1 && s.dil_w >= 1 && s.dil_h <= most && s.dil_w <= most, op, "got dilation ",
        Shape{s.dil_h, s.dil_w}, ", expected at least 1");
  check(s.pad_h >= 0 && s.pad_w >= 0 && s.pad_h <= most && s.pad_w <= most, op, "got padding ", Shape{s.pad_h, s.pad_w},
        ", expected at least 0");
  check(s.groups >= 1 && s.O % s.groups == 0, op, "got groups ", s.groups, " for weight ", w,
        ", expected a divisor of its first dim");
  check<ShapeError>(s.C % s.groups == 0 && s.C / s.groups == w[1], op, "got input ", x, ", weight ", w, " and groups ",
                    s.groups, ", expected (N, C, ...) and (O, C / groups, ...)");
  check<ShapeError>(s.C > 0 && s.O > 0 && s.KH > 0 && s.KW > 0, op, "got weight ", w,
                    ", expected channels and a kernel of at least 1");
  const Index high = s.H + 2 * s.pad_h, wide = s.W + 2 * s.pad_w;
  check<ShapeError>(high > 0 && wide > 0 && s.KH - 1 <= (high - 1) / s.dil_h && s.KW - 1 <= (wide - 1) / s.dil_w, op,
                    "got input ", x, " and weight ", w, " with padding ", Shape{s.pad_h, s.pad_w}, " and dilation ",
                    Shape{s.dil_h, s.dil_w}, ", expected a kernel that fits into the padded input");
  const double padded = static_cast<double>(high) * static_cast<double>(wide);
  check<ShapeError>(padded * 8.0 * static_cast<double>(s.C > s.O ? s.C : s.O) < 0x1p44, op, "got input ", x,
                    " with padding ", Shape{s.pad_h, s.pad_w}, ", which is too large");
}

/// y of shape `shape` = x convolved with w; `s` holds all sizes.
template <class T>
Tensor<T> convolution(const char* op, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias,
                      const kernels::Conv2dShape& s, const Shape& shape, bool relu) {
  check<ShapeError>(!bias.defined() || (bias.rank() == 1 && bias.shape()[0] == s.O), op, "got bias ", bias.shape(),
                    " for weight ", w.shape(), ", expected (O)");
  const Tensor<T> xd = dense(x), wd = dense(w), bd = dense(bias);
  Tensor<T> y = Tensor<T>::empty(shape, x.device());
  on_device(x.device(),
            [&](auto dev) { kernels::conv2d_forward(dev, s, xd.data(), wd.data(), bd.data(), y.data(), relu); });
  return record(op, y, inputs(x, w, bias),
                [x = save_if(w.requires_grad(), xd), w = save_if(x.requires_grad(), wd), y = save_if(relu, y), s, relu](
                    Tensor<T>& dy, Gradients<T>& dx) mutable {
                  const Tensor<T> dz = relu ? through_relu(dy, y.get()) : dy;
                  y.drop(dx.last());
                  // The weights first: x may go before dL/dx comes.
                  on_device(dz.device(), [&](auto dev) {
                    const bool together = dx[1].wanted() && dx[2].wanted() && dx[1].mode() == dx[2].mode();
                    if (dx[1].wanted())
                      kernels::conv2d_backward_weights(dev, s, x.data(), dz.data(), dx[1].data(),
                                                       together ? dx[2].data() : nullptr, dx[1].mode());
                    if (dx[2].wanted() && !together)
                      kernels::sum_repeated(dev, {s.N, s.O, s.out_h() * s.out_w()}, {0, 1, 0}, dz.data(), dx[2].data(),
                                            dx[2].mode());
                    x.drop(dx.last());
                    if (dx[0].wanted())
                      kernels::conv2d_backward_data(dev, s, dz.data(), w.data(), dx[0].data(), dx[0].mode());
                  });
                });
}

template <class T>
Tensor<T> conv2d(const char* op, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias,
                 const Conv2dOptions& options, bool relu) {
  check_defined(op, x), check_defined(op, w);
  check<ShapeError>((x.rank() == 4 || x.rank() == 3) && w.rank() == 4, op, "got input ", x.shape(), " and weight ",
                    w.shape(), ", expected (N, C, H, W) or (C, H, W), and (O, C / groups, KH, KW)");
  const int c = x.rank() - 3;
  kernels::Conv2dShape s;
  s.N = c == 1 ? x.shape()[0] : 1, s.C = x.shape()[c], s.H = x.shape()[c + 1], s.W = x.shape()[c + 2];
  s.O = w.shape()[0], s.KH = w.shape()[2], s.KW = w.shape()[3];
  s.stride_h = options.stride.h, s.stride_w = options.stride.w, s.pad_h = options.padding.h;
  s.pad_w = options.padding.w, s.dil_h = options.dilation.h, s.dil_w = options.dilation.w, s.groups = options.groups;
  check_convolution(op, s, x.shape(), w.shape());
  const Shape shape = c == 1 ? Shape{s.N, s.O, s.out_h(), s.out_w()} : Shape{s.O, s.out_h(), s.out_w()};
  return convolution(op, x, w, bias, s, shape, relu);
}

}  // namespace detail

/// y[n, o] = bias[o] + sum over c of x[n, c] correlated with w[o, c].  x (N, C, H, W) or (C, H, W), w (O, C / groups,
/// KH, KW), bias (O) or undefined, y (N, O, OH, OW) with OH = (H + 2 padding - dilation (KH - 1) - 1) / stride + 1.
/// Throws ShapeError and ValueError.
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias, const Conv2dOptions& options = {}) {
  return detail::conv2d("conv2d", x, w, bias, options, false);
}
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& w, const Conv2dOptions& options = {}) {
  return detail::conv2d("conv2d", x, w, Tensor<T>{}, options, false);
}

/// y = max(conv2d(x, w, bias), 0), in one pass; the gradient is that of the composition, with 0 at 0.
template <class T>
Tensor<T> conv2d_relu(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias = {},
                      const Conv2dOptions& options = {}) {
  return detail::conv2d("conv2d_relu", x, w, bias, options, true);
}

/// As conv2d with one spatial dim: x (N, C, L) or (C, L), w (O, C / groups, K), bias (O) or undefined, y (N, O, OL).
template <class T>
Tensor<T> conv1d(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias = {},
                 const Conv1dOptions& options = {}) {
  const char* const op = "conv1d";
  detail::check_defined(op, x), detail::check_defined(op, w);
  check<ShapeError>((x.rank() == 3 || x.rank() == 2) && w.rank() == 3, op, "got input ", x.shape(), " and weight ",
                    w.shape(), ", expected (N, C, L) or (C, L), and (O, C / groups, K)");
  const int c = x.rank() - 2;
  kernels::Conv2dShape s;
  s.N = c == 1 ? x.shape()[0] : 1, s.C = x.shape()[c], s.H = 1, s.W = x.shape()[c + 1];
  s.O = w.shape()[0], s.KH = 1, s.KW = w.shape()[2];
  s.stride_w = options.stride, s.pad_w = options.padding, s.dil_w = options.dilation, s.groups = options.groups;
  detail::check_convolution(op, s, x.shape(), w.shape());
  const Shape shape = c == 1 ? Shape{s.N, s.O, s.out_w()} : Shape{s.O, s.out_w()};
  return detail::convolution(op, x, w, bias, s, shape, false);
}

}  // namespace qdistill::inline QDISTILL_ABI
