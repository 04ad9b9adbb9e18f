/// The fused distillation losses against the same composed of softmax, KL divergence and cross entropy.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "ops/losses.case.hpp"
#include "qdistill/ops/distillation_loss.hpp"

namespace qdistill_test {

/// w T^2 KL + (1 - w) CE from the definition: soft term divided by `divisor`, hard term by the rows with a label.
inline double naive_distillation(const Args<double>& a, const Tensor<Index>& labels, double temperature, double w,
                                 double divisor) {
  Tensor<double> x = a[0].clone(), t = a[1].clone();
  for (double& v : x.span()) v /= temperature;
  for (double& v : t.span()) v /= temperature;
  const std::vector<double> log_p = naive_softmax(x, 1, true), log_q = naive_softmax(t, 1, true);
  double kl = 0;
  for (std::size_t i = 0; i < log_p.size(); ++i) kl += std::exp(log_q[i]) * (log_q[i] - log_p[i]);
  const double ce = naive_cross_entropy(a[0], labels, 0, {}, Reduction::mean)[0];
  return w * temperature * temperature * kl / divisor + (1 - w) * ce;
}
/// distillation_loss in which the teacher is a constant made from the second input's values.
template <class T>
Tensor<T> distill(const std::vector<Tensor<T>>& a, const DistillationOptions& options) {
  return distillation_loss(a[0], Tensor<T>::normal(a[0].shape(), {8, 8}),
                           some_labels({a[0].shape()[0]}, a[0].shape()[1]), options);
}

inline const bool distillation_loss_registered = op_case(
    {.name = "distillation_loss",
     .shapes = {{Shape{4, 10}}, {Shape{1, 1}}, {Shape{3, 37}}},
     .tolerance = 5e-6,
     .wrong =
         {{[] {
             distillation_loss(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 4}), Tensor<Index>::zeros({2}));
           },
           "[distillation_loss] got student logits of shape [2, 3] and teacher logits of shape [2, 4]"},
          {[] { distillation_loss(Tensor<float>::zeros({3}), Tensor<float>::zeros({3}), Tensor<Index>::zeros({1})); },
           "got student logits of shape [3], expected [N, C]"},
          {[] {
             distillation_loss(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 3}), Tensor<Index>::from({1, 5}));
           },
           "[distillation_loss] got label 5 at position 1, expected it in [0, 3)"},
          {[] {
             distillation_loss(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 3}), {});
           },
           "got no labels with teacher_weight 0.5"},
          {[] {
             distillation_loss(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 3}), Tensor<Index>::zeros({2}),
                               {.temperature = 0});
           },
           "got temperature 0"},
          {[] {
             distillation_loss(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 3}), Tensor<Index>::zeros({2}),
                               {.teacher_weight = 1.5});
           },
           "got teacher_weight 1.5"}},
     .bench_shapes = {Shape{1003, 501}},
     .flops = 1003.0 * 501 * 60,
     .bytes = 1003.0 * 501 * 8,
     .more_shapes = {{Shape{128, 10}}}},
    [](const auto& a) { return distill(a, {}); },
    [](const Args<double>& a) {
      const Tensor<double> t = Tensor<double>::normal(a[0].shape(), {8, 8});
      const Shape& s = a[0].shape();
      return std::vector<double>{
          naive_distillation({a[0], t}, some_labels({s[0]}, s[1]), 5, 0.5, static_cast<double>(s[0]))};
    });

inline const bool distillation_loss_code_registered = op_case(
    {.name = "distillation_loss as published",
     .shapes = {{Shape{4, 10}}, {Shape{2, 33}}},
     .tolerance = 5e-6,
     .bench_shapes = {Shape{1003, 101}},
     .flops = 1003.0 * 101 * 60,
     .bytes = 1003.0 * 101 * 8},
    [](const auto& a) {
      return distill(
          a, {.temperature = 2, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_times_classes});
    },
    [](const Args<double>& a) {
      const Tensor<double> t = Tensor<double>::normal(a[0].shape(), {8, 8});
      const Shape& s = a[0].shape();
      return std::vector<double>{
          naive_distillation({a[0], t}, some_labels({s[0]}, s[1]), 2, 0.7, static_cast<double>(s[0] * s[1]))};
    });

/// Without labels only the soft term is left.
inline const bool distillation_loss_unlabelled_registered = op_case(
    {.name = "distillation_loss without labels", .shapes = {{Shape{4, 10}}}, .tolerance = 5e-6},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      return distillation_loss(a[0], Tensor<T>::normal(a[0].shape(), {8, 8}), {},
                               {.temperature = 3, .teacher_weight = 1});
    },
    [](const Args<double>& a) {
      const Tensor<double> t = Tensor<double>::normal(a[0].shape(), {8, 8});
      return std::vector<double>{naive_distillation({a[0], t}, some_labels({4}, 10), 3, 1, 4)};
    });

inline const bool sequence_distillation_registered = op_case(
    {.name = "sequence_distillation_loss",
     .shapes = {{Shape{6, 9}}, {Shape{1, 3}}},
     .tolerance = 5e-6,
     .wrong = {{[] {
                  sequence_distillation_loss(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 3}), {});
                },
                "[sequence_distillation_loss] got undefined labels"}},
     .bench_shapes = {Shape{503, 501}},
     .flops = 503.0 * 501 * 60,
     .bytes = 503.0 * 501 * 8},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      const Shape& s = a[0].shape();
      return sequence_distillation_loss(a[0], Tensor<T>::normal(s, {8, 8}), some_labels({s[0]}, s[1], -1),
                                        {.teacher_weight = 0.6, .pad = -1})
          .loss;
    },
    [](const Args<double>& a) {
      const Shape& s = a[0].shape();
      const Tensor<double> t = Tensor<double>::normal(s, {8, 8});
      const Tensor<Index> labels = some_labels({s[0]}, s[1]);
      return std::vector<double>{naive_distillation({a[0], t}, labels, 1, 1, 1) * 0.6 +
                                 naive_cross_entropy(a[0], labels, 0, {}, Reduction::sum)[0] * 0.4};
    });

inline const bool distillation_loss_golden = golden("distillation_loss", [](auto g) {
  const auto x = g.leaf("student");
  DistillationOptions options;
  options.temperature = g->params().at("temperature").template get<double>();
  options.teacher_weight = g->params().at("teacher_weight").template get<double>();
  options.reduction = g->params().at("kind") == "batchmean" ? DistillationReduction::batch_mean
                                                            : DistillationReduction::batch_times_classes;
  const auto loss = distillation_loss(x, g.input("teacher"), g.indices("labels"), options);
  loss.backward();
  g.compare("loss", loss);
  g.compare("grad_student", x.grad());
});
inline const bool sequence_distillation_golden = golden("sequence_distillation_loss", [](auto g) {
  const auto x = g.leaf("student");
  SequenceDistillationOptions options;
  options.temperature = g->params().at("temperature").template get<double>();
  options.teacher_weight = g->params().at("teacher_weight").template get<double>();
  options.pad = g->params().at("pad").template get<Index>();
  const auto out = sequence_distillation_loss(x, g.input("teacher"), g.indices("labels"), options);
  out.loss.backward();
  g.compare("loss", out.loss);
  g.compare("nll_sum", out.nll_sum);
  g.compare("kl_sum", out.kl_sum);
  g.compare("grad_student", x.grad());
});

}  // namespace qdistill_test
