/// Running sums along the middle of an outer x n x inner tensor, added up in double.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// y[o, k, i] (=|+=) sum of x[o, 0 .. k, i], or with `reverse` of x[o, k .. n - 1, i]. y and x are different arrays.
template <class T>
void cumsum(Cpu, const T* x, T* y, Index outer, Index n, Index inner, bool reverse, Write write) {
  if (outer * n * inner == 0) return;
  constexpr Index columns = 256;
  const Index tiles = (inner + columns - 1) / columns, width = inner < columns ? inner : columns;
  parallel_for(outer * tiles, memory_grain / (n * width), [=](Index begin, Index end) {
    double sum[columns];
    for (Index u = begin; u < end; ++u) {
      const Index column = u % tiles * columns, count = inner - column < columns ? inner - column : columns;
      const Index base = u / tiles * n * inner + column;
      with_isa([&]() QDISTILL_ISA_BODY {
        for (Index i = 0; i < count; ++i) sum[i] = 0;
        for (Index k = 0; k < n; ++k) {
          const Index at = base + (reverse ? n - 1 - k : k) * inner;
          const T* const from = x + at;
          T* const to = y + at;
          QDISTILL_SIMD
          for (Index i = 0; i < count; ++i) {
            sum[i] += static_cast<double>(from[i]);
            const T value = static_cast<T>(sum[i]);
            to[i] = write == Write::add ? to[i] + value : value;
          }
        }
      });
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
