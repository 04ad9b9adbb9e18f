/// Convolutions, plain and with ReLU.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/conv.hpp"

namespace qdistill_test {

/// x (N, C, H, W), w (O, C / groups, KH, KW), bias (O) if there is a third argument.
inline std::vector<double> conv2d_reference(const Args<double>& a, Conv2dOptions o, bool relu = false) {
  const Tensor<double>&x = a[0], &w = a[1];
  const Index C = x.shape()[1], H = x.shape()[2], W = x.shape()[3], O = w.shape()[0], c_group = w.shape()[1];
  const Index KH = w.shape()[2], KW = w.shape()[3];
  const Index OH = (H + 2 * o.padding.h - o.dilation.h * (KH - 1) - 1) / o.stride.h + 1;
  const Index OW = (W + 2 * o.padding.w - o.dilation.w * (KW - 1) - 1) / o.stride.w + 1;
  std::vector<double> y;
  for (Index n = 0; n < x.shape()[0]; ++n)
    for (Index k = 0; k < O; ++k)
      for (Index i = 0; i < OH; ++i)
        for (Index j = 0; j < OW; ++j) {
          double sum = a.size() > 2 ? a[2].at({k}) : 0;
          const Index first = k / (O / o.groups) * (C / o.groups);
          for (Index c = 0; c < c_group; ++c)
            for (Index p = 0; p < KH; ++p)
              for (Index q = 0; q < KW; ++q) {
                const Index r = i * o.stride.h - o.padding.h + p * o.dilation.h;
                const Index s = j * o.stride.w - o.padding.w + q * o.dilation.w;
                if (r >= 0 && r < H && s >= 0 && s < W) sum += x.at({n, first + c, r, s}) * w.at({k, c, p, q});
              }
          y.push_back(relu && !(sum > 0) ? 0 : sum);
        }
  return y;
}

inline const std::vector<std::vector<Shape>> conv2d_shapes = {
    {{2, 2, 4, 5}, {3, 2, 3, 3}, {3}}, {{1, 1, 3, 3}, {2, 1, 3, 3}, {2}}, {{0, 2, 4, 4}, {2, 2, 3, 3}, {2}}};
inline const std::vector<std::vector<Shape>> conv2d_more_shapes = {
    {{3, 5, 17, 19}, {7, 5, 3, 3}, {7}}, {{2, 16, 9, 8}, {33, 16, 5, 4}, {33}}, {{1, 3, 32, 32}, {20, 3, 5, 5}, {20}}};
inline constexpr double conv2d_bench_flops = 2.0 * 8 * 50 * 14 * 15 * 31 * 9;
inline constexpr double conv2d_bench_bytes = 4.0 * (8 * 31 * 14 * 15 + 8 * 50 * 14 * 15 + 50 * 31 * 9);

inline const bool conv2d_registered = op_case(
    {.name = "conv2d",
     .shapes = conv2d_shapes,
     .tolerance = 1e-5,
     .wrong =
         {{[] {
             conv2d(Tensor<float>::ones({2, 3, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}));
           },
           "[conv2d] got input [2, 3, 8, 8], weight [4, 2, 3, 3] and groups 1, expected (N, C, ...) and (O, C / "
           "groups"},
          {[] {
             conv2d(Tensor<float>::ones({8, 8}), Tensor<float>::ones({4, 2, 3, 3}));
           },
           "[conv2d] got input [8, 8]"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 2, 8}), Tensor<float>::ones({4, 2, 3, 3}));
           },
           "expected a kernel that fits into the padded input"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}), {.stride = 0});
           },
           "[conv2d] got stride [0, 0], expected at least 1"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}), {.padding = {1, -1}});
           },
           "[conv2d] got padding [1, -1], expected at least 0"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}), {.dilation = 0});
           },
           "[conv2d] got dilation [0, 0], expected at least 1"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}), {.groups = 3});
           },
           "[conv2d] got groups 3"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}), {.groups = 0});
           },
           "[conv2d] got groups 0"},
          {[] {
             conv2d(Tensor<float>::ones({1, 0, 8, 8}), Tensor<float>::ones({4, 0, 3, 3}));
           },
           "expected channels and a kernel of at least 1"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}),
                    {.stride = Index{1} << 31, .padding = Index{1} << 31});
           },
           "which is too large"},
          {[] {
             conv2d(Tensor<float>::ones({1, 2, 8, 8}), Tensor<float>::ones({4, 2, 3, 3}), Tensor<float>::ones({3}));
           },
           "[conv2d] got bias [3] for weight [4, 2, 3, 3], expected (O)"}},
     .bench_shapes = {{8, 31, 14, 15}, {50, 31, 3, 3}, {50}},
     .flops = conv2d_bench_flops,
     .bytes = conv2d_bench_bytes,
     .more_shapes = conv2d_more_shapes},
    [](const auto& a) { return conv2d(a[0], a[1], a[2], {.padding = 1}); },
    [](const Args<double>& a) { return conv2d_reference(a, {.padding = 1}); });

inline const bool conv2d_relu_registered = op_case(
    {.name = "conv2d_relu",
     .shapes = conv2d_shapes,
     .tolerance = 1e-5,
     .wrong = {{[] {
                  conv2d_relu(Tensor<float>::ones({8, 8}), Tensor<float>::ones({4, 2, 3, 3}));
                },
                "[conv2d_relu] got input [8, 8]"}},
     .bench_shapes = {{8, 31, 14, 15}, {50, 31, 3, 3}, {50}},
     .flops = conv2d_bench_flops,
     .bytes = conv2d_bench_bytes,
     .more_shapes = conv2d_more_shapes},
    [](const auto& a) { return conv2d_relu(a[0], a[1], a[2], {.padding = 1}); },
    [](const Args<double>& a) { return conv2d_reference(a, {.padding = 1}, true); });

inline constexpr Conv2dOptions conv2d_odd_options = {
    .stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}, .groups = 2};
inline const bool conv2d_odd_registered = op_case(
    {.name = "conv2d with stride, dilation and groups",
     .shapes = {{{2, 4, 5, 6}, {2, 2, 2, 3}, {2}}, {{1, 2, 4, 5}, {4, 1, 3, 2}, {4}}},
     .tolerance = 1e-5,
     .bench_shapes = {{6, 24, 19, 21}, {26, 12, 3, 3}, {26}},
     .flops = 2.0 * 6 * 26 * 10 * 21 * 12 * 9,
     .bytes = 4.0 * (6 * 24 * 19 * 21 + 6 * 26 * 10 * 21 + 26 * 12 * 9),
     .more_shapes = {{{3, 6, 17, 18}, {8, 3, 3, 5}, {8}}}},
    [](const auto& a) { return conv2d(a[0], a[1], a[2], conv2d_odd_options); },
    [](const Args<double>& a) { return conv2d_reference(a, conv2d_odd_options); });

inline const bool conv2d_no_bias_registered = op_case(
    {.name = "conv2d without bias and batch dim", .shapes = {{{2, 4, 5}, {3, 2, 3, 3}}}},
    [](const auto& a) { return conv2d(a[0], a[1], {.padding = 1}); },
    [](const Args<double>& a) {
      return conv2d_reference({a[0].window({1, a[0].shape()[0], a[0].shape()[1], a[0].shape()[2]},
                                           {0, a[0].strides()[0], a[0].strides()[1], a[0].strides()[2]}, 0),
                               a[1]},
                              {.padding = 1});
    });

inline const bool conv1d_registered = op_case(
    {.name = "conv1d",
     .shapes = {{{2, 2, 7}, {3, 2, 3}, {3}}, {{2, 5}, {1, 2, 2}, {1}}},
     .tolerance = 1e-5,
     .wrong = {{[] {
                  conv1d(Tensor<float>::ones({3, 8}), Tensor<float>::ones({4, 2, 3}));
                },
                "[conv1d] got input [3, 8], weight [4, 2, 3] and groups 1"},
               {[] {
                  conv1d(Tensor<float>::ones({2, 8}), Tensor<float>::ones({4, 2, 3, 1}));
                },
                "[conv1d] got input"}},
     .bench_shapes = {{9, 24, 130}, {50, 24, 5}, {50}},
     .flops = 2.0 * 9 * 50 * 64 * 24 * 5,
     .bytes = 4.0 * (9 * 24 * 130 + 9 * 50 * 64 + 50 * 24 * 5),
     .more_shapes = {{{3, 5, 33}, {7, 5, 4}, {7}}}},
    [](const auto& a) { return conv1d(a[0], a[1], a[2], {.stride = 2, .padding = 1}); },
    [](const Args<double>& a) {
      const bool batched = a[0].rank() == 3;
      const Tensor<double> x = a[0].clone(), w = a[1].clone();
      const Shape xs =
          batched ? Shape{x.shape()[0], x.shape()[1], 1, x.shape()[2]} : Shape{1, x.shape()[0], 1, x.shape()[1]};
      const Shape ws{w.shape()[0], w.shape()[1], 1, w.shape()[2]};
      return conv2d_reference({x.window(xs, row_major(xs), 0), w.window(ws, row_major(ws), 0), a[2]},
                              {.stride = {1, 2}, .padding = {0, 1}});
    });

inline const bool conv2d_golden = golden("conv2d", [](auto g) {
  const auto x = g.leaf("input"), w = g.leaf("weight"), bias = g.leaf("bias");
  const auto stride = g->list("stride", 2, 1), padding = g->list("padding", 2, 0), dilation = g->list("dilation", 2, 1);
  const Conv2dOptions options{.stride = {stride[0], stride[1]},
                              .padding = {padding[0], padding[1]},
                              .dilation = {dilation[0], dilation[1]},
                              .groups = g->template param<Index>("groups", 1)};
  g.check(conv2d(x, w, bias, options), {{"input", x}, {"weight", w}, {"bias", bias}});
});

inline const bool conv1d_golden = golden("conv1d", [](auto g) {
  const auto x = g.leaf("input"), w = g.leaf("weight"), bias = g.leaf("bias");
  const Conv1dOptions options{.stride = g->list("stride", 1, 1)[0],
                              .padding = g->list("padding", 1, 0)[0],
                              .dilation = g->list("dilation", 1, 1)[0],
                              .groups = g->template param<Index>("groups", 1)};
  g.check(conv1d(x, w, bias, options), {{"input", x}, {"weight", w}, {"bias", bias}});
});

}  // namespace qdistill_test
