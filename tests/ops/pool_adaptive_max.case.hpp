/// Max pooling over adaptive bins.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/pool_adaptive_max.hpp"

namespace qdistill_test {

/// x (..., H, W) to (..., OH, OW).
inline std::vector<double> adaptive_max_pool2d_reference(const Tensor<double>& x, Index OH, Index OW) {
  const Index H = x.size(-2), W = x.size(-1), planes = x.numel() / (H * W);
  const std::vector<double> v = x.to_vector();
  std::vector<double> y;
  for (Index n = 0; n < planes; ++n)
    for (Index i = 0; i < OH; ++i)
      for (Index j = 0; j < OW; ++j) {
        double best = -1e300;
        for (Index r = i * H / OH; r * OH < (i + 1) * H; ++r)
          for (Index c = j * W / OW; c * OW < (j + 1) * W; ++c)
            best = std::max(best, v[static_cast<std::size_t>((n * H + r) * W + c)]);
        y.push_back(best);
      }
  return y;
}

inline const bool adaptive_max_pool2d_registered = op_case(
    {.name = "adaptive_max_pool2d",
     .shapes = {{{2, 2, 5, 6}}, {{1, 2, 1}}, {{0, 1, 4, 4}}, {{1, 3, 3}}},
     .wrong = {{[] {
                  adaptive_max_pool2d(Tensor<float>::ones({4, 4}), 2);
                },
                "[adaptive_max_pool2d] got input [4, 4]"},
               {[] {
                  adaptive_max_pool2d(Tensor<float>::ones({1, 0, 4}), 2);
                },
                "[adaptive_max_pool2d] got input [1, 0, 4]"},
               {[] {
                  adaptive_max_pool2d(Tensor<float>::ones({1, 4, 4}), {0, 1});
                },
                "[adaptive_max_pool2d] got output size [0, 1]"},
               {[] { adaptive_max_pool2d(Tensor<float>{}, 1); }, "[adaptive_max_pool2d] got an undefined tensor"}},
     .bench_shapes = {{16, 19, 133, 35}},
     .bytes = 4.0 * 16 * 19 * 133 * 35,
     .more_shapes = {{{3, 17, 40}}, {{2, 3, 16, 16}}}},
    [](const auto& a) {
      return adaptive_max_pool2d(a[0], {3, 2});
    },
    [](const Args<double>& a) { return adaptive_max_pool2d_reference(a[0], 3, 2); });

inline const bool global_max_pool_registered = op_case(
    {.name = "adaptive_max_pool2d to one element", .shapes = {{{2, 2, 3, 3}}}, .more_shapes = {{{8, 16, 8, 8}}}},
    [](const auto& a) { return adaptive_max_pool2d(a[0], 1); },
    [](const Args<double>& a) { return adaptive_max_pool2d_reference(a[0], 1, 1); });

inline const bool adaptive_max_pool1d_registered = op_case(
    {.name = "adaptive_max_pool1d",
     .shapes = {{{2, 2, 5}}, {{1, 2}}},
     .wrong = {{[] { adaptive_max_pool1d(Tensor<float>::ones({4}), 2); }, "[adaptive_max_pool1d] got input [4]"}}},
    [](const auto& a) { return adaptive_max_pool1d(a[0], 3); },
    [](const Args<double>& a) {
      Shape shape = a[0].shape();
      shape.insert(a[0].rank() - 1, 1);
      return adaptive_max_pool2d_reference(a[0].clone().window(shape, row_major(shape), 0), 1, 3);
    });

}  // namespace qdistill_test
