/// Padding with a constant.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/pad.hpp"

namespace qdistill_test {

inline const bool pad_registered = op_case(
    {.name = "pad",
     .shapes = {{{2, 3, 3}}, {{1, 1, 1}}, {{2, 0, 3}}},
     .wrong = {{[] {
                  pad(Tensor<float>::ones({2, 3}), {1});
                },
                "[pad] got widths [1] for shape [2, 3]"},
               {[] {
                  pad(Tensor<float>::ones({3}), {1, 1, 1, 1});
                },
                "[pad] got widths [1, 1, 1, 1] for shape [3]"},
               {[] {
                  pad(Tensor<float>::ones({3}), {-2, -2});
                },
                "[pad] got widths -2 and -2 for dim 0 of shape [3]"},
               {[] {
                  pad(Tensor<float>::ones({3}), {std::numeric_limits<Index>::min(), 0});
                },
                "[pad] got widths"},
               {[] {
                  pad(Tensor<float>::ones({3}), {Index{1} << 60, 0});
                },
                "2^44 bytes"}},
     .bench_shapes = {{60, 61, 62}},
     .bytes = 4.0 * 60 * (61 * 62 + 64 * 64)},
    [](const auto& a) {
      using T = typename std::decay_t<decltype(a[0])>::value_type;
      return pad(a[0], {1, 1, 0, 3}, T(0.5));
    },
    [](const Args<double>& a) {
      std::vector<double> y;
      const Shape s = a[0].shape();
      for (Index n = 0; n < s[0]; ++n)
        for (Index i = 0; i < s[1] + 3; ++i)
          for (Index j = -1; j < s[2] + 1; ++j) y.push_back(i < s[1] && j >= 0 && j < s[2] ? a[0].at({n, i, j}) : 0.5);
      return y;
    });

inline const bool crop_registered = op_case(
    {.name = "pad with negative widths", .shapes = {{{4, 5}}, {{2, 3}}}},
    [](const auto& a) {
      return pad(a[0], {-1, -2, 1, -2});
    },
    [](const Args<double>& a) {
      std::vector<double> y;
      const Shape s = a[0].shape();
      for (Index i = -1; i < s[0] - 2; ++i)
        for (Index j = 1; j < s[1] - 2; ++j) y.push_back(i < 0 ? 0.0 : a[0].at({i, j}));
      return y;
    });

inline const bool pad_golden = golden("pad", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const auto x = g.leaf("input");
  const auto widths = g->params().at("pad_last_dim_first").template get<std::vector<Index>>();
  g.check(pad(x, std::span<const Index>(widths), static_cast<T>(g->template param<double>("value", 0))),
          {{"input", x}});
});

}  // namespace qdistill_test
