/// Arithmetic of two inputs that broadcast, and with numbers.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/arithmetic.hpp"

namespace qdistill_test {

/// f on every pair of elements of a and b broadcast, element by element.
template <class F>
std::function<std::vector<double>(const Args<double>&)> broadcast_reference(F f) {
  return [f](const Args<double>& args) {
    const Tensor<double>&a = args[0], &b = args[1];
    const Shape out = broadcast("reference", a.shape(), b.shape());
    const Strides sa = broadcast_strides(a.shape(), a.strides(), out),
                  sb = broadcast_strides(b.shape(), b.strides(), out);
    std::vector<double> y(static_cast<std::size_t>(out.numel()));
    for (std::size_t n = 0; n < y.size(); ++n) {
      Index rest = static_cast<Index>(n), at_a = 0, at_b = 0;
      for (int d = out.rank() - 1; d >= 0; --d) {
        at_a += rest % out[d] * sa[d], at_b += rest % out[d] * sb[d];
        rest /= out[d];
      }
      y[n] = f(a.data()[at_a], b.data()[at_b]);
    }
    return y;
  };
}

/// Equal shapes, scalars, either side repeated along leading, middle, trailing and several dims, empty.
inline std::vector<std::vector<Shape>> broadcast_shapes() {
  return {{{}, {}},
          {{2, 3}, {2, 3}},
          {{2, 3}, {3}},
          {{2, 1}, {2, 3}},
          {{}, {5}},
          {{5}, {}},
          {{2, 1}, {1, 3}},
          {{2, 3, 2, 2}, {3, 1, 1}},
          {{1, 3, 1, 2}, {2, 3, 4, 1}},
          {{2, 1, 3, 1, 2}, {1, 2, 1, 2, 1}},
          {{0}, {1}},
          {{2, 0, 3}, {3}},
          {{1, 1}, {0, 4}}};
}

template <class Run, class F>
bool arithmetic_case(const char* name, Run run, F f, double lo, double hi, std::vector<Shape> bench,
                     std::vector<WrongCall> wrong = {}) {
  OpCase c;
  c.name = name;
  c.shapes = broadcast_shapes();
  c.lo = lo, c.hi = hi, c.tolerance = 1e-6;
  c.wrong = std::move(wrong);
  double bytes = 0;
  for (const Shape& s : bench) bytes += 4 * static_cast<double>(s.numel());
  c.bench_shapes = std::move(bench);
  c.flops = bytes / 4, c.bytes = bytes * 2;
  c.more_shapes = {{{3, 5, 7, 9}, {5, 1, 1}}, {{257}, {257}}, {{3, 1}, {40, 1, 70}}, {{70, 40}, {40}}};
  return op_case(c, run, broadcast_reference(f));
}

inline const bool add_registered = arithmetic_case(
    "add", [](const auto& a) { return a[0] + a[1]; }, [](double a, double b) { return a + b; }, -2, 2,
    {Shape{64, 33, 17, 16}, Shape{33, 1, 1}},
    {{[] {
        add(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({4}));
      },
      "[add] got shapes [2, 3] and [4]"},
     {[] { add(Tensor<float>{}, Tensor<float>::zeros({4})); }, "[add] got an undefined tensor"}});
inline const bool sub_registered = arithmetic_case(
    "sub", [](const auto& a) { return a[0] - a[1]; }, [](double a, double b) { return a - b; }, -2, 2,
    {Shape{1001}, Shape{533, 1001}},
    {{[] {
        sub(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2}));
      },
      "[sub] got shapes [2, 3] and [2]"}});
inline const bool mul_registered = arithmetic_case(
    "mul", [](const auto& a) { return a[0] * a[1]; }, [](double a, double b) { return a * b; }, -2, 2,
    {Shape{533, 1001}, Shape{533, 1}},
    {{[] {
        mul(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2}));
      },
      "[mul] got shapes [2, 3] and [2]"}});
inline const bool div_registered = arithmetic_case(
    "div", [](const auto& a) { return a[0] / a[1]; }, [](double a, double b) { return a / b; }, 0.4, 2,
    {Shape{533, 1001}, Shape{533, 1001}},
    {{[] {
        div(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2}));
      },
      "[div] got shapes [2, 3] and [2]"}});
inline const bool pow_registered = arithmetic_case(
    "pow", [](const auto& a) { return pow(a[0], a[1]); }, [](double a, double b) { return std::pow(a, b); }, 0.3, 3,
    {Shape{233, 501}, Shape{}},
    {{[] {
        pow(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2}));
      },
      "[pow] got shapes [2, 3] and [2]"}});
inline const bool maximum_registered = arithmetic_case(
    "maximum", [](const auto& a) { return maximum(a[0], a[1]); }, [](double a, double b) { return std::fmax(a, b); },
    -2, 2, {Shape{531, 1001}, Shape{1001}},
    {{[] {
        maximum(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2}));
      },
      "[maximum] got shapes"}});
inline const bool minimum_registered = arithmetic_case(
    "minimum", [](const auto& a) { return minimum(a[0], a[1]); }, [](double a, double b) { return std::fmin(a, b); },
    -2, 2, {Shape{3, 1, 70001}, Shape{2, 1}},
    {{[] {
        minimum(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2}));
      },
      "[minimum] got shapes"}});

template <class Run, class F>
bool number_case(const char* name, Run run, F f, double lo = -2, double hi = 2) {
  OpCase c;
  c.name = name;
  c.shapes = edge_shapes();
  c.lo = lo, c.hi = hi, c.tolerance = 1e-6;
  c.bench_shapes = {Shape{531, 1001}};
  c.flops = 531.0 * 1001, c.bytes = 531.0 * 1001 * 8;
  return op_case(c, run, elementwise_reference(f));
}

inline const bool numbers_registered =
    number_case(
        "x + 1.5", [](const auto& a) { return a[0] + 1.5; }, [](double x) { return x + 1.5; }) &&
    number_case(
        "1.5 - x", [](const auto& a) { return 1.5 - a[0]; }, [](double x) { return 1.5 - x; }) &&
    number_case(
        "(x - 2) 3 / 4", [](const auto& a) { return 3 * (a[0] - 2) / 4; }, [](double x) { return (x - 2) * 3 / 4; }) &&
    number_case(
        "0.5 / x", [](const auto& a) { return 0.5 / a[0]; }, [](double x) { return 0.5 / x; }, 0.3, 2) &&
    number_case(
        "x^2", [](const auto& a) { return pow(a[0], 2); }, [](double x) { return x * x; }) &&
    number_case(
        "x^3", [](const auto& a) { return pow(a[0], 3); }, [](double x) { return x * x * x; }) &&
    number_case(
        "x^0", [](const auto& a) { return pow(a[0], 0); }, [](double) { return 1.0; }) &&
    number_case(
        "x^0.5 + x^-1 + x^1.7", [](const auto& a) { return pow(a[0], 0.5) + pow(a[0], -1) + pow(a[0], 1.7); },
        [](double x) { return std::sqrt(x) + 1 / x + std::pow(x, 1.7); }, 0.3, 2) &&
    number_case(
        "1.3^x", [](const auto& a) { return pow(1.3, a[0]); }, [](double x) { return std::pow(1.3, x); });

template <class F>
bool golden_of_two(const char* op, F f) {
  return golden(op, [f](auto g) {
    const auto a = g.leaf("a"), b = g.leaf("b");
    g.check(f(a, b), {{"a", a}, {"b", b}});
  });
}
inline const bool arithmetic_goldens = golden_of_two("add", [](auto a, auto b) { return add(a, b); }) &&
                                       golden_of_two("sub", [](auto a, auto b) { return sub(a, b); }) &&
                                       golden_of_two("mul", [](auto a, auto b) { return mul(a, b); }) &&
                                       golden_of_two("div", [](auto a, auto b) { return div(a, b); }) &&
                                       golden_of_two("pow", [](auto a, auto b) { return pow(a, b); }) &&
                                       golden_of_two("maximum", [](auto a, auto b) { return maximum(a, b); }) &&
                                       golden_of_two("minimum", [](auto a, auto b) { return minimum(a, b); });

}  // namespace qdistill_test
