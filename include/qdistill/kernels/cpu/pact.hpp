/// PACT (Choi et al. 2018, equations 1 and 2): clipping at a learned alpha, then 2^k uniform levels.
///
///   c = min(max(x, 0), alpha),   y = alpha round(c (2^k - 1) / alpha) / (2^k - 1), half to even
///   dL/dx = dL/dy where 0 <= x < alpha, 0 elsewhere;   dL/dalpha = sum of dL/dy where x >= alpha   (straight through)
#pragma once

#include "qdistill/kernels/cpu/elementwise.hpp"
#include "qdistill/kernels/cpu/losses_reduce.hpp"
#include "qdistill/kernels/cpu/uniform_formula.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// y of one x. NaN passes through.
template <class T>
struct PactRelu {
  T alpha;
  T divisor;  ///< 2^k - 1
  QDISTILL_INLINE T operator()(T x) const noexcept {
    const T c = math::select(x < T(0), T(0), math::select(x > alpha, alpha, x));
    return round_half_even<T>(c / alpha * divisor) / divisor * alpha;
  }
};

template <class T>
void pact_relu_backward(Cpu dev, Index n, const T* dy, const T* x, T alpha, T* dx, Write write) {
  map_backward(dev, n, dy, x, dx, write, [alpha](T d, T v) QDISTILL_ISA_BODY {
    return math::select(v < T(0), T(0), math::select(v < alpha, d, T(0)));
  });
}

/// dL/dalpha
template <class T>
T pact_relu_alpha_gradient(Cpu dev, Index n, const T* dy, const T* x, T alpha) {
  return static_cast<T>(
      sum_map<T>(dev, n, [=](Index i) QDISTILL_ISA_BODY { return math::select(x[i] < alpha, T(0), dy[i]); }));
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
