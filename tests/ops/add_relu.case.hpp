/// A sum and its ReLU in one pass.
#pragma once

#include "op_case.hpp"
#include "qdistill/ops/add_relu.hpp"

namespace qdistill_test {

inline std::vector<std::vector<Shape>> pairs_of_edge_shapes() {
  std::vector<std::vector<Shape>> out;
  for (const auto& shapes : edge_shapes()) out.push_back({shapes[0], shapes[0]});
  return out;
}

inline const bool add_relu_registered = op_case(
    {.name = "add_relu",
     .shapes = pairs_of_edge_shapes(),
     .tolerance = 2e-7,
     .wrong = {{[] {
                  add_relu(Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({3}));
                },
                "[add_relu] got shapes [2, 3] and [3], expected equal ones"},
               {[] { add_relu(Tensor<float>::zeros({2}), Tensor<float>{}); }, "[add_relu] got an undefined tensor"}},
     .bench_shapes = {Shape{531, 1001}, Shape{531, 1001}},
     .flops = 531.0 * 1001 * 2,
     .bytes = 531.0 * 1001 * 12},
    [](const auto& a) { return add_relu(a[0], a[1]); },
    [](const Args<double>& a) {
      std::vector<double> y = a[0].to_vector();
      const std::vector<double> b = a[1].to_vector();
      for (std::size_t i = 0; i < y.size(); ++i) y[i] = std::fmax(y[i] + b[i], 0);
      return y;
    });

}  // namespace qdistill_test
