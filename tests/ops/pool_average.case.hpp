/// Average pooling.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/pool_average.hpp"

namespace qdistill_test {

/// Mean over [r0, r1) x [c0, c1), the sum divided by `count`.
inline double mean_reference(const Tensor<double>& x, Index plane, Index r0, Index r1, Index c0, Index c1,
                             Index count) {
  const Index W = x.size(-1), H = x.size(-2);
  const std::vector<double> v = x.to_vector();
  double sum = 0;
  for (Index r = r0; r < r1; ++r)
    for (Index c = c0; c < c1; ++c) sum += v[static_cast<std::size_t>((plane * H + r) * W + c)];
  return sum / static_cast<double>(count);
}

/// Windows of 3 x 2 with stride 2, padding 1 and ceil mode.
inline std::vector<double> avg_pool2d_reference(const Tensor<double>& x, bool count_include_pad) {
  const Index H = x.size(-2), W = x.size(-1), planes = x.numel() / (H * W);
  std::vector<double> y;
  for (Index n = 0; n < planes; ++n)
    for (Index top = -1;; top += 2) {
      for (Index left = -1;; left += 2) {
        const Index bottom = std::min(top + 3, H + 1), right = std::min(left + 2, W + 1);
        const Index r0 = std::max<Index>(top, 0), c0 = std::max<Index>(left, 0);
        const Index r1 = std::min(bottom, H), c1 = std::min(right, W);
        y.push_back(mean_reference(x, n, r0, r1, c0, c1,
                                   count_include_pad ? (bottom - top) * (right - left) : (r1 - r0) * (c1 - c0)));
        if (left + 2 >= W + 1 || left + 2 >= W) break;
      }
      if (top + 3 >= H + 1 || top + 2 >= H) break;
    }
  return y;
}

inline const bool avg_pool2d_registered = op_case(
    {.name = "avg_pool2d",
     .shapes = {{{2, 2, 5, 6}}, {{1, 4, 3}}, {{1, 1, 2, 1}}},
     .wrong = {{[] {
                  avg_pool2d(Tensor<float>::ones({4, 4}), 2);
                },
                "[avg_pool2d] got input [4, 4]"},
               {[] {
                  avg_pool2d(Tensor<float>::ones({1, 4, 4}), 5);
                },
                "[avg_pool2d] got size 4 with kernel size 5"},
               {[] {
                  avg_pool2d(Tensor<float>::ones({1, 4, 4}), 2, {.padding = 2});
                },
                "[avg_pool2d] got padding 2"}},
     .bench_shapes = {{16, 19, 33, 35}},
     .flops = 16.0 * 19 * 33 * 35,
     .bytes = 4.0 * 16 * 19 * (33 * 35 + 17 * 18)},
    [](const auto& a) {
      return avg_pool2d(a[0], {3, 2}, {.stride = 2, .padding = 1, .ceil_mode = true});
    },
    [](const Args<double>& a) { return avg_pool2d_reference(a[0], true); });

inline const bool avg_pool2d_halves_registered = op_case(
    {.name = "avg_pool2d, halves", .shapes = {{{2, 4, 6}}, {{1, 5, 3}}}, .more_shapes = {{{3, 10, 35}}}},
    [](const auto& a) { return avg_pool2d(a[0], 2); },
    [](const Args<double>& a) {
      std::vector<double> y;
      for (Index n = 0; n < a[0].size(0); ++n)
        for (Index i = 0; i + 1 < a[0].size(1); i += 2)
          for (Index j = 0; j + 1 < a[0].size(2); j += 2) y.push_back(mean_reference(a[0], n, i, i + 2, j, j + 2, 4));
      return y;
    });

inline const bool avg_pool2d_no_pad_registered = op_case(
    {.name = "avg_pool2d without padding in the count", .shapes = {{{2, 2, 5, 6}}, {{1, 4, 3}}}},
    [](const auto& a) {
      return avg_pool2d(a[0], {3, 2}, {.stride = 2, .padding = 1, .ceil_mode = true, .count_include_pad = false});
    },
    [](const Args<double>& a) { return avg_pool2d_reference(a[0], false); });

inline const bool avg_pool1d_registered = op_case(
    {.name = "avg_pool1d",
     .shapes = {{{2, 2, 7}}, {{1, 5}}, {{0, 1, 4}}},
     .wrong = {{[] { avg_pool1d(Tensor<float>::ones({4}), 2); }, "[avg_pool1d] got input [4]"}}},
    [](const auto& a) { return avg_pool1d(a[0], 3, {.stride = 2, .padding = 1}); },
    [](const Args<double>& a) {
      const Index L = a[0].size(-1), rows = a[0].numel() / L;
      const std::vector<double> v = a[0].to_vector();
      std::vector<double> y;
      for (Index r = 0; r < rows; ++r)
        for (Index at = -1; at + 3 <= L + 1; at += 2) {
          double sum = 0;
          for (Index i = std::max<Index>(at, 0); i < std::min(at + 3, L); ++i)
            sum += v[static_cast<std::size_t>(r * L + i)];
          y.push_back(sum / 3);
        }
      return y;
    });

inline std::vector<double> adaptive_avg_pool2d_reference(const Tensor<double>& x, Index OH, Index OW) {
  const Index H = x.size(-2), W = x.size(-1), planes = x.numel() / (H * W);
  std::vector<double> y;
  for (Index n = 0; n < planes; ++n)
    for (Index i = 0; i < OH; ++i)
      for (Index j = 0; j < OW; ++j) {
        const Index r0 = i * H / OH, r1 = ((i + 1) * H + OH - 1) / OH;
        const Index c0 = j * W / OW, c1 = ((j + 1) * W + OW - 1) / OW;
        y.push_back(mean_reference(x, n, r0, r1, c0, c1, (r1 - r0) * (c1 - c0)));
      }
  return y;
}

inline const bool adaptive_avg_pool2d_registered = op_case(
    {.name = "adaptive_avg_pool2d",
     .shapes = {{{2, 2, 5, 6}}, {{1, 2, 1}}, {{0, 1, 4, 4}}, {{1, 3, 3}}},
     .wrong = {{[] {
                  adaptive_avg_pool2d(Tensor<float>::ones({4, 4}), 2);
                },
                "[adaptive_avg_pool2d] got input [4, 4]"},
               {[] {
                  adaptive_avg_pool2d(Tensor<float>::ones({1, 0, 4}), 2);
                },
                "[adaptive_avg_pool2d] got input [1, 0, 4]"},
               {[] {
                  adaptive_avg_pool2d(Tensor<float>::ones({1, 4, 4}), {0, 1});
                },
                "[adaptive_avg_pool2d] got output size [0, 1]"}},
     .bench_shapes = {{16, 19, 33, 35}},
     .flops = 16.0 * 19 * 33 * 35,
     .bytes = 4.0 * 16 * 19 * 33 * 35},
    [](const auto& a) {
      return adaptive_avg_pool2d(a[0], {3, 2});
    },
    [](const Args<double>& a) { return adaptive_avg_pool2d_reference(a[0], 3, 2); });

inline const bool global_avg_pool_registered = op_case(
    {.name = "adaptive_avg_pool2d to one element", .shapes = {{{2, 2, 3, 3}}}, .more_shapes = {{{8, 16, 8, 8}}}},
    [](const auto& a) { return adaptive_avg_pool2d(a[0], 1); },
    [](const Args<double>& a) { return adaptive_avg_pool2d_reference(a[0], 1, 1); });

/// (..., L) as (..., 1, L).
inline Tensor<double> rows_as_planes(const Tensor<double>& x) {
  Shape shape = x.shape();
  shape.insert(x.rank() - 1, 1);
  return x.clone().window(shape, row_major(shape), 0);
}
inline const bool adaptive_avg_pool1d_registered = op_case(
    {.name = "adaptive_avg_pool1d",
     .shapes = {{{2, 2, 5}}, {{1, 2}}},
     .wrong = {{[] { adaptive_avg_pool1d(Tensor<float>::ones({4}), 2); }, "[adaptive_avg_pool1d] got input [4]"}}},
    [](const auto& a) { return adaptive_avg_pool1d(a[0], 3); },
    [](const Args<double>& a) { return adaptive_avg_pool2d_reference(rows_as_planes(a[0]), 1, 3); });

inline const bool avg_pool2d_golden = golden("avg_pool2d", [](auto g) {
  const auto x = g.leaf("input");
  const auto k = g->list("kernel_size", 2, 1), s = g->list("stride", 2, 0), p = g->list("padding", 2, 0);
  g.check(avg_pool2d(x, {k[0], k[1]},
                     {.stride = {s[0], s[1]},
                      .padding = {p[0], p[1]},
                      .ceil_mode = g->template param<bool>("ceil_mode", false),
                      .count_include_pad = g->template param<bool>("count_include_pad", true),
                      .divisor_override = g->template param<Index>("divisor_override", 0)}),
          {{"input", x}});
});

inline const bool adaptive_avg_pool2d_golden = golden("adaptive_avg_pool2d", [](auto g) {
  const auto x = g.leaf("input");
  const auto size = g->list("output_size", 2, 1);
  g.check(adaptive_avg_pool2d(x, {size[0], size[1]}), {{"input", x}});
});

}  // namespace qdistill_test
