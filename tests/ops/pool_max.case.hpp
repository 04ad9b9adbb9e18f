/// Max pooling.
#pragma once

#include <limits>

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/pool_max.hpp"

namespace qdistill_test {

/// x (..., H, W); every window clipped to the input.
inline std::vector<double> max_pool2d_reference(const Tensor<double>& x, Size2d k, MaxPool2dOptions o) {
  const Index H = x.shape()[x.rank() - 2], W = x.shape()[x.rank() - 1], planes = H * W > 0 ? x.numel() / (H * W) : 0;
  const auto count = [&](Index size, Index kernel, Index s, Index p, Index d) {
    Index n = 0;  // windows that lie in the padded input, in ceil mode all that start in the input or before it
    for (Index at = -p; o.ceil_mode ? at < size : at + d * (kernel - 1) < size + p; at += s) {
      ++n;
      if (at + d * (kernel - 1) >= size + p - 1) break;
    }
    return n;
  };
  const Index sh = o.stride.h ? o.stride.h : k.h, sw = o.stride.w ? o.stride.w : k.w;
  const Index OH = count(H, k.h, sh, o.padding.h, o.dilation.h), OW = count(W, k.w, sw, o.padding.w, o.dilation.w);
  const std::vector<double> v = x.to_vector();
  std::vector<double> y;
  for (Index n = 0; n < planes; ++n)
    for (Index i = 0; i < OH; ++i)
      for (Index j = 0; j < OW; ++j) {
        double best = -std::numeric_limits<double>::infinity();
        for (Index p = 0; p < k.h; ++p)
          for (Index q = 0; q < k.w; ++q) {
            const Index r = i * sh - o.padding.h + p * o.dilation.h, c = j * sw - o.padding.w + q * o.dilation.w;
            if (r >= 0 && r < H && c >= 0 && c < W)
              best = std::max(best, v[static_cast<std::size_t>(n * H * W + r * W + c)]);
          }
        y.push_back(best);
      }
  return y;
}

inline const bool max_pool2d_registered = op_case(
    {.name = "max_pool2d",
     .shapes = {{{2, 2, 4, 6}}, {{1, 5, 3}}, {{0, 2, 4, 4}}, {{1, 1, 2, 2}}},
     .wrong = {{[] {
                  max_pool2d(Tensor<float>::ones({4, 4}), 2);
                },
                "[max_pool2d] got input [4, 4]"},
               {[] {
                  max_pool2d(Tensor<float>::ones({1, 4, 4}), 5);
                },
                "[max_pool2d] got size 4 with kernel size 5"},
               {[] {
                  max_pool2d(Tensor<float>::ones({1, 4, 4}), 0);
                },
                "[max_pool2d] got kernel size 0"},
               {[] {
                  max_pool2d(Tensor<float>::ones({1, 4, 4}), 2, {.stride = -1});
                },
                "[max_pool2d] got stride -1"},
               {[] {
                  max_pool2d(Tensor<float>::ones({1, 4, 4}), 2, {.padding = 2});
                },
                "[max_pool2d] got padding 2 for kernel size 2, expected at most half of it"},
               {[] {
                  max_pool2d(Tensor<float>::ones({1, 4, 4}), 2, {.dilation = 0});
                },
                "[max_pool2d] got dilation 0"}},
     .bench_shapes = {{16, 19, 33, 35}},
     .bytes = 4.0 * 16 * 19 * (33 * 35 + 16 * 17) + 16 * 19 * 16 * 17,
     .more_shapes = {{{3, 4, 32, 32}}, {{2, 3, 33, 39}}, {{1, 2, 4, 270}}}},
    [](const auto& a) { return max_pool2d(a[0], 2); },
    [](const Args<double>& a) { return max_pool2d_reference(a[0], 2, {}); });

inline constexpr MaxPool2dOptions max_pool_overlapping = {.stride = 2, .padding = 1, .ceil_mode = true};
inline const bool max_pool2d_overlapping_registered = op_case(
    {.name = "max_pool2d, overlapping windows",
     .shapes = {{{2, 2, 5, 6}}, {{1, 7, 4}}},
     .bench_shapes = {{16, 19, 33, 35}},
     .bytes = 4.0 * 16 * 19 * (33 * 35 + 17 * 18) + 16 * 19 * 17 * 18,
     .more_shapes = {{{2, 3, 17, 12}}}},
    [](const auto& a) { return max_pool2d(a[0], 3, max_pool_overlapping); },
    [](const Args<double>& a) { return max_pool2d_reference(a[0], 3, max_pool_overlapping); });

inline const bool max_pool2d_large_registered = op_case(
    {.name = "max_pool2d, a window of more than 255 taps", .shapes = {{{1, 18, 17}}}},
    [](const auto& a) {
      return max_pool2d(a[0], {17, 16}, {.stride = 1});
    },
    [](const Args<double>& a) {
      return max_pool2d_reference(a[0], {17, 16}, {.stride = 1});
    });

inline const bool max_pool1d_registered = op_case(
    {.name = "max_pool1d",
     .shapes = {{{2, 2, 7}}, {{1, 6}}},
     .wrong = {{[] { max_pool1d(Tensor<float>::ones({4}), 2); }, "[max_pool1d] got input [4]"}},
     .bench_shapes = {{50, 19, 133}},
     .bytes = 4.0 * 50 * 19 * (133 + 67)},
    [](const auto& a) { return max_pool1d(a[0], 3, {.stride = 2, .padding = 1}); },
    [](const Args<double>& a) {
      const Tensor<double> x = a[0].clone();
      Shape shape = x.shape();
      shape.insert(x.rank() - 1, 1);
      return max_pool2d_reference(x.window(shape, row_major(shape), 0), {1, 3}, {.stride = {1, 2}, .padding = {0, 1}});
    });

inline const bool max_pool2d_golden = golden("max_pool2d", [](auto g) {
  const auto x = g.leaf("input");
  const auto k = g->list("kernel_size", 2, 1), s = g->list("stride", 2, 0), p = g->list("padding", 2, 0),
             d = g->list("dilation", 2, 1);
  const auto y = max_pool2d_with_indices(x, {k[0], k[1]},
                                         {.stride = {s[0], s[1]},
                                          .padding = {p[0], p[1]},
                                          .dilation = {d[0], d[1]},
                                          .ceil_mode = g->template param<bool>("ceil_mode", false)});
  if (g->has("indices")) g->compare("indices", y.indices);
  g.check(y.output, {{"input", x}});
});

}  // namespace qdistill_test
