/// Softmax, log-softmax and the losses of labels.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/softmax.hpp"

namespace qdistill_test {

/// Softmax along the middle of outer x n x inner, by plain loops.
inline std::vector<double> naive_softmax(const Tensor<double>& x, int dim, bool log) {
  const auto s = qdistill::detail::split_at(x.shape(), dim);
  std::vector<double> y = x.to_vector();
  const auto at = [&](Index o, Index k, Index i) -> double& {
    return y[static_cast<std::size_t>((o * s.n + k) * s.inner + i)];
  };
  for (Index o = 0; o < s.outer; ++o)
    for (Index i = 0; i < s.inner; ++i) {
      double max = -1e300, sum = 0;
      for (Index k = 0; k < s.n; ++k) max = std::fmax(max, at(o, k, i));
      for (Index k = 0; k < s.n; ++k) sum += std::exp(at(o, k, i) - max);
      for (Index k = 0; k < s.n; ++k)
        at(o, k, i) = log ? at(o, k, i) - max - std::log(sum) : std::exp(at(o, k, i) - max) / sum;
    }
  return y;
}

inline const bool softmax_registered = op_case(
    {.name = "softmax",
     .shapes = {{Shape{0}}, {Shape{1}}, {Shape{5}}, {Shape{3, 33}}, {Shape{2, 0}}, {Shape{0, 3}}},
     .tolerance = 4e-7,
     .wrong = {{[] {
                  softmax(Tensor<float>::zeros({2, 3}), 2);
                },
                "[softmax] got dim 2, expected it in [-2, 2)"},
               {[] { softmax(Tensor<float>::scalar(1), 0); }, "[softmax] got dim 0"},
               {[] { softmax(Tensor<float>{}, 0); }, "[softmax] got an undefined tensor"}},
     .bench_shapes = {Shape{701, 1001}},
     .flops = 701.0 * 1001 * 20,
     .bytes = 701.0 * 1001 * 8,
     .more_shapes = {{Shape{7, 10}}, {Shape{3, 1000}}, {Shape{4, 65}}}},
    [](const auto& a) { return softmax(a[0], -1); },
    [](const Args<double>& a) { return naive_softmax(a[0], a[0].rank() - 1, false); });

inline const bool softmax_dim1_registered = op_case(
    {.name = "softmax over dim 1",
     .shapes = {{Shape{2, 3, 4}}, {Shape{2, 1, 5}}, {Shape{2, 3, 0}}, {Shape{1, 2, 2, 3}}},
     .tolerance = 4e-7,
     .bench_shapes = {Shape{13, 31, 33, 17}},
     .flops = 13.0 * 31 * 33 * 17 * 20,
     .bytes = 13.0 * 31 * 33 * 17 * 8,
     .more_shapes = {{Shape{2, 5, 129}}, {Shape{2, 7, 8, 8}}}},
    [](const auto& a) { return softmax(a[0], 1); },
    [](const Args<double>& a) { return naive_softmax(a[0], 1, false); });

inline const bool log_softmax_registered = op_case(
    {.name = "log_softmax",
     .shapes = {{Shape{0}}, {Shape{1}}, {Shape{5}}, {Shape{3, 33}}, {Shape{2, 0}}},
     .tolerance = 1e-6,
     .wrong = {{[] {
                  log_softmax(Tensor<float>::zeros({2, 3}), -3);
                },
                "[log_softmax] got dim -3"}},
     .bench_shapes = {Shape{701, 1001}},
     .flops = 701.0 * 1001 * 20,
     .bytes = 701.0 * 1001 * 8,
     .more_shapes = {{Shape{7, 10}}, {Shape{3, 1000}}}},
    [](const auto& a) { return log_softmax(a[0], -1); },
    [](const Args<double>& a) { return naive_softmax(a[0], a[0].rank() - 1, true); });

inline const bool log_softmax_dim0_registered = op_case(
    {.name = "log_softmax over dim 0",
     .shapes = {{Shape{3, 4}}, {Shape{4, 2, 3}}},
     .tolerance = 1e-6,
     .bench_shapes = {Shape{31, 5003}},
     .flops = 31.0 * 5003 * 20,
     .bytes = 31.0 * 5003 * 8},
    [](const auto& a) { return log_softmax(a[0], 0); },
    [](const Args<double>& a) { return naive_softmax(a[0], 0, true); });

inline const bool softmax_golden = golden("softmax", [](auto g) {
  const auto x = g.leaf("input");
  g.check(softmax(x, g->template param<Index>("dim", -1)), {{"input", x}});
});
inline const bool log_softmax_golden = golden("log_softmax", [](auto g) {
  const auto x = g.leaf("input");
  g.check(log_softmax(x, g->template param<Index>("dim", -1)), {{"input", x}});
});

}  // namespace qdistill_test
