/// Cross entropy, negative log likelihood, and the elementwise losses.
///
/// Losses of rows (cross entropy) leave one number per row; the caller reduces them with sum_map, in a fixed order. The
/// labels were checked before: each is the ignored index or in [0, C).
#pragma once

#include "qdistill/kernels/cpu/softmax.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// What cross entropy weighs with. `weight`: C class weights, or null for 1; `weight_sum`: their sum (C without them).
template <class T>
struct ClassWeights {
  const T* weight = nullptr;
  T weight_sum = 0;
  T smoothing = 0;
  Index ignore_index = -100;
};

/// For each row r of x (outer x C x inner, rows along C):
///   log_sum[r] = log(sum_c exp(x_c))
///   loss[r] = (1 - e) w_y (log_sum - x_y) + e / C sum_c w_c (log_sum - x_c);  0 where the label is ignored
template <class T>
void cross_entropy(Cpu, const T* x, const Index* labels, T* log_sum, T* loss, Index outer, Index classes, Index inner,
                   ClassWeights<T> w) {
  if (classes == 0) return;
  const T uniform = w.smoothing / static_cast<T>(classes);
  if (inner == 1) {
    for_each_row(outer, classes, [=](Index row) QDISTILL_ISA_BODY {
      const T* const xr = x + row * classes;
      const T* const weight = w.weight;
      const RowLogSum<T> s = row_log_sum(xr, classes);
      const T log_of_sum = math::log(s.sum), m = s.max;
      log_sum[row] = m + log_of_sum;
      const Index label = labels[row];
      if (label == w.ignore_index) {
        loss[row] = 0;
        return;
      }
      T sum = (1 - w.smoothing) * (weight ? weight[label] : T(1)) * (log_of_sum - (xr[label] - m));
      if (uniform != T(0)) {
        const T weighted =
            weight ? lane_sum<T>(classes, [=](Index c) QDISTILL_ISA_BODY { return weight[c] * (xr[c] - m); })
                   : lane_sum<T>(classes, [=](Index c) QDISTILL_ISA_BODY { return xr[c] - m; });
        sum += uniform * (w.weight_sum * log_of_sum - weighted);
      }
      loss[row] = sum;
    });
    return;
  }
  for_each_softmax_block(outer, classes, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
    T max[softmax_columns], log_of_sum[softmax_columns], weighted[softmax_columns] = {};
    const T* const xb = x + o * classes * inner + first;
    column_log_sum(xb, classes, inner, columns, max, log_of_sum);
    QDISTILL_SIMD
    for (Index c = 0; c < columns; ++c) log_of_sum[c] = math::log(log_of_sum[c]);
    if (uniform != T(0)) {
      for (Index k = 0; k < classes; ++k) {
        const T* const xr = xb + k * inner;
        const T wk = w.weight ? w.weight[k] : T(1);
        QDISTILL_SIMD
        for (Index c = 0; c < columns; ++c) weighted[c] += wk * (xr[c] - max[c]);
      }
    }
    for (Index c = 0; c < columns; ++c) {
      const Index row = o * inner + first + c, label = labels[row];
      log_sum[row] = max[c] + log_of_sum[c];
      loss[row] = label == w.ignore_index ? T(0)
                                          : (1 - w.smoothing) * (w.weight ? w.weight[label] : T(1)) *
                                                    (log_of_sum[c] - (xb[label * inner + c] - max[c])) +
                                                uniform * (w.weight_sum * log_of_sum[c] - weighted[c]);
    }
  });
}

/// dx_c = g_r (((1 - e) w_y + e / C sum w) p_c - e / C w_c - (1 - e) w_y [c = y]),  p = exp(x - log_sum),
/// g_r = scale dloss[r] (per_row) or scale dloss[0].
template <class T>
void cross_entropy_backward(Cpu, const T* x, const Index* labels, const T* log_sum, const T* dloss, bool per_row,
                            T scale, T* dx, Index outer, Index classes, Index inner, ClassWeights<T> w, Write write) {
  if (classes == 0) return;
  const T uniform = w.smoothing / static_cast<T>(classes);
  with_write(write, [=](auto add) {
    constexpr bool Add = decltype(add)::value;
    if (inner == 1) {
      for_each_row(outer, classes, [=](Index row) QDISTILL_ISA_BODY {
        const T* const xr = x + row * classes;
        T* const dxr = dx + row * classes;
        const T* const weight = w.weight;
        const Index label = labels[row];
        if (label == w.ignore_index) {
          for (Index c = 0; c < classes; ++c) put<Add>(dxr[c], T(0));
          return;
        }
        const T g = scale * dloss[per_row ? row : 0], ls = log_sum[row];
        const T hard = (1 - w.smoothing) * (weight ? weight[label] : T(1));
        const T of_p = g * (hard + uniform * w.weight_sum), of_w = g * uniform;
        if (weight) {
          QDISTILL_SIMD
          for (Index c = 0; c < classes; ++c) put<Add>(dxr[c], of_p * exp_nonpositive(xr[c] - ls) - of_w * weight[c]);
        } else {
          QDISTILL_SIMD
          for (Index c = 0; c < classes; ++c) put<Add>(dxr[c], of_p * exp_nonpositive(xr[c] - ls) - of_w);
        }
        dxr[label] -= g * hard;
      });
      return;
    }
    for_each_softmax_block(outer, classes, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
      T of_p[softmax_columns], of_w[softmax_columns], ls[softmax_columns];
      const Index at = o * classes * inner + first;
      for (Index c = 0; c < columns; ++c) {
        const Index row = o * inner + first + c, label = labels[row];
        ls[c] = log_sum[row];
        const bool ignored = label == w.ignore_index;
        const T g = ignored ? T(0) : scale * dloss[per_row ? row : 0];
        of_p[c] =
            ignored ? T(0) : g * ((1 - w.smoothing) * (w.weight ? w.weight[label] : T(1)) + uniform * w.weight_sum);
        of_w[c] = g * uniform;
      }
      for (Index k = 0; k < classes; ++k) {
        const T* const xr = x + at + k * inner;
        T* const dxr = dx + at + k * inner;
        const T wk = w.weight ? w.weight[k] : T(1);
        QDISTILL_SIMD
        for (Index c = 0; c < columns; ++c) put<Add>(dxr[c], of_p[c] * exp_nonpositive(xr[c] - ls[c]) - of_w[c] * wk);
      }
      for (Index c = 0; c < columns; ++c) {
        const Index row = o * inner + first + c, label = labels[row];
        if (label == w.ignore_index) continue;
        dx[at + label * inner + c] -=
            scale * dloss[per_row ? row : 0] * (1 - w.smoothing) * (w.weight ? w.weight[label] : T(1));
      }
    });
  });
}

/// loss[r] = -w_y x_y, 0 where ignored.  x: outer x C x inner log-probabilities.
template <class T>
void nll(Cpu, const T* x, const Index* labels, T* loss, Index outer, Index classes, Index inner, ClassWeights<T> w) {
  parallel_for(outer * inner, memory_grain, [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const Index label = labels[row];
      loss[row] = label == w.ignore_index
                      ? T(0)
                      : -(w.weight ? w.weight[label] : T(1)) * x[(row / inner * classes + label) * inner + row % inner];
    }
  });
}

/// dx[label of r] (=|+=) -w_y g_r; for Write::set everything else becomes 0.
template <class T>
void nll_backward(Cpu, const Index* labels, const T* dloss, bool per_row, T scale, T* dx, Index outer, Index classes,
                  Index inner, ClassWeights<T> w, Write write) {
  if (write == Write::set) fill_elements(dx, outer * classes * inner, T(0));
  parallel_for(outer * inner, memory_grain, [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const Index label = labels[row];
      if (label == w.ignore_index) continue;
      dx[(row / inner * classes + label) * inner + row % inner] -=
          scale * dloss[per_row ? row : 0] * (w.weight ? w.weight[label] : T(1));
    }
  });
}

/// loss[r] = -sum_c w_c ((1 - e) t_c + e / C) x_c.  x: log-probabilities, t: probabilities, outer x C x inner.
template <class T>
void soft_nll(Cpu, const T* x, const T* t, T* loss, Index outer, Index classes, Index inner, ClassWeights<T> w) {
  if (classes == 0) return;
  const T uniform = w.smoothing / static_cast<T>(classes), keep = 1 - w.smoothing;
  for_each_softmax_block(outer, classes, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
    T sum[softmax_columns] = {};
    const Index at = o * classes * inner + first;
    for (Index k = 0; k < classes; ++k) {
      const T *const xr = x + at + k * inner, *const tr = t + at + k * inner;
      const T wk = w.weight ? w.weight[k] : T(1);
      QDISTILL_SIMD
      for (Index c = 0; c < columns; ++c) sum[c] -= wk * (keep * tr[c] + uniform) * xr[c];
    }
    for (Index c = 0; c < columns; ++c) loss[o * inner + first + c] = sum[c];
  });
}

/// dx_c (=|+=) -g_r w_c ((1 - e) t_c + e / C) and dt_c (=|+=) -g_r w_c (1 - e) x_c; a null dx or dt is skipped.
template <class T>
void soft_nll_backward(Cpu, const T* x, const T* t, const T* dloss, bool per_row, T scale, T* dx, Write write_dx, T* dt,
                       Write write_dt, Index outer, Index classes, Index inner, ClassWeights<T> w) {
  if (classes == 0) return;
  const T uniform = w.smoothing / static_cast<T>(classes), keep = 1 - w.smoothing;
  for_each_softmax_block(outer, classes, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
    const Index at = o * classes * inner + first;
    for (Index k = 0; k < classes; ++k) {
      const T wk = -scale * (w.weight ? w.weight[k] : T(1));
      for (Index c = 0; c < columns; ++c) {
        const T g = wk * dloss[per_row ? o * inner + first + c : 0];
        const Index i = at + k * inner + c;
        if (dx) dx[i] = (write_dx == Write::add ? dx[i] : T(0)) + g * (keep * t[i] + uniform);
        if (dt) dt[i] = (write_dt == Write::add ? dt[i] : T(0)) + g * keep * x[i];
      }
    }
  });
}

/// dx[i] (=|+=) g_i f(a[i], b[i]),  g_i = scale dy[i] (per_element) or scale dy[0].
template <class T, class F>
void map_loss_backward(Cpu, Index n, const T* a, const T* b, const T* dy, bool per_element, T scale, T* dx, Write write,
                       F f) {
  with_write(write, [=](auto add) {
    constexpr bool Add = decltype(add)::value;
    parallel_for(n, memory_grain, [=](Index begin, Index end) {
      with_isa([=]() QDISTILL_ISA_BODY {
        if (per_element) {
          QDISTILL_SIMD
          for (Index i = begin; i < end; ++i) put<Add>(dx[i], scale * dy[i] * f(a[i], b[i]));
        } else {
          const T g = scale * dy[0];
          QDISTILL_SIMD
          for (Index i = begin; i < end; ++i) put<Add>(dx[i], g * f(a[i], b[i]));
        }
      });
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
