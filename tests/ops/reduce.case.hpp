/// Reductions over sets of dims.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/ops/reduce_index.hpp"

namespace qdistill_test {

/// f on the list of elements of each fiber, fibers in row-major order of the kept dims. `dims` empty means all.
template <class F>
std::function<std::vector<double>(const Args<double>&)> fiber_reference(std::vector<Index> dims, F f) {
  return [dims, f](const Args<double>& args) {
    const Shape& shape = args[0].shape();
    bool reduced[max_rank] = {};
    for (int d = 0; d < shape.rank(); ++d) reduced[d] = dims.empty();
    if (shape.rank() > 0)
      for (const Index d : dims) reduced[wrap_dim("reference", d, shape.rank())] = true;
    Index outputs = 1;
    for (int d = 0; d < shape.rank(); ++d) outputs *= reduced[d] ? 1 : shape[d];
    std::vector<std::vector<double>> fibers(static_cast<std::size_t>(outputs));
    const std::vector<double> x = args[0].to_vector();
    for (std::size_t i = 0; i < x.size(); ++i) {
      Index rest = static_cast<Index>(i), o = 0, step = 1;
      for (int d = shape.rank() - 1; d >= 0; --d) {
        if (!reduced[d]) o += rest % shape[d] * step, step *= shape[d];
        rest /= shape[d];
      }
      fibers[static_cast<std::size_t>(o)].push_back(x[i]);
    }
    std::vector<double> y;
    for (const auto& fiber : fibers) y.push_back(f(fiber));
    return y;
  };
}

inline double total(const std::vector<double>& v) {
  double s = 0;
  for (const double x : v) s += x;
  return s;
}
inline double average(const std::vector<double>& v) { return total(v) / static_cast<double>(v.size()); }
inline double squared_deviations(const std::vector<double>& v) {
  const double m = average(v);
  double s = 0;
  for (const double x : v) s += (x - m) * (x - m);
  return s;
}
inline double log_sum_exp(const std::vector<double>& v) {
  double s = 0;
  for (const double x : v) s += std::exp(x);
  return std::log(s);
}

/// One case for each of several sets of dims: all, the last, the first, the middle, the outer two, with and without
/// keepdim. `run(x, dims, keepdim)`.
template <class Run, class F>
bool reduce_cases(const char* name, Run run, F f, bool empty = true, std::vector<WrongCall> wrong = {}) {
  struct Variant {
    std::vector<Index> dims;
    bool keepdim;
    std::vector<std::vector<Shape>> shapes, more;
    Shape bench;
  };
  const std::vector<Variant> variants = {
      {{}, false, {{Shape{}}, {{1}}, {{7}}, {{2, 3, 4}}}, {{{1000}}, {{33, 65}}, {{2100}}}, {511, 1031}},
      {{-1}, true, {{{5}}, {{3, 4}}, {{2, 3, 5}}, {{2, 1}}}, {{{7, 1025}}, {{3, 2049}}, {{0, 3}}}, {7, 150001}},
      {{0}, false, {{{5}}, {{3, 4}}, {{2, 3, 5}}, {{1, 3}}}, {{{70, 300}}, {{130, 3}}, {{3, 0}}}, {5003, 101}},
      {{1}, false, {{{2, 3}}, {{2, 3, 4}}, {{3, 2, 2, 2}}}, {{{3, 40, 257}}, {{2, 70, 5}}}, {11, 301, 307}},
      {{0, -1}, false, {{{2, 3, 4}}, {{3, 2, 2}}}, {{{5, 3, 1100}}, {{40, 7, 9}}}, {64, 33, 257}},
      {{2, 0}, true, {{{2, 3, 2, 2}}}, {{{5, 3, 40, 7}}}, {33, 7, 40, 33}}};
  for (const Variant& v : variants) {
    OpCase c;
    c.name = text(name, " over dims ", Shape(std::span<const Index>(v.dims)), v.keepdim ? ", kept" : "");
    c.shapes = v.shapes;
    c.more_shapes = v.more;
    if (empty && v.dims.size() < 2) c.more_shapes.push_back({v.dims.empty() ? Shape{0} : Shape{0, 0}});
    c.tolerance = 2e-6;  // sums of either sign are smaller than what is added up
    c.bench_shapes = {v.bench};
    c.flops = static_cast<double>(v.bench.numel());
    c.bytes = 4 * c.flops;
    if (v.dims.empty()) c.wrong = wrong;
    op_case(
        c, [run, v](const auto& a) { return run(a[0], Dims(std::span<const Index>(v.dims)), v.keepdim); },
        fiber_reference(v.dims, f));
  }
  return true;
}

inline const bool sum_registered =
    reduce_cases("sum", [](const auto& x, const Dims& d, bool k) { return sum(x, d, k); }, total, true,
                 {{[] {
                     sum(Tensor<float>::zeros({2, 3}), 2);
                   },
                   "[sum] got dim 2, expected it in [-2, 2)"},
                  {[] {
                     sum(Tensor<float>::zeros({2, 3}), {1, -1});
                   },
                   "[sum] got dims [1, -1]"},
                  {[] { sum(Tensor<float>{}); }, "[sum] got an undefined tensor"},
                  {[] { sum(Tensor<float>::scalar(1), 1); }, "[sum] got dim 1"}});
inline const bool mean_registered =
    reduce_cases("mean", [](const auto& x, const Dims& d, bool k) { return mean(x, d, k); }, average, true,
                 {{[] {
                     mean(Tensor<float>::zeros({2, 3}), -3);
                   },
                   "[mean] got dim -3"}});
inline const bool var_biased_registered = reduce_cases(
    "var, biased", [](const auto& x, const Dims& d, bool k) { return var(x, d, false, k); },
    [](const std::vector<double>& v) { return squared_deviations(v) / static_cast<double>(v.size()); });
inline const bool var_registered = op_case(
    {.name = "var",
     .shapes = {{Shape{2, 3, 2}}, {Shape{4, 2}}},
     .tolerance = 1e-6,
     .wrong = {{[] {
                  var(Tensor<float>::zeros({2, 3}), 5);
                },
                "[var] got dim 5"}},
     .bench_shapes = {Shape{301, 2003}},
     .flops = 301.0 * 2003 * 3,
     .bytes = 301.0 * 2003 * 8,
     .more_shapes = {{Shape{1, 3}}, {Shape{300, 5}}}},
    [](const auto& a) { return var(a[0], 0); }, fiber_reference({0}, [](const std::vector<double>& v) {
      return squared_deviations(v) / (static_cast<double>(v.size()) - 1);
    }));
inline const bool norm1_registered = reduce_cases(
    "norm, p = 1", [](const auto& x, const Dims& d, bool k) { return norm(x, 1, d, k); },
    [](const std::vector<double>& v) {
      double s = 0;
      for (const double x : v) s += std::fabs(x);
      return s;
    },
    true,
    {{[] {
        norm(Tensor<float>::zeros({2, 3}), 3);
      },
      "[norm] got p 3, expected 1 or 2"}});
inline const bool norm2_registered = reduce_cases(
    "norm, p = 2", [](const auto& x, const Dims& d, bool k) { return norm(x, 2, d, k); },
    [](const std::vector<double>& v) {
      double s = 0;
      for (const double x : v) s += x * x;
      return std::sqrt(s);
    });
inline const bool amax_registered = reduce_cases(
    "amax", [](const auto& x, const Dims& d, bool k) { return amax(x, d, k); },
    [](const std::vector<double>& v) {
      double m = -std::numeric_limits<double>::infinity();
      for (const double x : v) m = std::fmax(m, x);
      return m;
    },
    false,
    {{[] {
        amax(Tensor<float>::zeros({2, 0}), 1);
      },
      "[amax] got shape [2, 0], expected at least one element"}});
inline const bool amin_registered = reduce_cases(
    "amin", [](const auto& x, const Dims& d, bool k) { return amin(x, d, k); },
    [](const std::vector<double>& v) {
      double m = std::numeric_limits<double>::infinity();
      for (const double x : v) m = std::fmin(m, x);
      return m;
    },
    false, {{[] { amin(Tensor<float>::zeros({0})); }, "[amin] got shape [0], expected at least one element"}});
inline const bool logsumexp_registered = reduce_cases(
    "logsumexp", [](const auto& x, const Dims& d, bool k) { return logsumexp(x, d, k); }, log_sum_exp, true,
    {{[] {
        logsumexp(Tensor<float>::zeros({2, 3}), 2);
      },
      "[logsumexp] got dim 2"}});

/// argmax as numbers, so that an OpCase can carry it.
template <class T>
Tensor<T> as_numbers(const Tensor<Index>& index) {
  Tensor<T> y = Tensor<T>::empty(index.shape());
  for (Index i = 0; i < index.numel(); ++i) y.data()[i] = static_cast<T>(index.data()[i]);
  return y;
}
inline double first_largest(const std::vector<double>& v) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < v.size(); ++i)
    if (v[i] > v[best]) best = i;
  return static_cast<double>(best);
}
inline const bool argmax_registered =
    op_case(
        {.name = "argmax",
         .shapes = {{Shape{1}}, {Shape{9}}, {Shape{3, 17}}, {Shape{0, 3}}},
         .differentiable = false,
         .wrong = {{[] {
                      argmax(Tensor<float>::zeros({2, 3}), 2);
                    },
                    "[argmax] got dim 2"},
                   {[] {
                      argmax(Tensor<float>::zeros({2, 0}), 1);
                    },
                    "[argmax] got shape [2, 0]"},
                   {[] { argmax(Tensor<float>::zeros({0})); }, "[argmax] got shape [0]"},
                   {[] { argmin(Tensor<float>::zeros({0})); }, "[argmin] got shape [0]"},
                   {[] { argmin(Tensor<float>{}, 0); }, "[argmin] got an undefined tensor"}},
         .bench_shapes = {Shape{3, 200001}},
         .flops = 600003,
         .bytes = 4.0 * 600003,
         .more_shapes = {{Shape{2, 70000}}}},
        [](const auto& a) {
          using T = typename std::decay_t<decltype(a[0])>::value_type;
          return as_numbers<T>(argmax(a[0], -1));
        },
        fiber_reference({-1}, first_largest)) &&
    op_case(
        {.name = "argmax over dim 0",
         .shapes = {{Shape{5, 3}}, {Shape{4, 2, 3}}},
         .differentiable = false,
         .bench_shapes = {Shape{201, 3001}},
         .flops = 201.0 * 3001,
         .bytes = 4.0 * 201 * 3001},
        [](const auto& a) {
          using T = typename std::decay_t<decltype(a[0])>::value_type;
          return as_numbers<T>(argmax(a[0], 0));
        },
        fiber_reference({0}, first_largest)) &&
    op_case(
        {.name = "argmin of all",
         .shapes = {{Shape{}}, {Shape{5, 3}}},
         .differentiable = false,
         .bench_shapes = {Shape{301, 3001}},
         .flops = 301.0 * 3001,
         .bytes = 4.0 * 301 * 3001},
        [](const auto& a) {
          using T = typename std::decay_t<decltype(a[0])>::value_type;
          return as_numbers<T>(argmin(a[0]));
        },
        fiber_reference({}, [](std::vector<double> v) {
          for (double& x : v) x = -x;
          return first_largest(v);
        }));

template <class F>
bool golden_reduction(const char* op, F f) {
  return golden(op, [f](auto g) {
    const auto x = g.leaf("input");
    const auto found = g->params().find("dim");
    std::vector<Index> dims;
    if (found != g->params().end() && found->is_array()) dims = found->template get<std::vector<Index>>();
    else if (found != g->params().end() && !found->is_null()) dims = {found->template get<Index>()};
    g.check(f(x, Dims(std::span<const Index>(dims)), g->template param<bool>("keepdim", false)), {{"input", x}});
  });
}
inline const bool reduce_goldens =
    golden_reduction("sum", [](auto x, const Dims& d, bool k) { return sum(x, d, k); }) &&
    golden_reduction("mean", [](auto x, const Dims& d, bool k) { return mean(x, d, k); }) &&
    golden_reduction("var", [](auto x, const Dims& d, bool k) { return var(x, d, true, k); }) &&
    golden_reduction("var_biased", [](auto x, const Dims& d, bool k) { return var(x, d, false, k); }) &&
    golden_reduction("amax", [](auto x, const Dims& d, bool k) { return amax(x, d, k); }) &&
    golden_reduction("norm2", [](auto x, const Dims& d, bool k) { return norm(x, 2, d, k); }) &&
    golden_reduction("logsumexp", [](auto x, const Dims& d, bool k) { return logsumexp(x, d, k); });

}  // namespace qdistill_test
