/// What the runtime's tests compare with: a module in evaluation, in a state as after some training.
#pragma once

#include <cstring>

#include "qdistill/nn/module.hpp"

namespace qdistill_test {

using namespace qdistill;

/// Weights, biases and running statistics as after some training: nothing is 0 or 1 as at the start.
template <class T>
void randomise(nn::Module<T>& model, std::uint64_t seed) {
  std::uint64_t stream = 0;
  for (const auto& [name, p] : model.named_parameters())
    if (p->kind() != nn::Kind::weight) {
      const T lo = p->kind() == nn::Kind::norm_weight ? T(0.5) : T(-0.5);
      p->data().copy_from(Tensor<T>::uniform(p->shape(), {seed, stream++}, lo, lo + T(1)));
    }
  for (const auto& b : model.named_buffers())
    if (b.values) {
      const T lo = b.name.find("var") != std::string::npos ? T(0.25) : T(-0.5);
      b.values->copy_from(Tensor<T>::uniform(b.values->shape(), {seed, stream++}, lo, lo + T(1)));
    }
}

inline bool same_bits(const Tensor<float>& a, const Tensor<float>& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.numel()) * sizeof(float)) == 0;
}

inline std::vector<Index> sample_shape(const Tensor<float>& x) { return {x.shape().begin() + 1, x.shape().end()}; }

inline Tensor<float> eval_forward(nn::Module<float>& model, const Tensor<float>& x) {
  const NoGrad no_grad;
  model.eval();
  return model(x);
}

}  // namespace qdistill_test
