/// Comparisons, where, and conversions between scalar types.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/cast.hpp"
#include "qdistill/ops/compare.hpp"

namespace qdistill_test {

/// Plain where() on three shapes that broadcast; the condition is c > 0.
inline std::vector<double> naive_where(const Args<double>& args) {
  const Shape out = broadcast("reference", broadcast("reference", args[0].shape(), args[1].shape()), args[2].shape());
  std::vector<double> y(static_cast<std::size_t>(out.numel()));
  for (std::size_t n = 0; n < y.size(); ++n) {
    double v[3];
    for (std::size_t k = 0; k < 3; ++k) {
      const Strides s = broadcast_strides(args[k].shape(), args[k].strides(), out);
      Index rest = static_cast<Index>(n), at = 0;
      for (int d = out.rank() - 1; d >= 0; --d) at += rest % out[d] * s[d], rest /= out[d];
      v[k] = args[k].data()[at];
    }
    y[n] = v[0] > 0 ? v[1] : v[2];
  }
  return y;
}

inline const bool where_registered = op_case(
    {.name = "where",
     .shapes = {{{}, {}, {}},
                {{2, 3}, {2, 3}, {2, 3}},
                {{3}, {2, 3}, {2, 1}},
                {{2, 3}, {}, {3}},
                {{2, 1, 3}, {4, 1}, {1}},
                {{4}, {1}, {}},
                {{2, 0}, {1}, {2, 1}}},
     .gap = 0.01,
     .tolerance = 0,
     .wrong = {{[] { where(Mask::ones({2}), Tensor<float>::zeros({3}), Tensor<float>::zeros({3})); },
                "[where] got shapes [3] and [2]"},
               {[] { where(Mask{}, Tensor<float>::zeros({3}), Tensor<float>::zeros({3})); },
                "[where] got an undefined tensor"}},
     .bench_shapes = {Shape{301, 2001}, Shape{301, 2001}, Shape{2001}},
     .flops = 301.0 * 2001,
     .bytes = 301.0 * 2001 * 9},
    [](const auto& a) { return where(gt(a[0].detach(), 0), a[1], a[2]); }, naive_where);

inline const bool where_number_registered = op_case(
    {.name = "where with a number", .shapes = edge_shapes(), .gap = 0.01, .tolerance = 0},
    [](const auto& a) { return where(le(a[0].detach(), 0), a[0], where(ge(a[0].detach(), 1), 7, a[0])); },
    elementwise_reference([](double x) { return x >= 1 ? 7 : x; }));

inline const bool comparisons_registered = op_case(
    {.name = "eq ne lt le gt ge",
     .shapes = {{{3, 5}, {5}}, {{}, {4}}, {{2, 3}, {2, 3}}},
     .tolerance = 0,
     .differentiable = false,
     .wrong = {{[] { eq(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[eq] got shapes [2] and [3]"},
               {[] { ne(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[ne] got shapes"},
               {[] { lt(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[lt] got shapes"},
               {[] { le(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[le] got shapes"},
               {[] { gt(Tensor<float>::zeros({2}), Tensor<float>::zeros({3})); }, "[gt] got shapes"},
               {[] { ge(Tensor<float>::zeros({2}), Tensor<float>{}); }, "[ge] got an undefined tensor"}}},
    [](const auto& args) {
      using T = typename std::decay_t<decltype(args[0])>::value_type;
      // Rounded, so that equal pairs occur; each comparison contributes its own power of two.
      auto a = to<T>(to<Index>(args[0])), b = to<T>(to<Index>(args[1]));
      const Mask masks[] = {eq(a, b), ne(a, b), lt(a, b), le(a, b), gt(a, b), ge(a, b)};
      Tensor<T> y = Tensor<T>::zeros(masks[0].shape());
      for (std::size_t k = 0; k < 6; ++k)
        for (Index i = 0; i < y.numel(); ++i) y.data()[i] += static_cast<T>(static_cast<int>(masks[k].data()[i]) << k);
      return y;
    },
    [](const Args<double>& args) {
      std::vector<double> y;
      const std::vector<double> a = args[0].to_vector(), b = args[1].to_vector();
      for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
        const double u = std::trunc(a[i % a.size()]), v = std::trunc(b[i % b.size()]);
        y.push_back((u == v) + 2 * (u != v) + 4 * (u < v) + 8 * (u <= v) + 16 * (u > v) + 32 * (u >= v));
      }
      return y;
    });

inline const bool cast_registered = op_case(
    {.name = "to<other type>",
     .shapes = edge_shapes(),
     .tolerance = 1e-7,
     .surrogate = true,  // float in between hides the differences of gradcheck; see conventions.test.cpp
     .wrong = {{[] { to<double>(Tensor<float>{}); }, "[to] got an undefined tensor"}},
     .bench_shapes = {Shape{500001}},
     .flops = 0,
     .bytes = 500001.0 * 12},
    [](const auto& a) {
      using T = typename std::decay_t<decltype(a[0])>::value_type;
      using U = std::conditional_t<std::is_same_v<T, float>, double, T>;
      return to<T>(to<U>(a[0]));
    },
    elementwise_reference([](double x) { return x; }));

}  // namespace qdistill_test
