/// The distillation loss of rows of logits: soft term, hard term and their gradient, fused.
#pragma once

#include "qdistill/kernels/cpu/softmax.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// What a row keeps for the backward pass: log-sums of x, x / T and t / T.
inline constexpr Index distillation_row_numbers = 3;

/// For each row of x, t (n x classes), q = softmax(t / T), p = softmax(x / T), y the label:
///   soft[r] = sum_c q_c (log q_c - log p_c)
///   hard[r] = log(sum exp(x)) - x_y;  0 where the label is ignored or there are no labels (null)
template <class T>
void distillation_loss(Cpu, const T* x, const T* t, const Index* labels, Index ignore_index, T inverse_temperature,
                       T* log_sums, T* soft, T* hard, Index n, Index classes) {
  for_each_row(n, classes, [=](Index row) QDISTILL_ISA_BODY {
    const T *const xr = x + row * classes, *const tr = t + row * classes;
    const T k = inverse_temperature;
    const T mx = lane_max<T>(classes, [=](Index i) QDISTILL_ISA_BODY { return xr[i]; });
    const T mt = lane_max<T>(classes, [=](Index i) QDISTILL_ISA_BODY { return tr[i]; });
    const T sx = lane_sum<T>(classes, [=](Index i) QDISTILL_ISA_BODY { return exp_nonpositive((xr[i] - mx) * k); });
    const T st = lane_sum<T>(classes, [=](Index i) QDISTILL_ISA_BODY { return exp_nonpositive((tr[i] - mt) * k); });
    const T log_sx = math::log(sx), log_st = math::log(st), share = T(1) / st, offset = log_sx - log_st;
    // log q - log p = ((t - mt) - (x - mx)) / T + offset; where q is 0 the term is 0.
    soft[row] = lane_sum<T>(classes, [=](Index i) QDISTILL_ISA_BODY {
      const T q = exp_nonpositive((tr[i] - mt) * k) * share;
      const T log_ratio = ((tr[i] - mt) - (xr[i] - mx)) * k + offset;
      return q > T(0) ? q * log_ratio : T(0);
    });
    T log_s1 = 0;
    const Index label = labels ? labels[row] : ignore_index;
    if (labels) {
      log_s1 = math::log(lane_sum<T>(classes, [=](Index i) QDISTILL_ISA_BODY { return exp_nonpositive(xr[i] - mx); }));
      hard[row] = label == ignore_index ? T(0) : log_s1 - (xr[label] - mx);
    } else {
      hard[row] = 0;
    }
    T* const keep = log_sums + row * distillation_row_numbers;
    keep[0] = mx + log_s1, keep[1] = mx * k + log_sx, keep[2] = mt * k + log_st;
  });
}

/// dx_c (=|+=) dloss (soft_scale (p_c - q_c) + hard_scale (softmax(x)_c - [c = y])), the second part only where the
/// label counts.
template <class T>
void distillation_loss_backward(Cpu, const T* x, const T* t, const Index* labels, Index ignore_index,
                                T inverse_temperature, const T* log_sums, T soft_scale, T hard_scale, T* dx, Index n,
                                Index classes, Write write) {
  with_write(write, [=](auto add) {
    constexpr bool Add = decltype(add)::value;
    for_each_row(n, classes, [=](Index row) QDISTILL_ISA_BODY {
      const T *const xr = x + row * classes, *const tr = t + row * classes;
      const T* const keep = log_sums + row * distillation_row_numbers;
      const T k = inverse_temperature, l1 = keep[0], lx = keep[1], lt = keep[2];
      T* const dxr = dx + row * classes;
      if (!labels || labels[row] == ignore_index) {
        QDISTILL_SIMD
        for (Index i = 0; i < classes; ++i)
          put<Add>(dxr[i], soft_scale * (exp_nonpositive(xr[i] * k - lx) - exp_nonpositive(tr[i] * k - lt)));
        return;
      }
      QDISTILL_SIMD
      for (Index i = 0; i < classes; ++i)
        put<Add>(dxr[i], soft_scale * (exp_nonpositive(xr[i] * k - lx) - exp_nonpositive(tr[i] * k - lt)) +
                             hard_scale * exp_nonpositive(xr[i] - l1));
      dxr[labels[row]] -= hard_scale;
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
