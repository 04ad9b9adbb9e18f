/// What the machine can do at most: multiply-adds and copied bytes a second, measured with the library's own loops.
#pragma once

#include <cstdio>

#include "common.hpp"
#include "qdistill/core/tensor.hpp"

namespace qdistill_bench {

/// Seconds of the fastest of some calls.
template <class F>
double fastest(int calls, F f) {
  double best = 1e30;
  for (int i = 0; i < calls; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (s < best) best = s;
  }
  return best;
}

/// Multiply-adds on `vectors` vectors of `lanes` floats: enough to hide their latency, no more than there are
/// registers.
template <int vectors, int lanes>
QDISTILL_INLINE float multiply_add(Index steps, float a, float b) {
  float acc[vectors][lanes];
  for (int v = 0; v < vectors; ++v)
    for (int l = 0; l < lanes; ++l) acc[v][l] = static_cast<float>(v + l);
  for (Index i = 0; i < steps; ++i) {
#pragma GCC unroll 24
    for (int v = 0; v < vectors; ++v) {
      QDISTILL_SIMD
      for (int l = 0; l < lanes; ++l) acc[v][l] = acc[v][l] * a + b;
    }
  }
  float sum = 0;
  for (int v = 0; v < vectors; ++v)
    for (int l = 0; l < lanes; ++l) sum += acc[v][l];
  return sum;
}

struct Machine {
  double flops_per_second = 0, bytes_per_second = 0;
};

/// With the threads in force.
inline Machine measure_machine() {
  constexpr Index sums = 24 * 16, steps = 1 << 18, elements = Index{1} << 22;
  const Index threads = num_threads();
  Machine machine;
  std::vector<float> results(static_cast<std::size_t>(threads));
  const double compute = fastest(10, [&] {
    parallel_for(threads, 1, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i)
        with_isa([&]() QDISTILL_ISA_BODY {
          float& result = results[static_cast<std::size_t>(i)];
          if (active_isa() == Isa::avx512) result = multiply_add<24, 16>(steps, 0.999999f, 1e-7f);
          else if (active_isa() == Isa::avx2) result = multiply_add<12, 8>(steps * (sums / 96), 0.999999f, 1e-7f);
          else result = multiply_add<12, 4>(steps * (sums / 48), 0.999999f, 1e-7f);
        });
    });
    benchmark::DoNotOptimize(results.data());
  });
  machine.flops_per_second = 2.0 * static_cast<double>(sums * steps * threads) / compute;
  const Tensor<float> from = Tensor<float>::ones({elements});
  Tensor<float> to = Tensor<float>::zeros({elements});
  const double copy = fastest(10, [&] {
    copy_elements(from.data(), to.data(), elements);
    benchmark::DoNotOptimize(to.data());
  });
  machine.bytes_per_second = 2.0 * sizeof(float) * static_cast<double>(elements) / copy;
  return machine;
}

/// Measured once for each number of threads.
inline const Machine& machine() {
  static std::vector<std::pair<int, Machine>> known;
  for (const auto& [threads, m] : known)
    if (threads == num_threads()) return m;
  known.emplace_back(num_threads(), measure_machine());
  const Machine& m = known.back().second;
  std::fprintf(stderr, "%d threads: %.0f GFLOP/s multiply-add, %.1f GB/s copy\n", num_threads(),
               m.flops_per_second * 1e-9, m.bytes_per_second * 1e-9);
  return m;
}

}  // namespace qdistill_bench
