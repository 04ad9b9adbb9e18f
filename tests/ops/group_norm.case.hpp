/// Layer and group normalisation.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/group_norm.hpp"

namespace qdistill_test {

/// Rows of `row` elements are normalised; element i of all then takes weight and bias number channel(i).
template <class Channel>
std::vector<double> naive_row_norm(const Args<double>& a, Index row, Channel channel) {
  std::vector<double> y = a[0].to_vector();
  for (std::size_t first = 0; row > 0 && first < y.size(); first += static_cast<std::size_t>(row)) {
    const auto begin = y.begin() + static_cast<std::ptrdiff_t>(first), end = begin + row;
    double m = 0, v = 0;
    for (auto i = begin; i != end; ++i) m += *i / static_cast<double>(row);
    for (auto i = begin; i != end; ++i) v += (*i - m) * (*i - m) / static_cast<double>(row);
    for (auto i = begin; i != end; ++i) {
      const Index c = channel(static_cast<Index>(i - y.begin()));
      *i = (*i - m) / std::sqrt(v + 1e-5) * a[1].data()[c] + a[2].data()[c];
    }
  }
  return y;
}

inline const bool layer_norm_registered = op_case(
    {.name = "layer_norm",
     .shapes = {{Shape{3, 4, 5}, Shape{5}, Shape{5}},
                {Shape{2, 35}, Shape{35}, Shape{35}},
                {Shape{7}, Shape{7}, Shape{7}},
                {Shape{0, 3}, Shape{3}, Shape{3}},
                {Shape{2, 0}, Shape{0}, Shape{0}}},
     .tolerance = 5e-6,
     .wrong = {{[] {
                  layer_norm(Tensor<float>::zeros({2, 3}), {4});
                },
                "[layer_norm] got shape [2, 3], expected its last dims to be [4]"},
               {[] {
                  layer_norm(Tensor<float>::zeros({2, 3}), {});
                },
                "[layer_norm] got shape [2, 3]"},
               {[] {
                  layer_norm(Tensor<float>::zeros({3}), {2, 3});
                },
                "[layer_norm] got shape [3]"},
               {[] {
                  layer_norm(Tensor<float>::zeros({2, 3}), {3}, Tensor<float>::ones({2}));
                },
                "got weight of shape [2], expected [3]"},
               {[] {
                  layer_norm(Tensor<float>::zeros({2, 3}), {3}, {}, {}, -1);
                },
                "got eps -1"}},
     .bench_shapes = {Shape{601, 1003}, Shape{1003}, Shape{1003}},
     .flops = 601.0 * 1003 * 8,
     .bytes = 601.0 * 1003 * 8},
    [](const auto& a) { return layer_norm(a[0], a[1].shape(), a[1], a[2]); },
    [](const Args<double>& a) {
      const Index n = a[1].numel();
      return naive_row_norm(a, n, [n](Index i) { return i % n; });
    });

inline const bool group_norm_registered = op_case(
    {.name = "group_norm",
     .shapes = {{Shape{2, 6, 3}, Shape{6}, Shape{6}},
                {Shape{3, 4}, Shape{4}, Shape{4}},
                {Shape{2, 2, 3, 5}, Shape{2}, Shape{2}},
                {Shape{0, 2, 3}, Shape{2}, Shape{2}}},
     .tolerance = 5e-6,
     .wrong = {{[] {
                  group_norm(Tensor<float>::zeros({2, 6, 3}), 4);
                },
                "[group_norm] got 4 groups for 6 channels"},
               {[] {
                  group_norm(Tensor<float>::zeros({2, 6, 3}), 0);
                },
                "[group_norm] got 0 groups"},
               {[] { group_norm(Tensor<float>::zeros({6}), 2); }, "[group_norm] got shape [6]"},
               {[] {
                  group_norm(Tensor<float>::zeros({2, 6}), 2, {}, Tensor<float>::ones({2}));
                },
                "got bias of shape [2], expected [6]"}},
     .bench_shapes = {Shape{17, 38, 29, 31}, Shape{38}, Shape{38}},
     .flops = 17.0 * 38 * 29 * 31 * 8,
     .bytes = 17.0 * 38 * 29 * 31 * 8,
     .more_shapes = {{Shape{70, 130}, Shape{130}, Shape{130}}}},
    [](const auto& a) { return group_norm(a[0], 2, a[1], a[2]); },
    [](const Args<double>& a) {
      const auto s = qdistill::detail::split_at(a[0].shape(), 1);
      return naive_row_norm(a, s.n / 2 * s.inner, [s](Index i) { return i / s.inner % s.n; });
    });

inline const bool layer_norm_golden = golden("layer_norm", [](auto g) {
  const auto x = g.leaf("input"), w = g.leaf("weight"), b = g.leaf("bias");
  const auto dims = g->params().at("normalized_shape").template get<std::vector<Index>>();
  g.check(layer_norm(x, Shape(dims), w, b, g->params().at("eps").template get<double>()),
          {{"input", x}, {"weight", w}, {"bias", b}});
});
inline const bool group_norm_golden = golden("group_norm", [](auto g) {
  const auto x = g.leaf("input"), w = g.leaf("weight"), b = g.leaf("bias");
  g.check(group_norm(x, g->params().at("num_groups").template get<Index>(), w, b,
                     g->params().at("eps").template get<double>()),
          {{"input", x}, {"weight", w}, {"bias", b}});
});

}  // namespace qdistill_test
