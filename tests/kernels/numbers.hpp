/// Inputs of the kernels' tests.
#pragma once

#include <cstdint>
#include <vector>

#include "qdistill/core/random.hpp"

namespace qdistill_test {

using namespace qdistill;

/// `n` numbers, uniform in [-1, 1).
template <class T>
std::vector<T> numbers(Index n, std::uint64_t seed) {
  std::vector<T> v(static_cast<std::size_t>(n));
  const RandomStream random{seed, 0};
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<T>(random.uniform(i) * 2 - 1);
  return v;
}

}  // namespace qdistill_test
