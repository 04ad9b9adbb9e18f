/// One description of an operation drives its tests and its benchmark. A case says how to run the operation, what a
/// plain loop in double gives, and which shapes matter; the harness (ops/op_cases.test.cpp) adds gradcheck in double,
/// float against the reference, edge shapes, strided inputs, 1 against N threads bit for bit, the error texts and a
/// live-node count; benchmarks/ops.cpp times `bench_shapes` beside the roofline.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "qdistill/autograd/gradcheck.hpp"

namespace qdistill_test {

using namespace qdistill;

template <class T>
using Args = std::vector<Tensor<T>>;

/// A call that must throw, and a piece of the text.
struct WrongCall {
  std::function<void()> call;
  std::string text;
};

struct OpCase {
  std::string name = {};
  /// Lists of input shapes. Small: gradcheck perturbs every element.
  std::vector<std::vector<Shape>> shapes = {};
  /// Inputs are uniform in [lo, hi), none closer than `gap` to a multiple of 1/2 (where kinks are) if gap > 0.
  double lo = -2, hi = 2, gap = 0;
  /// Largest |float - reference| / (1 + |reference|).
  double tolerance = 2e-6;
  /// False: no gradient (argmax, comparisons); gradcheck is skipped.
  bool differentiable = true;
  /// True: the backward is a surrogate (straight-through) and is tested elsewhere by its formula.
  bool surrogate = false;
  std::vector<WrongCall> wrong = {};
  /// For threads and benchmark: large inputs, and the work of one call on them.
  std::vector<Shape> bench_shapes = {};
  double flops = 0, bytes = 0;
  /// More input lists that need no gradcheck (larger, odd sizes).
  std::vector<std::vector<Shape>> more_shapes = {};

  std::function<Tensor<double>(const Args<double>&)> run_double = {};
  std::function<Tensor<float>(const Args<float>&)> run_float = {};
  /// Row-major output of the plain computation. Null: the double run stands in as the reference of the float run.
  std::function<std::vector<double>(const Args<double>&)> reference = {};
};

inline std::vector<OpCase>& op_cases() {
  static std::vector<OpCase> cases;
  return cases;
}

/// Registers `c` with `run`, a callable for Args<float> and Args<double>. Meant for a namespace-scope
/// `const bool registered = op_case({.name = "softmax", ...}, [](const auto& a) { return softmax(a[0], -1); }, naive);`
template <class Run>
bool op_case(OpCase c, Run run, std::function<std::vector<double>(const Args<double>&)> reference = nullptr) {
  c.run_double = [run](const Args<double>& a) { return run(a); };
  c.run_float = [run](const Args<float>& a) { return run(a); };
  c.reference = std::move(reference);
  op_cases().push_back(std::move(c));
  return true;
}

/// Reference of an elementwise function of one input.
template <class F>
std::function<std::vector<double>(const Args<double>&)> elementwise_reference(F f) {
  return [f](const Args<double>& a) {
    std::vector<double> out = a[0].to_vector();
    for (double& v : out) v = f(v);
    return out;
  };
}

/// The shapes of which authors forget some: scalar, empty, one element, around the vector widths.
inline std::vector<std::vector<Shape>> edge_shapes() {
  return {{Shape{}}, {Shape{0}}, {Shape{1}}, {Shape{3, 5}}, {Shape{17}}, {Shape{2, 0, 3}}, {Shape{2, 3, 4}}};
}

/// Inputs of a case for the given shapes, deterministic.
template <class T>
Args<T> make_args(const OpCase& c, const std::vector<Shape>& shapes, std::uint64_t seed = 1) {
  Args<T> args;
  std::uint64_t stream = 0;
  for (const Shape& shape : shapes) {
    Tensor<double> d = Tensor<double>::uniform(shape, {seed, stream++}, c.lo, c.hi);
    Tensor<T> t = Tensor<T>::empty(shape);
    for (Index i = 0; i < d.numel(); ++i) {
      double v = d.data()[i];
      if (c.gap > 0) {
        const double nearest = std::nearbyint(v * 2) / 2;
        if (std::fabs(v - nearest) < c.gap) v = nearest + (v < nearest ? -c.gap : c.gap);
      }
      t.data()[i] = static_cast<T>(v);
    }
    args.push_back(t);
  }
  return args;
}

}  // namespace qdistill_test
