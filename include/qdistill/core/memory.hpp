/// Fill, copy and add over contiguous memory, vectorised and in parallel for large sizes.
#pragma once

#include <cstring>

#include "qdistill/core/isa.hpp"
#include "qdistill/core/parallel.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Elements that one chunk of a memory-bound loop holds: small enough to balance, large enough to hide the fork.
inline constexpr Index memory_grain = Index{1} << 16;

template <class T>
void fill_elements(T* to, Index n, T value) {
  parallel_for(n, memory_grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      QDISTILL_SIMD
      for (Index i = begin; i < end; ++i) to[i] = value;
    });
  });
}

template <class T>
void copy_elements(const T* from, T* to, Index n) {
  parallel_for(n, memory_grain, [=](Index begin, Index end) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin) * sizeof(T));
  });
}

/// to += from
template <class T>
void add_elements(const T* from, T* to, Index n) {
  parallel_for(n, memory_grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      QDISTILL_SIMD
      for (Index i = begin; i < end; ++i) to[i] = static_cast<T>(to[i] + from[i]);
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI
