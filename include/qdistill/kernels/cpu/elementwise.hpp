/// Loops over contiguous elements: y = f(x), y = f(a, b), and their backward forms, which write or add. `f` is a lambda
/// marked QDISTILL_ISA_BODY on one scalar; the compiler vectorises the loop for each instruction set.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// y[i] = f(x[i]).  x and y may be the same array.
template <class T, class U, class F>
void map(Cpu, Index n, const T* x, U* y, F f) {
  parallel_for(n, memory_grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      QDISTILL_SIMD
      for (Index i = begin; i < end; ++i) y[i] = f(x[i]);
    });
  });
}

/// y[i] = f(a[i], b[i]).  y may be one of the inputs.
template <class T, class U, class F>
void map(Cpu, Index n, const T* a, const T* b, U* y, F f) {
  parallel_for(n, memory_grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      QDISTILL_SIMD
      for (Index i = begin; i < end; ++i) y[i] = f(a[i], b[i]);
    });
  });
}

/// dx[i] (=|+=) f(dy[i], a[i]).
template <class T, class F>
void map_backward(Cpu, Index n, const T* dy, const T* a, T* dx, Write write, F f) {
  parallel_for(n, memory_grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      if (write == Write::set) {
        QDISTILL_SIMD
        for (Index i = begin; i < end; ++i) dx[i] = f(dy[i], a[i]);
      } else {
        QDISTILL_SIMD
        for (Index i = begin; i < end; ++i) dx[i] += f(dy[i], a[i]);
      }
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
