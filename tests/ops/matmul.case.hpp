/// Matrix products.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/matmul.hpp"

namespace qdistill_test {

inline std::vector<double> matmul_reference(const Args<double>& args) {
  Tensor<double> a = args[0], b = args[1];
  if (a.rank() == 1) a = unsqueeze(a, 0);
  if (b.rank() == 1) b = unsqueeze(b, 1);
  const Index M = a.size(-2), K = a.size(-1), N = b.size(-1);
  Shape a_batch(a.shape().span().first(static_cast<std::size_t>(a.rank() - 2)));
  Shape b_batch(b.shape().span().first(static_cast<std::size_t>(b.rank() - 2)));
  Shape a_shape = broadcast("test", a_batch, b_batch), b_shape = a_shape;
  const Index batch = a_shape.numel();
  a_shape.push_back(M), a_shape.push_back(K), b_shape.push_back(K), b_shape.push_back(N);
  const std::vector<double> u = expand(a, a_shape).to_vector(), v = expand(b, b_shape).to_vector();
  std::vector<double> y;
  for (Index n = 0; n < batch; ++n)
    for (Index i = 0; i < M; ++i)
      for (Index j = 0; j < N; ++j) {
        double sum = 0;
        for (Index k = 0; k < K; ++k)
          sum += u[static_cast<std::size_t>((n * M + i) * K + k)] * v[static_cast<std::size_t>((n * K + k) * N + j)];
        y.push_back(sum);
      }
  return y;
}

inline const bool matmul_registered = op_case(
    {.name = "matmul",
     .shapes = {{{2, 3}, {3, 4}},
                {{3}, {3}},
                {{3}, {3, 2}},
                {{2, 3}, {3}},
                {{3}, {2, 3, 2}},
                {{2, 2, 3}, {3}},
                {{2, 2, 3}, {3, 2}},
                {{2, 3}, {3, 3, 2}},
                {{2, 2, 3}, {2, 3, 2}},
                {{2, 1, 2, 3}, {3, 3, 2}},
                {{3, 1, 2}, {2, 1, 2, 2}},
                {{1, 2, 3}, {4, 3, 1}},
                {{2, 0}, {0, 3}},
                {{0, 2, 3}, {1, 3, 2}},
                {{2, 0, 3}, {2, 3, 2}},
                {{0, 3}, {3}}},
     .tolerance = 1e-5,
     .wrong = {{[] {
                  matmul(Tensor<float>::ones({2, 3}), Tensor<float>::ones({2, 3}));
                },
                "[matmul] got [2, 3] and [2, 3], expected (..., M, K) and (..., K, N)"},
               {[] {
                  matmul(Tensor<float>::ones({2, 2, 3}), Tensor<float>::ones({2, 3}));
                },
                "[matmul] got [2, 2, 3] and [2, 3]"},
               {[] {
                  matmul(Tensor<float>::ones({2, 2, 3}), Tensor<float>::ones({3, 3, 2}));
                },
                "[matmul]"},
               {[] { matmul(Tensor<float>::ones({}), Tensor<float>::ones({3})); },
                "[matmul] got [] and [3], expected at least one dim in each"}},
     .bench_shapes = {{7, 65, 130}, {7, 130, 67}},
     .flops = 2.0 * 7 * 65 * 130 * 67,
     .bytes = 4.0 * 7 * (65 * 130 + 130 * 67 + 65 * 67),
     .more_shapes = {{{33, 70}, {70, 41}}, {{5, 17, 9}, {5, 9, 20}}, {{70}, {70}}, {{130, 70}, {70}}}},
    [](const auto& a) { return matmul(a[0], a[1]); }, matmul_reference);

inline const bool matmul_broadcast_registered = op_case(
    {.name = "matmul, one factor repeated",
     .shapes = {{{2, 1, 2, 3}, {3, 3, 2}}},
     .tolerance = 1e-5,
     .bench_shapes = {{65, 130}, {7, 130, 67}},
     .flops = 2.0 * 7 * 65 * 130 * 67,
     .bytes = 4.0 * (65 * 130 + 7 * (130 * 67 + 65 * 67))},
    [](const auto& a) { return matmul(a[0], a[1]); }, matmul_reference);

/// Transposed factors are read in place, expanded ones from a copy.
inline const bool matmul_views_registered = op_case(
    {.name = "matmul of views", .shapes = {{{3, 2}, {4, 3}}, {{2, 3, 2}, {2, 4, 3}}}, .tolerance = 1e-5},
    [](const auto& a) { return matmul(transpose(a[0], -1, -2), transpose(a[1], -1, -2)); },
    [](const Args<double>& a) {
      return matmul_reference({contiguous(transpose(a[0], -1, -2)), contiguous(transpose(a[1], -1, -2))});
    });
inline const bool matmul_expanded_registered = op_case(
    {.name = "matmul of an expanded matrix", .shapes = {{{3, 1}, {1, 3, 2}}, {{1, 3}, {2, 3, 2}}}, .tolerance = 1e-5},
    [](const auto& a) {
      return matmul(expand(a[0], {2, 3, 3}), expand(a[1], {2, -1, -1}));
    },
    [](const Args<double>& a) {
      return matmul_reference({contiguous(expand(a[0], {2, 3, 3})), contiguous(expand(a[1], {2, -1, -1}))});
    });

inline const bool matmul_golden = golden("matmul", [](auto g) {
  const auto a = g.leaf("a"), b = g.leaf("b");
  g.check(matmul(a, b), {{"a", a}, {"b", b}});
});

}  // namespace qdistill_test
