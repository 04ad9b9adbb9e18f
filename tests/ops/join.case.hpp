/// cat and stack.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/join.hpp"

namespace qdistill_test {

/// Each tensor seen as outer x own x inner; the middles follow each other.
inline std::vector<double> joined_reference(const Args<double>& a, Index outer) {
  std::vector<double> y;
  for (Index o = 0; o < outer; ++o)
    for (const Tensor<double>& x : a) {
      const std::vector<double> v = x.to_vector();
      const std::size_t block = v.size() / static_cast<std::size_t>(outer);
      for (std::size_t i = 0; i < block; ++i) y.push_back(v[static_cast<std::size_t>(o) * block + i]);
    }
  return y;
}

inline const bool cat_registered = op_case(
    {.name = "cat",
     .shapes = {{{2, 3, 2}, {2, 1, 2}}, {{1, 2}, {1, 0}}, {{2, 2, 1}, {2, 2, 1}}},
     .wrong = {{[] {
                  cat({Tensor<float>::ones({2, 3}), Tensor<float>::ones({3, 3})}, 1);
                },
                "[cat] got [2, 3] and [3, 3], expected all dims but dim 1 to agree"},
               {[] {
                  cat({Tensor<float>::ones({2, 3}), Tensor<float>::ones({2})}, 1);
                },
                "[cat] got [2, 3] and [2]"},
               {[] {
                  cat({Tensor<float>::ones({2, 3})}, 2);
                },
                "[cat] got dim 2"},
               {[] {
                  cat({Tensor<float>::ones({}), Tensor<float>::ones({})});
                },
                "[cat] got dim 0"},
               {[] { cat(std::vector<Tensor<float>>{}); }, "[cat] got 0 tensors"},
               {[] { cat({Tensor<float>{}}); }, "[cat] got an undefined tensor"}},
     .bench_shapes = {{130, 301}, {130, 403}},
     .bytes = 8.0 * 130 * 704},
    [](const auto& a) { return cat(a, 1); },
    [](const Args<double>& a) { return joined_reference(a, a[0].shape()[0]); });

inline const bool cat_rows_registered = op_case(
    {.name = "cat along dim 0", .shapes = {{{2, 3}, {1, 3}, {3, 3}}, {{4}}, {{0, 2}, {2, 2}}}},
    [](const auto& a) { return cat(a, 0); }, [](const Args<double>& a) { return joined_reference(a, 1); });

inline const bool stack_registered = op_case(
    {.name = "stack",
     .shapes = {{{2, 3}, {2, 3}, {2, 3}}, {{2}}, {{2, 0}, {2, 0}}},
     .wrong = {{[] {
                  stack({Tensor<float>::ones({2, 3}), Tensor<float>::ones({3, 3})});
                },
                "[stack] got [2, 3] and [3, 3], expected one shape"},
               {[] {
                  stack({Tensor<float>::ones({2, 3})}, 3);
                },
                "[stack] got dim 3"},
               {[] { stack(std::vector<Tensor<float>>{}); }, "[stack] got 0 tensors"}},
     .bench_shapes = {{130, 301}, {130, 301}},
     .bytes = 8.0 * 130 * 602},
    [](const auto& a) { return stack(a, 1); },
    [](const Args<double>& a) { return joined_reference(a, a[0].shape()[0]); });

inline const bool stack_first_registered = op_case(
    {.name = "stack along dim 0 and the last", .shapes = {{{2, 3}, {2, 3}}, {{}, {}}}},
    [](const auto& a) {
      auto y = stack(a);
      return stack({y, y}, -1);
    },
    [](const Args<double>& a) {
      std::vector<double> y;
      for (const double v : joined_reference(a, 1)) y.push_back(v), y.push_back(v);
      return y;
    });

}  // namespace qdistill_test
