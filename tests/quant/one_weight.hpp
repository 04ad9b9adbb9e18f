/// A module of one weight, to put a quantizer on.
#pragma once

#include <utility>

#include "qdistill/nn/module.hpp"

namespace qdistill_test {

using namespace qdistill;

template <class T = float>
struct OneWeight : nn::Module<T> {
  nn::ParameterPtr<T> w;
  explicit OneWeight(Tensor<T> v) { w = this->add_parameter("weight", std::move(v), nn::Kind::weight); }
  Tensor<T> forward(const Tensor<T>& x) override { return x; }
  const char* type() const noexcept override { return "OneWeight"; }
};

}  // namespace qdistill_test
