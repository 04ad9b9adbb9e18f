/// PACT: clipped, rounded activations; the gradients are straight through the rounding, so they are compared with
/// their definition.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/pact.hpp"

namespace qdistill_test {

/// A clipping value above 0 from the case's second input, which may have any sign.
template <class T>
Tensor<T> some_alpha(const Tensor<T>& x) {
  return add(mul(x, x), 0.5);
}

inline const bool pact_relu_registered = op_case(
    {.name = "pact_relu",
     .shapes = {{Shape{3, 5}, Shape{}}, {Shape{0}, Shape{1}}, {Shape{}, Shape{1}}, {Shape{17}, Shape{1, 1}}},
     .tolerance = 1e-6,
     .surrogate = true,
     .wrong = {{[] { pact_relu(Tensor<float>::ones({3}), Tensor<float>::ones({2}), 4); },
                "[pact_relu] got alpha of shape [2], expected one element"},
               {[] { pact_relu(Tensor<float>::ones({3}), Tensor<float>::ones({1}), 0); }, "got 0 bits"},
               {[] { pact_relu(Tensor<float>::ones({3}), Tensor<float>::ones({1}), 40); }, "got 40 bits"},
               {[] { pact_relu(Tensor<float>::ones({3}), Tensor<float>::zeros({1}), 4); }, "got alpha 0"},
               {[] { pact_relu(Tensor<float>::ones({3}), Tensor<float>::full({1}, std::nanf("")), 4); },
                "got alpha nan"},
               {[] { pact_relu(Tensor<float>{}, Tensor<float>::ones({1}), 4); },
                "[pact_relu] got an undefined tensor"}},
     .bench_shapes = {Shape{701, 1001}, Shape{1}},
     .flops = 701.0 * 1001 * 5,
     .bytes = 701.0 * 1001 * 8,
     .more_shapes = {{Shape{5, 129}, Shape{1}}}},
    [](const auto& a) { return pact_relu(a[0], some_alpha(a[1]), 3); },
    [](const Args<double>& a) {
      const double alpha = some_alpha(a[1].clone()).item();
      std::vector<double> y = a[0].to_vector();
      for (double& v : y) v = std::nearbyint(std::min(std::max(v, 0.0), alpha) / alpha * 7) / 7 * alpha;
      return y;
    });

}  // namespace qdistill_test
