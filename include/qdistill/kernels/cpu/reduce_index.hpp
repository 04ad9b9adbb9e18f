/// Where along a dim the extreme element lies. Of equal elements the first counts; NaN counts as the most extreme.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/storage.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

enum class Extreme { largest, smallest };

/// True if a beats b in the sense of `which`.
template <class T>
QDISTILL_INLINE bool beats(Extreme which, T a, T b) noexcept {
  if (a != a) return b == b;
  return which == Extreme::largest ? a > b : a < b;
}

/// index[o, i] = where in x[o, 0 .. n, i] the extreme lies.  x: outer x n x inner, n > 0; index: outer x inner.
template <class T>
void arg_extreme(Cpu, Extreme which, const T* x, Index* index, Index outer, Index n, Index inner) {
  if (inner > 1) {
    const Index grain = memory_grain / (n * inner);
    return parallel_for(outer, grain, [=](Index begin, Index end) {
      for (Index o = begin; o < end; ++o) {
        const T* const p = x + o * n * inner;
        Index* const best = index + o * inner;
        for (Index i = 0; i < inner; ++i) best[i] = 0;
        for (Index k = 1; k < n; ++k)
          for (Index i = 0; i < inner; ++i)
            if (beats(which, p[k * inner + i], p[best[i] * inner + i])) best[i] = k;
      }
    });
  }
  // Long rows are cut into pieces of fixed size; among pieces the earlier wins a tie.
  const Index pieces = (n + memory_grain - 1) / memory_grain;
  const auto search = [=](const T* p, Index begin, Index end) {
    Index best = begin;
    for (Index k = begin + 1; k < end; ++k)
      if (beats(which, p[k], p[best])) best = k;
    return best;
  };
  if (pieces == 1)
    return parallel_for(outer, memory_grain / n, [=](Index begin, Index end) {
      for (Index o = begin; o < end; ++o) index[o] = search(x + o * n, 0, n);
    });
  const Ref<Storage> memory = Storage::allocate(static_cast<std::size_t>(outer * pieces) * sizeof(Index), Device::cpu);
  Index* const partial = static_cast<Index*>(memory->data());
  parallel_for(outer * pieces, 1, [=](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      const Index first = t % pieces * memory_grain;
      partial[t] = search(x + t / pieces * n, first, first + memory_grain < n ? first + memory_grain : n);
    }
  });
  for (Index o = 0; o < outer; ++o) {
    const T* const p = x + o * n;
    Index best = partial[o * pieces];
    for (Index s = 1; s < pieces; ++s)
      if (beats(which, p[partial[o * pieces + s]], p[best])) best = partial[o * pieces + s];
    index[o] = best;
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
