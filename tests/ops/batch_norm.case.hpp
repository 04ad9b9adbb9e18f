/// Batch normalisation.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/batch_norm.hpp"

namespace qdistill_test {

/// Batch norm from its definition in two passes, statistics of the batch or (where given) those of `mean` and `var`.
inline std::vector<double> naive_batch_norm(const Args<double>& a, const Tensor<double>& mean,
                                            const Tensor<double>& var) {
  const auto s = qdistill::detail::split_at(a[0].shape(), 1);
  std::vector<double> y = a[0].to_vector();
  for (Index c = 0; c < s.n; ++c) {
    double m = 0, v = 0;
    const auto each = [&](auto f) {
      for (Index o = 0; o < s.outer; ++o)
        for (Index i = 0; i < s.inner; ++i) f(y[static_cast<std::size_t>((o * s.n + c) * s.inner + i)]);
    };
    const double count = static_cast<double>(s.outer * s.inner);
    each([&](double& x) { m += x / count; });
    each([&](double& x) { v += (x - m) * (x - m) / count; });
    if (mean.defined()) m = mean.data()[c], v = var.data()[c];
    each([&](double& x) { x = (x - m) / std::sqrt(v + 1e-5) * a[1].data()[c] + a[2].data()[c]; });
  }
  return y;
}

inline const bool batch_norm_train_registered = op_case(
    {.name = "batch_norm, training",
     .shapes = {{Shape{4, 3}, Shape{3}, Shape{3}},
                {Shape{3, 2, 5}, Shape{2}, Shape{2}},
                {Shape{2, 3, 3, 7}, Shape{3}, Shape{3}},
                {Shape{3, 0}, Shape{0}, Shape{0}},
                {Shape{2, 2, 33}, Shape{2}, Shape{2}}},
     .tolerance = 5e-6,
     .wrong = {{[] {
                  batch_norm(Tensor<float>::zeros({1, 3}), {}, {}, {}, {}, true);
                },
                "[batch_norm] got shape [1, 3], expected more than one value per channel when training"},
               {[] {
                  batch_norm(Tensor<float>::zeros({0, 3}), {}, {}, {}, {}, true);
                },
                "got shape [0, 3]"},
               {[] { batch_norm(Tensor<float>::zeros({4}), {}, {}, {}, {}, true); },
                "[batch_norm] got shape [4], expected [N, C, ...]"},
               {[] {
                  batch_norm(Tensor<float>::zeros({4, 3}), {}, {}, Tensor<float>::ones({4}), {}, true);
                },
                "[batch_norm] got weight of shape [4], expected [3]"},
               {[] {
                  batch_norm(Tensor<float>::zeros({4, 3}), Tensor<float>::ones({3, 1}), {}, {}, {}, true);
                },
                "got running_mean of shape [3, 1]"},
               {[] {
                  batch_norm(Tensor<float>::zeros({4, 3}), {}, {});
                },
                "got no running statistics"},
               {[] {
                  batch_norm(Tensor<float>::zeros({4, 3}), {}, {}, {}, {}, true, 0.1, -1);
                },
                "got eps -1"},
               {[] {
                  batch_norm(Tensor<float>::zeros({4, 3}), {}, {}, {}, {}, true, 2);
                },
                "got momentum 2"}},
     .bench_shapes = {Shape{33, 37, 29, 31}, Shape{37}, Shape{37}},
     .flops = 33.0 * 37 * 29 * 31 * 7,
     .bytes = 33.0 * 37 * 29 * 31 * 8,
     .more_shapes = {{Shape{70, 130}, Shape{130}, Shape{130}}, {Shape{2, 2, 50, 50}, Shape{2}, Shape{2}}}},
    [](const auto& a) { return batch_norm(a[0], {}, {}, a[1], a[2], true); },
    [](const Args<double>& a) { return naive_batch_norm(a, {}, {}); });

inline const bool batch_norm_columns_registered = op_case(
    {.name = "batch_norm of [N, C], training",
     .shapes = {{Shape{5, 67}, Shape{67}, Shape{67}}},
     .tolerance = 5e-6,
     .bench_shapes = {Shape{301, 1203}, Shape{1203}, Shape{1203}},
     .flops = 301.0 * 1203 * 8,
     .bytes = 301.0 * 1203 * 8},
    [](const auto& a) { return batch_norm(a[0], {}, {}, a[1], a[2], true); },
    [](const Args<double>& a) { return naive_batch_norm(a, {}, {}); });

inline const bool batch_norm_eval_registered = op_case(
    {.name = "batch_norm, evaluation",
     .shapes = {{Shape{4, 3}, Shape{3}, Shape{3}},
                {Shape{2, 3, 3, 7}, Shape{3}, Shape{3}},
                {Shape{1, 2}, Shape{2}, Shape{2}},
                {Shape{0, 2}, Shape{2}, Shape{2}}},
     .bench_shapes = {Shape{33, 37, 29, 31}, Shape{37}, Shape{37}},
     .flops = 33.0 * 37 * 29 * 31 * 2,
     .bytes = 33.0 * 37 * 29 * 31 * 8},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      const Index c = a[0].shape()[1];
      return batch_norm(a[0], Tensor<T>::full({c}, T(0.25)), Tensor<T>::full({c}, T(2)), a[1], a[2]);
    },
    [](const Args<double>& a) {
      const Index c = a[0].shape()[1];
      return naive_batch_norm(a, Tensor<double>::full({c}, 0.25), Tensor<double>::full({c}, 2));
    });

inline const bool batch_norm_relu_registered = op_case(
    {.name = "batch_norm_relu, training",
     .shapes = {{Shape{4, 3}, Shape{3}, Shape{3}}, {Shape{2, 3, 3, 7}, Shape{3}, Shape{3}}},
     .tolerance = 5e-6,
     .wrong = {{[] { batch_norm_relu(Tensor<float>::zeros({4}), {}, {}, {}, {}, true); },
                "[batch_norm_relu] got shape [4], expected [N, C, ...]"}},
     .bench_shapes = {Shape{33, 37, 29, 31}, Shape{37}, Shape{37}},
     .flops = 33.0 * 37 * 29 * 31 * 8,
     .bytes = 33.0 * 37 * 29 * 31 * 8},
    [](const auto& a) { return batch_norm_relu(a[0], {}, {}, a[1], a[2], true); },
    [](const Args<double>& a) {
      std::vector<double> y = naive_batch_norm(a, {}, {});
      for (double& v : y) v = std::fmax(v, 0);
      return y;
    });

inline const bool batch_norm_golden = golden("batch_norm", [](auto g) {
  const auto x = g.leaf("input"), w = g.leaf("weight"), b = g.leaf("bias");
  const auto mean = g.input("running_mean"), var = g.input("running_var");
  const auto y =
      batch_norm(x, mean, var, w, b, g->params().at("training").template get<bool>(),
                 g->params().at("momentum").template get<double>(), g->params().at("eps").template get<double>());
  g.compare("running_mean_after", mean);
  g.compare("running_var_after", var);
  g.check(y, {{"input", x}, {"weight", w}, {"bias", b}});
});

}  // namespace qdistill_test
