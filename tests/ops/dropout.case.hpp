/// Dropout. The references take their numbers one at a time from RandomStream.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/dropout.hpp"

namespace qdistill_test {

inline std::vector<double> naive_dropout(const Tensor<double>& x, double p, Index inner) {
  std::vector<double> y = x.to_vector();
  const RandomStream stream = Generator(42).next();
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::uint64_t k = i / static_cast<std::size_t>(inner);
    y[i] = static_cast<double>(stream.uniform(k)) < p ? 0 : y[i] / (1 - p);
  }
  return y;
}

inline const bool dropout_registered = op_case(
    {.name = "dropout",
     .shapes = edge_shapes(),
     .wrong = {{[] { dropout(Tensor<float>::zeros({3}), 1.5, true); }, "[dropout] got p 1.5"},
               {[] { dropout(Tensor<float>::zeros({3}), -0.1, false); }, "[dropout] got p -0.1"},
               {[] { dropout(Tensor<float>{}, 0.5, true); }, "[dropout] got an undefined tensor"}},
     .bench_shapes = {Shape{517, 1013}},
     .flops = 517.0 * 1013 * 12,
     .bytes = 517.0 * 1013 * 8,
     .more_shapes = {{Shape{63}}, {Shape{64}}, {Shape{65}}, {Shape{1000}}}},
    [](const auto& a) {
      Generator generator(42);
      return dropout(a[0], 0.3, true, generator);
    },
    [](const Args<double>& a) { return naive_dropout(a[0], 0.3, 1); });

inline const bool dropout_all_registered = op_case(
    {.name = "dropout of everything", .shapes = edge_shapes()}, [](const auto& a) { return dropout(a[0], 1, true); },
    [](const Args<double>& a) { return std::vector<double>(static_cast<std::size_t>(a[0].numel())); });

inline const bool dropout_none_registered = op_case(
    {.name = "dropout of nothing", .shapes = edge_shapes()}, [](const auto& a) { return dropout(a[0], 0, true); },
    [](const Args<double>& a) { return a[0].to_vector(); });

inline const bool dropout_eval_registered = op_case(
    {.name = "dropout, evaluation", .shapes = edge_shapes()}, [](const auto& a) { return dropout(a[0], 0.9, false); },
    [](const Args<double>& a) { return a[0].to_vector(); });

inline const bool dropout2d_registered = op_case(
    {.name = "dropout2d",
     .shapes = {{Shape{3, 4, 2, 3}}, {Shape{2, 5}}, {Shape{0, 3, 2}}, {Shape{2, 3, 0}}, {Shape{2, 17, 19}}},
     .wrong = {{[] { dropout2d(Tensor<float>::zeros({3}), 0.5, true); }, "[dropout2d] got shape [3]"},
               {[] {
                  dropout2d(Tensor<float>::zeros({3, 1}), 2, true);
                },
                "[dropout2d] got p 2"}},
     .bench_shapes = {Shape{33, 37, 29, 31}},
     .flops = 33.0 * 37 * 29 * 31,
     .bytes = 33.0 * 37 * 29 * 31 * 8},
    [](const auto& a) {
      Generator generator(42);
      return dropout2d(a[0], 0.4, true, generator);
    },
    [](const Args<double>& a) {
      return naive_dropout(a[0], 0.4, std::max<Index>(1, qdistill::detail::split_at(a[0].shape(), 1).inner));
    });

}  // namespace qdistill_test
