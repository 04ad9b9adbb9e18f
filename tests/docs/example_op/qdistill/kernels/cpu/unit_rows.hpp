// [snippet op kernel]
/// Rows scaled to length 1, forward and backward. x, y: [rows, n], contiguous; length: [rows], at least eps.
///
///   y = x / max(|x|, eps)          dL/dx = (dL/dy - y <dL/dy, y>) / length, without the product where |x| <= eps
#pragma once

#include <cmath>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"  // lane_sum: vectorised, in a fixed order

namespace qdistill::inline QDISTILL_ABI::kernels {

template <class T>
void unit_rows(Cpu, const T* x, T* y, T* length, Index rows, Index n, T eps) {
  const Index grain = n > 0 && n < memory_grain ? memory_grain / n : 1;  // rows of one chunk; never by thread count
  parallel_for(rows, grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {  // compiled for each instruction set, chosen at run time
      for (Index r = begin; r < end; ++r) {
        const T* const __restrict in = x + r * n;
        T* const __restrict out = y + r * n;
        const T norm = std::sqrt(lane_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return in[i] * in[i]; }));
        const T l = length[r] = norm > eps ? norm : eps;
        QDISTILL_SIMD
        for (Index i = 0; i < n; ++i) out[i] = in[i] / l;
      }
    });
  });
}

template <class T>
void unit_rows_backward(Cpu, const T* y, const T* length, const T* dy, T* dx, Index rows, Index n, T eps, Write write) {
  const Index grain = n > 0 && n < memory_grain ? memory_grain / n : 1;
  parallel_for(rows, grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index r = begin; r < end; ++r) {
        const T* const __restrict v = y + r * n;
        const T* const __restrict g = dy + r * n;
        T* const __restrict out = dx + r * n;
        const T l = length[r];
        const T along = l > eps ? lane_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return g[i] * v[i]; }) : T(0);
        const T kept = write == Write::add ? T(1) : T(0);
        QDISTILL_SIMD
        for (Index i = 0; i < n; ++i) out[i] = (kept != 0 ? out[i] : T(0)) + (g[i] - v[i] * along) / l;
      }
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
// [end]
