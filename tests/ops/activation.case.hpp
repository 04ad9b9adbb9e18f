/// Elementwise functions of one input.
#pragma once

#include "golden.hpp"
#include "op_case.hpp"
#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/arithmetic.hpp"

namespace qdistill_test {

/// A case on the edge shapes, inputs in [lo, hi) at least `gap` away from multiples of 1/2.
template <class Run, class F>
bool activation_case(const char* name, Run run, F f, double lo = -4, double hi = 4, double gap = 0,
                     double tolerance = 4e-7, std::vector<WrongCall> wrong = {}) {
  OpCase c;
  c.name = name;
  c.shapes = edge_shapes();
  c.lo = lo, c.hi = hi, c.gap = gap, c.tolerance = tolerance;
  c.wrong = std::move(wrong);
  c.bench_shapes = {Shape{1031, 977}};
  c.flops = 1031.0 * 977 * 10;
  c.bytes = 1031.0 * 977 * 8;
  c.more_shapes = {{Shape{1000}}, {Shape{5, 129}}};
  return op_case(c, run, elementwise_reference(f));
}

inline const double activation_inf = std::numeric_limits<double>::infinity();

inline const bool relu_registered = activation_case(
    "relu", [](const auto& a) { return relu(a[0]); }, [](double x) { return x > 0 ? x : 0.0; }, -4, 4, 0.01, 0,
    {{[] { relu(Tensor<float>{}); }, "[relu] got an undefined tensor"}});
inline const bool relu6_registered = activation_case(
    "relu6", [](const auto& a) { return relu6(a[0]); }, [](double x) { return std::fmin(std::fmax(x, 0.0), 6.0); }, -4,
    10, 0.01);
inline const bool leaky_relu_registered = activation_case(
    "leaky_relu", [](const auto& a) { return leaky_relu(a[0], 0.2); }, [](double x) { return x > 0 ? x : 0.2 * x; }, -4,
    4, 0.01);
inline const bool elu_registered = activation_case(
    "elu", [](const auto& a) { return elu(a[0], 1.5); }, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); }, -4,
    4, 0.01);
inline const bool gelu_registered = activation_case(
    "gelu", [](const auto& a) { return gelu(a[0]); }, [](double x) { return x * 0.5 * std::erfc(-x / std::sqrt(2.0)); },
    -6, 6);
inline const bool gelu_tanh_registered = activation_case(
    "gelu_tanh", [](const auto& a) { return gelu_tanh(a[0]); },
    [](double x) {
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    },
    -6, 6);
inline const bool silu_registered = activation_case(
    "silu", [](const auto& a) { return silu(a[0]); }, [](double x) { return x / (1 + std::exp(-x)); }, -8, 8);
inline const bool hardswish_registered = activation_case(
    "hardswish", [](const auto& a) { return hardswish(a[0]); },
    [](double x) { return x * std::fmin(std::fmax(x + 3, 0.0), 6.0) / 6; }, -5, 5, 0.01);
inline const bool softplus_registered = activation_case(
    "softplus", [](const auto& a) { return softplus(a[0]); }, [](double x) { return std::log1p(std::exp(x)); }, -10, 10,
    0, 4e-7,
    {{[] { softplus(Tensor<float>::zeros({1}), 0.0); }, "[softplus] got beta 0"},
     {[] { softplus(Tensor<float>::zeros({1}), std::nan("")); }, "[softplus] got beta nan"}});
inline const bool softplus_beta_registered = activation_case(
    "softplus with beta 2, threshold 3", [](const auto& a) { return softplus(a[0], 2.0, 3.0); },
    [](double x) { return 2 * x > 3 ? x : std::log1p(std::exp(2 * x)) / 2; }, -3, 3, 0.01);
inline const bool sigmoid_registered = activation_case(
    "sigmoid", [](const auto& a) { return sigmoid(a[0]); }, [](double x) { return 1 / (1 + std::exp(-x)); }, -30, 30);
inline const bool tanh_registered = activation_case(
    "tanh", [](const auto& a) { return tanh(a[0]); }, [](double x) { return std::tanh(x); }, -6, 6);
inline const bool erf_registered = activation_case(
    "erf", [](const auto& a) { return erf(a[0]); }, [](double x) { return std::erf(x); }, -5, 5);
inline const bool exp_registered = activation_case(
    "exp", [](const auto& a) { return exp(a[0]); }, [](double x) { return std::exp(x); }, -5, 5);
inline const bool expm1_registered = activation_case(
    "expm1", [](const auto& a) { return expm1(a[0]); }, [](double x) { return std::expm1(x); }, -3, 3);
inline const bool log_registered = activation_case(
    "log", [](const auto& a) { return log(a[0]); }, [](double x) { return std::log(x); }, 0.05, 9);
inline const bool log1p_registered = activation_case(
    "log1p", [](const auto& a) { return log1p(a[0]); }, [](double x) { return std::log1p(x); }, -0.9, 9);
inline const bool sqrt_registered = activation_case(
    "sqrt", [](const auto& a) { return sqrt(a[0]); }, [](double x) { return std::sqrt(x); }, 0.05, 9);
inline const bool square_registered = activation_case(
    "square", [](const auto& a) { return square(a[0]); }, [](double x) { return x * x; });
inline const bool abs_registered = activation_case(
    "abs", [](const auto& a) { return abs(a[0]); }, [](double x) { return std::fabs(x); }, -4, 4, 0.01, 0);
inline const bool round_registered = activation_case(
    "round", [](const auto& a) { return round(a[0]); }, [](double x) { return std::nearbyint(x); }, -4, 4, 0.01, 0);
inline const bool neg_registered = activation_case(
    "neg", [](const auto& a) { return -a[0]; }, [](double x) { return -x; }, -4, 4, 0, 0);
inline const bool clamp_registered = activation_case(
    "clamp", [](const auto& a) { return clamp(a[0], -0.75, 1.25); },
    [](double x) { return std::fmin(std::fmax(x, -0.75), 1.25); }, -2, 2, 0.1, 0,
    {{[] { clamp(Tensor<float>::zeros({1}), 2, 1); }, "[clamp] got bounds 2 and 1"}});

/// Where a float function must give limits, NaN or the shallow part of a curve; see kernels/math.test.cpp for its
/// accuracy everywhere.
inline const bool extreme_inputs_registered = op_case(
    {.name = "activations at extreme inputs", .shapes = {{Shape{10}}}, .tolerance = 1e-6, .differentiable = false},
    [](const auto& a) {
      using T = typename std::decay_t<decltype(a[0])>::value_type;
      constexpr T inf = std::numeric_limits<T>::infinity();
      const auto x = Tensor<T>::from({-inf, T(-1000), T(-90), T(-1e-30), T(-0.0), T(0), T(1e-30), T(90), T(1000), inf});
      auto y = Tensor<T>::zeros({10});
      for (const auto& f :
           {sigmoid(x), tanh(x), erf(x), relu6(x), hardswish(relu(-x)), elu(-abs(x)), log1p(exp(-abs(x)))})
        y = y + f;
      return y;
    },
    [](const Args<double>&) {
      const double inf = activation_inf;
      std::vector<double> out;
      for (const double x : {-inf, -1000.0, -90.0, -1e-30, -0.0, 0.0, 1e-30, 90.0, 1000.0, inf}) {
        const double r = std::fmax(-x, 0.0);
        const double hard = r > 3 ? r : r * (r + 3) / 6;
        out.push_back(1 / (1 + std::exp(-x)) + std::tanh(x) + std::erf(x) + std::fmin(std::fmax(x, 0.0), 6.0) + hard +
                      std::expm1(-std::fabs(x)) + std::log1p(std::exp(-std::fabs(x))));
      }
      return out;
    });

template <class F>
bool golden_of_one(const char* op, F f) {
  return golden(op, [f](auto g) {
    const auto x = g.leaf("input");
    g.check(f(x, g), {{"input", x}});
  });
}
inline const bool activation_goldens =
    golden_of_one("relu", [](auto x, auto) { return relu(x); }) &&
    golden_of_one("relu6", [](auto x, auto) { return relu6(x); }) &&
    golden_of_one("sigmoid", [](auto x, auto) { return sigmoid(x); }) &&
    golden_of_one("tanh", [](auto x, auto) { return tanh(x); }) &&
    golden_of_one("gelu", [](auto x, auto) { return gelu(x); }) &&
    golden_of_one("gelu_tanh", [](auto x, auto) { return gelu_tanh(x); }) &&
    golden_of_one("silu", [](auto x, auto) { return silu(x); }) &&
    golden_of_one("leaky_relu",
                  [](auto x, auto g) { return leaky_relu(x, g->template param<double>("negative_slope", 0.01)); }) &&
    golden_of_one("elu", [](auto x, auto g) { return elu(x, g->template param<double>("alpha", 1)); }) &&
    golden_of_one("softplus",
                  [](auto x, auto g) {
                    return softplus(x, g->template param<double>("beta", 1),
                                    g->template param<double>("threshold", 20));
                  }) &&
    golden_of_one("exp", [](auto x, auto) { return exp(x); }) &&
    golden_of_one("hardswish", [](auto x, auto) { return hardswish(x); }) &&
    golden_of_one("erf", [](auto x, auto) { return erf(x); }) &&
    golden_of_one("round", [](auto x, auto) { return round(x); }) && golden_of_one("clamp", [](auto x, auto g) {
      return clamp(x, g->template param<double>("min", -activation_inf),
                   g->template param<double>("max", activation_inf));
    });

}  // namespace qdistill_test
