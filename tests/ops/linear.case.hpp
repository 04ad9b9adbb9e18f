/// Linear layer, plain and with ReLU.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/linear.hpp"

namespace qdistill_test {

/// x (..., in), w (out, in), bias (out) if there is a third argument.
inline std::vector<double> linear_reference(const Args<double>& a, bool relu) {
  const std::vector<double> x = a[0].to_vector(), w = a[1].to_vector();
  const std::size_t out = static_cast<std::size_t>(a[1].shape()[0]), in = static_cast<std::size_t>(a[1].shape()[1]);
  std::size_t rows = 1;
  for (int d = 0; d + 1 < a[0].rank(); ++d) rows *= static_cast<std::size_t>(a[0].shape()[d]);
  std::vector<double> y;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = a.size() > 2 ? a[2].to_vector()[o] : 0;
      for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[o * in + i];
      y.push_back(relu && !(sum > 0) ? 0 : sum);
    }
  return y;
}

inline const bool linear_registered = op_case(
    {.name = "linear",
     .shapes = {{{3, 4}, {5, 4}, {5}},
                {{4}, {2, 4}, {2}},
                {{2, 3, 4}, {1, 4}, {1}},
                {{2, 0}, {3, 0}, {3}},
                {{0, 4}, {3, 4}, {3}},
                {{2, 4}, {0, 4}, {0}}},
     .tolerance = 1e-5,
     .wrong = {{[] {
                  linear(Tensor<float>::ones({2, 3}), Tensor<float>::ones({4, 5}));
                },
                "[linear] got input [2, 3] and weight [4, 5], expected (..., in) and (out, in)"},
               {[] {
                  linear(Tensor<float>::ones({}), Tensor<float>::ones({4, 5}));
                },
                "[linear] got input []"},
               {[] {
                  linear(Tensor<float>::ones({2, 5}), Tensor<float>::ones({4, 5}), Tensor<float>::ones({5}));
                },
                "[linear] got bias [5] for weight [4, 5], expected (out)"},
               {[] {
                  linear(Tensor<float>{}, Tensor<float>::ones({4, 5}));
                },
                "[linear] got an undefined tensor"}},
     .bench_shapes = {{129, 257}, {301, 257}, {301}},
     .flops = 2.0 * 129 * 257 * 301,
     .bytes = 4.0 * (129 * 257 + 257 * 301 + 129 * 301),
     .more_shapes = {{{33, 65}, {47, 65}, {47}}, {{7, 5, 19}, {100, 19}, {100}}}},
    [](const auto& a) { return linear(a[0], a[1], a[2]); },
    [](const Args<double>& a) { return linear_reference(a, false); });

inline const bool linear_no_bias_registered = op_case(
    {.name = "linear without bias", .shapes = {{{3, 4}, {5, 4}}, {{4}, {2, 4}}}, .more_shapes = {{{33, 65}, {47, 65}}}},
    [](const auto& a) { return linear(a[0], a[1]); }, [](const Args<double>& a) { return linear_reference(a, false); });

inline const bool linear_relu_registered = op_case(
    {.name = "linear_relu",
     .shapes = {{{3, 4}, {5, 4}, {5}}, {{4}, {2, 4}, {2}}, {{2, 0}, {3, 0}, {3}}},
     .tolerance = 1e-5,
     .wrong = {{[] {
                  linear_relu(Tensor<float>::ones({2, 3}), Tensor<float>::ones({4, 5}));
                },
                "[linear_relu] got"}},
     .bench_shapes = {{129, 257}, {301, 257}, {301}},
     .flops = 2.0 * 129 * 257 * 301,
     .bytes = 4.0 * (129 * 257 + 257 * 301 + 129 * 301),
     .more_shapes = {{{33, 65}, {47, 65}, {47}}, {{7, 5, 19}, {100, 19}, {100}}}},
    [](const auto& a) { return linear_relu(a[0], a[1], a[2]); },
    [](const Args<double>& a) { return linear_reference(a, true); });

inline const bool linear_golden = golden("linear", [](auto g) {
  const auto x = g.leaf("input"), w = g.leaf("weight"), bias = g.leaf("bias");
  g.check(linear(x, w, bias), {{"input", x}, {"weight", w}, {"bias", bias}});
});

}  // namespace qdistill_test
