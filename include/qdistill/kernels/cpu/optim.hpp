/// Optimizer updates of n parameters w from their gradients g: one pass over memory each, on one thread (the optimizer
/// splits the work). Numbers that depend on the step (bias corrections) come ready-made.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/math.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// sqrt(x) for x >= 0 to about one unit in the last place; without errno, so that loops vectorise.
QDISTILL_INLINE float sqrt_nonnegative(float x) {
  const float v = math::select(x < 3e38f, x, 3e38f);
  const float h = 0.5f * v;
  float r = std::bit_cast<float>(0x5F3759DFu - (std::bit_cast<std::uint32_t>(v) >> 1));
  r = r * (1.5f - (h * r) * r);  // Newton's iteration for 1 / sqrt(v)
  r = r * (1.5f - (h * r) * r);
  r = r * (1.5f - (h * r) * r);
  const float s = v * r;
  return s + 0.5f * r * (v - s * s);
}
QDISTILL_INLINE double sqrt_nonnegative(double x) { return std::sqrt(x); }

template <class T>
struct SgdNumbers {
  T lr = 0, weight_decay = 0, momentum = 0;
  T gradient_share = 1;  ///< 1 - dampening, 1 in the first step
  bool nesterov = false;
};
/// g' = g + weight_decay w;  m = momentum m + gradient_share g';  w -= lr (nesterov ? g' + momentum m : m).
/// m null: w -= lr g'.
template <class T>
void sgd_step(Cpu, T* w, const T* g, T* m, Index n, SgdNumbers<T> k) {
  with_isa([=]() QDISTILL_ISA_BODY {
    if (!m) {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) w[i] -= k.lr * (g[i] + k.weight_decay * w[i]);
    } else if (k.nesterov) {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        const T d = g[i] + k.weight_decay * w[i], v = k.momentum * m[i] + k.gradient_share * d;
        m[i] = v;
        w[i] -= k.lr * (d + k.momentum * v);
      }
    } else {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        const T v = k.momentum * m[i] + k.gradient_share * (g[i] + k.weight_decay * w[i]);
        m[i] = v;
        w[i] -= k.lr * v;
      }
    }
  });
}

template <class T>
struct AdamNumbers {
  T beta1 = 0, beta2 = 0, one_minus_beta1 = 0, one_minus_beta2 = 0, eps = 0;
  T weight_decay = 0;     ///< added to the gradient
  T shrink = 1;           ///< w is multiplied by it first (AdamW: 1 - lr weight_decay)
  T step_size = 0;        ///< lr / (1 - beta1^t)
  T inverse_sqrt_c2 = 1;  ///< 1 / sqrt(1 - beta2^t)
};
/// m = beta1 m + (1 - beta1) g',  v = beta2 v + (1 - beta2) g'^2,
/// w = shrink w - step_size m / (sqrt(v) inverse_sqrt_c2 + eps); with `most`, v there is its maximum so far (AMSGrad).
template <class T>
void adam_step(Cpu, T* w, const T* g, T* m, T* v, T* most, Index n, AdamNumbers<T> k) {
  with_isa([=]() QDISTILL_ISA_BODY {
    if (!most) {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        const T d = g[i] + k.weight_decay * w[i];
        const T a = k.beta1 * m[i] + k.one_minus_beta1 * d, b = k.beta2 * v[i] + k.one_minus_beta2 * d * d;
        m[i] = a, v[i] = b;
        w[i] = k.shrink * w[i] - k.step_size * a / (sqrt_nonnegative(b) * k.inverse_sqrt_c2 + k.eps);
      }
    } else {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        const T d = g[i] + k.weight_decay * w[i];
        const T a = k.beta1 * m[i] + k.one_minus_beta1 * d, b = k.beta2 * v[i] + k.one_minus_beta2 * d * d;
        const T c = most[i] > b ? most[i] : b;
        m[i] = a, v[i] = b, most[i] = c;
        w[i] = k.shrink * w[i] - k.step_size * a / (sqrt_nonnegative(c) * k.inverse_sqrt_c2 + k.eps);
      }
    }
  });
}

template <class T>
struct RmspropNumbers {
  T lr = 0, alpha = 0, one_minus_alpha = 0, eps = 0, weight_decay = 0, momentum = 0;
};
/// v = alpha v + (1 - alpha) g'^2,  d = g' / (sqrt(v) + eps);  w -= lr d, or with m: m = momentum m + d, w -= lr m.
template <class T>
void rmsprop_step(Cpu, T* w, const T* g, T* v, T* m, Index n, RmspropNumbers<T> k) {
  with_isa([=]() QDISTILL_ISA_BODY {
    if (!m) {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        const T d = g[i] + k.weight_decay * w[i], a = k.alpha * v[i] + k.one_minus_alpha * d * d;
        v[i] = a;
        w[i] -= k.lr * d / (sqrt_nonnegative(a) + k.eps);
      }
    } else {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) {
        const T d = g[i] + k.weight_decay * w[i], a = k.alpha * v[i] + k.one_minus_alpha * d * d;
        v[i] = a;
        const T b = k.momentum * m[i] + d / (sqrt_nonnegative(a) + k.eps);
        m[i] = b;
        w[i] -= k.lr * b;
      }
    }
  });
}

/// s += g'^2;  w -= lr g' / (sqrt(s) + eps)
template <class T>
void adagrad_step(Cpu, T* w, const T* g, T* s, Index n, T lr, T eps, T weight_decay) {
  with_isa([=]() QDISTILL_ISA_BODY {
    QDISTILL_SIMD
    for (Index i = 0; i < n; ++i) {
      const T d = g[i] + weight_decay * w[i], a = s[i] + d * d;
      s[i] = a;
      w[i] -= lr * d / (sqrt_nonnegative(a) + eps);
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
