/// Cross entropy and the elementwise losses.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "ops/softmax.case.hpp"
#include "qdistill/ops/losses.hpp"

namespace qdistill_test {

/// Labels 0, 3, 6, ... modulo `classes`, with every fifth one `ignored`.
inline Tensor<Index> some_labels(const Shape& shape, Index classes, Index ignored = -100) {
  Tensor<Index> labels = Tensor<Index>::empty(shape);
  for (Index i = 0; i < labels.numel(); ++i) labels.data()[i] = i % 5 == 4 ? ignored : i * 3 % classes;
  return labels;
}
/// The shape without its dim 1 (or a scalar for one row).
inline Shape label_shape(Shape x) {
  x.erase(x.rank() > 1 ? 1 : 0);
  return x;
}
/// Class weights 0.5, 0.8, 1.1, ...
template <class T>
Tensor<T> some_weights(Index classes) {
  Tensor<T> w = Tensor<T>::empty({classes});
  for (Index i = 0; i < classes; ++i) w.data()[i] = static_cast<T>(0.5 + 0.3 * static_cast<double>(i % 4));
  return w;
}

/// Cross entropy from its definition, one term at a time. `weight` empty: 1.
inline std::vector<double> naive_cross_entropy(const Tensor<double>& x, const Tensor<Index>& labels, double e,
                                               const std::vector<double>& weight, Reduction reduction) {
  const auto s = qdistill::detail::split_at(x.shape(), x.rank() > 1 ? 1 : 0);
  const std::vector<double> log_p = naive_softmax(x, x.rank() > 1 ? 1 : 0, true);
  const auto w = [&](Index c) { return weight.empty() ? 1.0 : weight[static_cast<std::size_t>(c)]; };
  std::vector<double> rows;
  double total = 0, sum = 0;
  for (Index o = 0; o < s.outer; ++o)
    for (Index i = 0; i < s.inner; ++i) {
      const Index y = labels.data()[o * s.inner + i];
      double loss = 0;
      if (y != -100) {
        total += w(y);
        for (Index c = 0; c < s.n; ++c) {
          const double nll = -log_p[static_cast<std::size_t>((o * s.n + c) * s.inner + i)];
          loss += w(c) * nll * ((c == y ? 1 - e : 0) + e / static_cast<double>(s.n));
        }
      }
      rows.push_back(loss), sum += loss;
    }
  if (reduction == Reduction::none) return rows;
  return {reduction == Reduction::mean ? sum / total : sum};
}

inline const bool cross_entropy_registered = op_case(
    {.name = "cross_entropy",
     .shapes = {{Shape{3, 5}}, {Shape{1, 1}}, {Shape{7}}, {Shape{4, 17}}},
     .wrong = {{[] {
                  cross_entropy(Tensor<float>::zeros({2, 3}), Tensor<Index>::from({0, 3}));
                },
                "[cross_entropy] got label 3 at position 1, expected it in [0, 3)"},
               {[] {
                  cross_entropy(Tensor<float>::zeros({2, 3}), Tensor<Index>::from({0, -1}));
                },
                "got label -1"},
               {[] {
                  cross_entropy(Tensor<float>::zeros({2, 3}), Tensor<Index>::from({0, 1, 2}));
                },
                "[cross_entropy] got labels of shape [3], expected [2]"},
               {[] {
                  cross_entropy(Tensor<float>::zeros({2, 3}), Tensor<Index>{});
                },
                "got undefined labels"},
               {[] { cross_entropy(Tensor<float>::scalar(0), Tensor<Index>::scalar(0)); }, "got a scalar input"},
               {[] {
                  cross_entropy(Tensor<float>::zeros({1, 3}), Tensor<Index>::from({0}), {.label_smoothing = 1.5});
                },
                "got label_smoothing 1.5"},
               {[] {
                  cross_entropy(Tensor<float>::zeros({1, 3}), Tensor<Index>::from({0}), {}, Tensor<float>::ones({2}));
                },
                "got class weights of shape [2], expected [3]"},
               {[] {
                  cross_entropy(Tensor<float>::zeros({1, 3}), Tensor<Index>::from({0}),
                                {.reduction = Reduction::batch_mean});
                },
                "got reduction batch_mean"}},
     .bench_shapes = {Shape{1003, 501}},
     .flops = 1003.0 * 501 * 20,
     .bytes = 1003.0 * 501 * 4,
     .more_shapes = {{Shape{64, 10}}, {Shape{9, 100}}}},
    [](const auto& a) {
      const Shape& s = a[0].shape();
      return cross_entropy(a[0], some_labels(label_shape(s), s[s.rank() - 1]));
    },
    [](const Args<double>& a) {
      const Shape& s = a[0].shape();
      return naive_cross_entropy(a[0], some_labels(label_shape(s), s[s.rank() - 1]), 0, {}, Reduction::mean);
    });

inline const bool cross_entropy_full_registered = op_case(
    {.name = "cross_entropy, weighted, smoothed",
     .shapes = {{Shape{6, 5}}, {Shape{2, 33}}},
     .bench_shapes = {Shape{1003, 501}},
     .flops = 1003.0 * 501 * 22,
     .bytes = 1003.0 * 501 * 4},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      const Shape& s = a[0].shape();
      return cross_entropy(a[0], some_labels({s[0]}, s[1]), {.label_smoothing = 0.15}, some_weights<T>(s[1]));
    },
    [](const Args<double>& a) {
      const Shape& s = a[0].shape();
      return naive_cross_entropy(a[0], some_labels({s[0]}, s[1]), 0.15, some_weights<double>(s[1]).to_vector(),
                                 Reduction::mean);
    });

inline const bool cross_entropy_spatial_registered = op_case(
    {.name = "cross_entropy of images, none",
     .shapes = {{Shape{2, 3, 4}}, {Shape{2, 4, 2, 3}}, {Shape{0, 3, 2}}, {Shape{2, 3, 0}}},
     .bench_shapes = {Shape{5, 21, 33, 35}},
     .flops = 5.0 * 21 * 33 * 35 * 22,
     .bytes = 5.0 * 21 * 33 * 35 * 4,
     .more_shapes = {{Shape{2, 5, 9, 9}}}},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      const Shape& s = a[0].shape();
      return cross_entropy(a[0], some_labels(label_shape(s), s[1]),
                           {.label_smoothing = 0.1, .reduction = Reduction::none}, some_weights<T>(s[1]));
    },
    [](const Args<double>& a) {
      const Shape& s = a[0].shape();
      return naive_cross_entropy(a[0], some_labels(label_shape(s), s[1]), 0.1, some_weights<double>(s[1]).to_vector(),
                                 Reduction::none);
    });

/// Soft targets, differentiable in both: the target is the softmax of the second input.
inline const bool cross_entropy_soft_registered = op_case(
    {.name = "cross_entropy of probabilities",
     .shapes = {{Shape{3, 5}, Shape{3, 5}}, {Shape{2, 3, 4}, Shape{2, 3, 4}}, {Shape{4}, Shape{4}}},
     .wrong = {{[] {
                  cross_entropy(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 4}));
                },
                "[cross_entropy] got target probabilities of shape [2, 4], expected the input's [2, 3]"}},
     .bench_shapes = {Shape{503, 301}, Shape{503, 301}},
     .flops = 503.0 * 301 * 24,
     .bytes = 503.0 * 301 * 16},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      const Index classes = a[0].shape()[a[0].rank() > 1 ? 1 : 0];
      return cross_entropy(a[0], a[1], {.label_smoothing = 0.2}, some_weights<T>(classes));
    },
    [](const Args<double>& a) {
      const auto s = qdistill::detail::split_at(a[0].shape(), a[0].rank() > 1 ? 1 : 0);
      const std::vector<double> log_p = naive_softmax(a[0], a[0].rank() > 1 ? 1 : 0, true), t = a[1].to_vector(),
                                w = some_weights<double>(s.n).to_vector();
      double sum = 0;
      for (Index i = 0; i < a[0].numel(); ++i) {
        const auto k = static_cast<std::size_t>(i);
        sum -=
            w[static_cast<std::size_t>(i / s.inner % s.n)] * (0.8 * t[k] + 0.2 / static_cast<double>(s.n)) * log_p[k];
      }
      return std::vector<double>{sum / static_cast<double>(s.outer * s.inner)};
    });

inline const bool nll_loss_registered = op_case(
    {.name = "nll_loss",
     .shapes = {{Shape{4, 5}}, {Shape{2, 3, 4}}, {Shape{3}}},
     .wrong = {{[] {
                  nll_loss(Tensor<float>::zeros({2, 3}), Tensor<Index>::from({0, 3}));
                },
                "[nll_loss] got label 3 at position 1, expected it in [0, 3)"}},
     .bench_shapes = {Shape{1003, 301}},
     .flops = 1003,
     .bytes = 1003.0 * 16},
    [](const auto& a) {
      using T = std::remove_cvref_t<decltype(*a[0].data())>;
      const Index classes = a[0].shape()[a[0].rank() > 1 ? 1 : 0];
      return nll_loss(a[0], some_labels(label_shape(a[0].shape()), classes), -100, Reduction::mean,
                      some_weights<T>(classes));
    },
    [](const Args<double>& a) {
      const auto s = qdistill::detail::split_at(a[0].shape(), a[0].rank() > 1 ? 1 : 0);
      const Tensor<Index> labels = some_labels(label_shape(a[0].shape()), s.n);
      const std::vector<double> x = a[0].to_vector(), w = some_weights<double>(s.n).to_vector();
      double sum = 0, total = 0;
      for (Index r = 0; r < labels.numel(); ++r) {
        const Index y = labels.data()[r];
        if (y == -100) continue;
        total += w[static_cast<std::size_t>(y)];
        sum -= w[static_cast<std::size_t>(y)] *
               x[static_cast<std::size_t>((r / s.inner * s.n + y) * s.inner + r % s.inner)];
      }
      return std::vector<double>{sum / total};
    });

/// Mean of f(x, t) over all elements.
template <class F>
auto mean_of(F f) {
  return [f](const Args<double>& a) {
    double sum = 0;
    for (Index i = 0; i < a[0].numel(); ++i) sum += f(a[0].data()[i], a[1].data()[i]);
    return std::vector<double>{sum / static_cast<double>(a[0].numel())};
  };
}
inline std::vector<std::vector<Shape>> pairs_of_shapes() {
  return {{Shape{}, Shape{}}, {Shape{1}, Shape{1}}, {Shape{3, 5}, Shape{3, 5}}, {Shape{67}, Shape{67}}};
}

/// `t` comes from the positive range here.
inline const bool kl_div_registered = op_case(
    {.name = "kl_div",
     .shapes = pairs_of_shapes(),
     .lo = 0.1,
     .hi = 1,
     .wrong = {{[] {
                  kl_div(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({3, 2}));
                },
                "[kl_div] got input of shape [2, 3] and target of shape [3, 2]"},
               {[] { kl_div(Tensor<float>::scalar(0), Tensor<float>::scalar(0), Reduction::batch_mean); },
                "[kl_div] got a scalar"}},
     .bench_shapes = {Shape{501, 303}, Shape{501, 303}},
     .flops = 501.0 * 303 * 20,
     .bytes = 501.0 * 303 * 8},
    [](const auto& a) { return kl_div(a[0], a[1]); },
    mean_of([](double x, double t) { return t * (std::log(t) - x); }));
inline const bool kl_div_log_registered = op_case(
    {.name = "kl_div of log targets, none",
     .shapes = pairs_of_shapes(),
     .bench_shapes = {Shape{501, 303}, Shape{501, 303}},
     .flops = 501.0 * 303 * 20,
     .bytes = 501.0 * 303 * 12},
    [](const auto& a) { return kl_div(a[0], a[1], Reduction::none, true); },
    [](const Args<double>& a) {
      std::vector<double> y;
      for (Index i = 0; i < a[0].numel(); ++i)
        y.push_back(std::exp(a[1].data()[i]) * (a[1].data()[i] - a[0].data()[i]));
      return y;
    });
inline const bool mse_loss_registered = op_case(
    {.name = "mse_loss",
     .shapes = pairs_of_shapes(),
     .wrong = {{[] { mse_loss(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[mse_loss] got input"}},
     .bench_shapes = {Shape{501, 303}, Shape{501, 303}},
     .flops = 501.0 * 303 * 3,
     .bytes = 501.0 * 303 * 8},
    [](const auto& a) { return mse_loss(a[0], a[1]); }, mean_of([](double x, double t) { return (x - t) * (x - t); }));
inline const bool l1_loss_registered = op_case(
    {.name = "l1_loss",
     .shapes = pairs_of_shapes(),
     .wrong = {{[] { l1_loss(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[l1_loss] got input"}},
     .bench_shapes = {Shape{501, 303}, Shape{501, 303}},
     .flops = 501.0 * 303 * 3,
     .bytes = 501.0 * 303 * 8},
    [](const auto& a) { return l1_loss(a[0], a[1]); }, mean_of([](double x, double t) { return std::fabs(x - t); }));
inline const bool smooth_l1_loss_registered = op_case(
    {.name = "smooth_l1_loss",
     .shapes = pairs_of_shapes(),
     .wrong = {{[] { smooth_l1_loss(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[smooth_l1_loss] got"},
               {[] { smooth_l1_loss(Tensor<float>::zeros({2}), Tensor<float>::zeros({2}), -1); }, "got beta -1"}},
     .bench_shapes = {Shape{501, 303}, Shape{501, 303}},
     .flops = 501.0 * 303 * 5,
     .bytes = 501.0 * 303 * 8},
    [](const auto& a) { return smooth_l1_loss(a[0], a[1], 0.7); }, mean_of([](double x, double t) {
      const double d = std::fabs(x - t);
      return d < 0.7 ? d * d / 1.4 : d - 0.35;
    }));
inline const bool bce_registered = op_case(
    {.name = "binary_cross_entropy_with_logits",
     .shapes = pairs_of_shapes(),
     .gap = 0.01,
     .wrong = {{[] { binary_cross_entropy_with_logits(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); },
                "[binary_cross_entropy_with_logits] got"}},
     .bench_shapes = {Shape{501, 303}, Shape{501, 303}},
     .flops = 501.0 * 303 * 25,
     .bytes = 501.0 * 303 * 8},
    [](const auto& a) { return binary_cross_entropy_with_logits(a[0], a[1], Reduction::sum); },
    [](const Args<double>& a) {
      double sum = 0;
      for (Index i = 0; i < a[0].numel(); ++i) {
        const double x = a[0].data()[i], p = 1 / (1 + std::exp(-x)), t = a[1].data()[i];
        sum -= t * std::log(p) + (1 - t) * std::log(1 - p);
      }
      return std::vector<double>{sum};
    });

inline Reduction reduction_of(const GoldenCase& c) {
  const std::string name = c.param<std::string>("reduction", "mean");
  if (name == "none") return Reduction::none;
  if (name == "sum") return Reduction::sum;
  if (name == "batchmean") return Reduction::batch_mean;
  if (name == "mean") return Reduction::mean;
  throw Error("unknown reduction " + name);
}

inline const bool cross_entropy_golden = golden("cross_entropy", [](auto g) {
  const auto x = g.leaf("input");
  const CrossEntropyOptions options{.label_smoothing = g->template param<double>("label_smoothing", 0),
                                    .ignore_index = g->template param<Index>("ignore_index", -100),
                                    .reduction = reduction_of(*g)};
  g.check(cross_entropy(x, g.indices("target"), options, g.optional("weight")), {{"input", x}});
});
inline const bool nll_loss_golden = golden("nll_loss", [](auto g) {
  const auto x = g.leaf("input");
  g.check(nll_loss(x, g.indices("target"), g->template param<Index>("ignore_index", -100), reduction_of(*g),
                   g.optional("weight")),
          {{"input", x}});
});
inline const bool kl_div_golden = golden("kl_div", [](auto g) {
  const auto x = g.leaf("input");
  g.check(kl_div(x, g.input("target"), reduction_of(*g), g->template param<bool>("log_target", false)), {{"input", x}});
});
inline const bool mse_loss_golden = golden("mse_loss", [](auto g) {
  const auto x = g.leaf("input");
  g.check(mse_loss(x, g.input("target"), reduction_of(*g)), {{"input", x}});
});
inline const bool smooth_l1_loss_golden = golden("smooth_l1_loss", [](auto g) {
  const auto x = g.leaf("input");
  g.check(smooth_l1_loss(x, g.input("target"), g->template param<double>("beta", 1), reduction_of(*g)), {{"input", x}});
});
inline const bool bce_golden = golden("binary_cross_entropy_with_logits", [](auto g) {
  const auto x = g.leaf("input");
  g.check(binary_cross_entropy_with_logits(x, g.input("target"), reduction_of(*g)), {{"input", x}});
});

}  // namespace qdistill_test
