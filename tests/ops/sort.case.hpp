/// Running sums, sort, top-k, median and quantile.
#pragma once

#include <algorithm>

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/reduce_index.hpp"
#include "qdistill/ops/scan.hpp"
#include "qdistill/ops/sort.hpp"

namespace qdistill_test {

/// g(fiber) gives the new fiber, of length k, along the middle of outer x n x inner.
template <class F>
std::function<std::vector<double>(const Args<double>&)> along_reference(int dim, F f) {
  return [dim, f](const Args<double>& args) {
    const auto s = qdistill::detail::split_at(args[0].shape(), wrap_dim("reference", dim, args[0].rank()));
    const std::vector<double> x = args[0].to_vector();
    std::vector<double> y;
    for (Index o = 0; o < s.outer; ++o)
      for (Index i = 0; i < s.inner; ++i) {
        std::vector<double> fiber;
        for (Index k = 0; k < s.n; ++k) fiber.push_back(x[static_cast<std::size_t>((o * s.n + k) * s.inner + i)]);
        const std::vector<double> out = f(fiber);
        const std::size_t n = out.size(), start = static_cast<std::size_t>(o * s.inner) * n;
        if (y.size() < start + n * static_cast<std::size_t>(s.inner))
          y.resize(start + n * static_cast<std::size_t>(s.inner));
        for (std::size_t k = 0; k < n; ++k)
          y[start + k * static_cast<std::size_t>(s.inner) + static_cast<std::size_t>(i)] = out[k];
      }
    return y;
  };
}
inline std::vector<double> running_sum(std::vector<double> v) {
  for (std::size_t i = 1; i < v.size(); ++i) v[i] += v[i - 1];
  return v;
}
inline std::vector<double> ascending(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v;
}
inline std::vector<double> three_largest(std::vector<double> v) {
  std::sort(v.begin(), v.end(), [](double a, double b) { return a > b; });
  v.resize(3);
  return v;
}
inline std::vector<double> quantile_03(const std::vector<double>& fiber) {
  const std::vector<double> v = ascending(fiber);
  const double at = 0.3 * static_cast<double>(v.size() - 1), low = std::floor(at);
  const std::size_t k = static_cast<std::size_t>(low);
  return {k + 1 < v.size() ? v[k] + (at - low) * (v[k + 1] - v[k]) : v[k]};
}

inline const bool cumsum_registered =
    op_case(
        {.name = "cumsum",
         .shapes = {{Shape{0}}, {Shape{1}}, {Shape{7}}, {Shape{3, 5}}, {Shape{2, 0}}},
         .tolerance = 1e-6,
         .wrong = {{[] {
                      cumsum(Tensor<float>::zeros({2, 3}), 2);
                    },
                    "[cumsum] got dim 2"},
                   {[] { cumsum(Tensor<float>{}, 0); }, "[cumsum] got an undefined tensor"}},
         .bench_shapes = {Shape{701, 1001}},
         .flops = 701.0 * 1001,
         .bytes = 701.0 * 1001 * 8,
         .more_shapes = {{Shape{3, 1000}}}},
        [](const auto& a) { return cumsum(a[0], -1); }, along_reference(-1, running_sum)) &&
    op_case(
        {.name = "cumsum over dim 0",
         .shapes = {{Shape{5, 3}}, {Shape{4, 2, 3}}, {Shape{0, 2}}},
         .tolerance = 1e-6,
         .bench_shapes = {Shape{301, 2001}},
         .flops = 301.0 * 2001,
         .bytes = 301.0 * 2001 * 8,
         .more_shapes = {{Shape{20, 300}}}},
        [](const auto& a) { return cumsum(a[0], 0); }, along_reference(0, running_sum));

inline const bool sort_registered =
    op_case(
        {.name = "sort",
         .shapes = {{Shape{0}}, {Shape{1}}, {Shape{9}}, {Shape{3, 5}}, {Shape{2, 0}}},
         .tolerance = 0,
         .wrong = {{[] {
                      sort(Tensor<float>::zeros({2, 3}), 2);
                    },
                    "[sort] got dim 2"},
                   {[] { sort(Tensor<float>::scalar(1)); }, "[sort] got dim -1"}},
         .bench_shapes = {Shape{101, 1001}},
         .flops = 101.0 * 1001 * 10,
         .bytes = 101.0 * 1001 * 16},
        [](const auto& a) { return sort(a[0]).values; }, along_reference(-1, ascending)) &&
    op_case(
        {.name = "topk over dim 1",
         .shapes = {{Shape{2, 3}}, {Shape{2, 5, 3}}},
         .tolerance = 0,
         .wrong = {{[] {
                      topk(Tensor<float>::zeros({2, 3}), 4);
                    },
                    "[topk] got k 4 for dim 1 of shape [2, 3]"},
                   {[] {
                      topk(Tensor<float>::zeros({2, 3}), -1);
                    },
                    "[topk] got k -1"},
                   {[] {
                      topk(Tensor<float>::zeros({2, 3}), 1, 2);
                    },
                    "[topk] got dim 2"}},
         .bench_shapes = {Shape{31, 1001, 7}},
         .flops = 31.0 * 1001 * 7,
         .bytes = 31.0 * 1001 * 7 * 4},
        [](const auto& a) { return topk(a[0], 3, 1).values; }, along_reference(1, three_largest)) &&
    op_case(
        {.name = "quantile",
         .shapes = {{Shape{1}}, {Shape{9}}, {Shape{3, 4}}, {Shape{0, 4}}},
         .tolerance = 1e-6,
         .differentiable = false,
         .wrong = {{[] { quantile(Tensor<float>::zeros({2}), 1.5); }, "[quantile] got q 1.5"},
                   {[] { quantile(Tensor<float>::zeros({2}), std::nan("")); }, "[quantile] got q nan"},
                   {[] { quantile(Tensor<float>::zeros({0}), 0.5); }, "[quantile] got shape [0]"},
                   {[] { median(Tensor<float>::zeros({0})); }, "[median] got shape [0]"},
                   {[] {
                      median(Tensor<float>::zeros({2, 3}), 2);
                    },
                    "[median] got dim 2"}},
         .bench_shapes = {Shape{31, 10001}},
         .flops = 31.0 * 10001 * 5,
         .bytes = 31.0 * 10001 * 8},
        [](const auto& a) { return quantile(a[0], 0.3, -1); }, along_reference(-1, quantile_03)) &&
    op_case(
        {.name = "median over dim 0",
         .shapes = {{Shape{4, 3}}, {Shape{5, 2}}},
         .tolerance = 0,
         .differentiable = false,
         .bench_shapes = {Shape{1001, 31}},
         .flops = 31.0 * 1001 * 5,
         .bytes = 31.0 * 1001 * 8},
        [](const auto& a) { return median(a[0], 0, true); }, along_reference(0, [](const std::vector<double>& v) {
          return std::vector<double>{ascending(v)[(v.size() - 1) / 2]};
        }));

inline const bool cumsum_golden = golden("cumsum", [](auto g) {
  const auto x = g.leaf("input");
  g.check(cumsum(x, g->template param<Index>("dim", 0)), {{"input", x}});
});
inline const bool topk_sort_golden = golden("topk_sort", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> x = g.input("input");
  const Index dim = g->template param<Index>("dim", -1);
  const Sorted<T> top = topk(x, g->template param<Index>("k", 1), dim), all = sort(x, dim);
  g.compare("topk_values", top.values), g->compare("topk_indices", top.indices);
  g.compare("sorted_values", all.values), g->compare("sorted_indices", all.indices);
  g->compare("argmax", argmax(x, dim));
  g.compare("median", median(x, dim));
  std::vector<T> quantiles;
  for (const double q : {0.0, 0.3, 1.0})
    for (const T v : quantile(x, q, dim).to_vector()) quantiles.push_back(v);
  g->compare_values("quantile_0_30_1", quantiles);
});

}  // namespace qdistill_test
