/// Softmax and log-softmax along the middle of outer x n x inner, forward and backward.
///
/// inner == 1: one row at a time, vectorised along the row. Otherwise blocks of 64 columns at a time, vectorised across
/// the columns, so that softmax over the channels of an image reads memory in order.
#pragma once

#include "qdistill/kernels/cpu/losses_reduce.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Columns that are worked on together when inner > 1.
inline constexpr Index softmax_columns = 64;

/// f(o, first column, columns): block of columns of slice o.
template <class F>
void for_each_softmax_block(Index outer, Index n, Index inner, F f) {
  const Index blocks = (inner + softmax_columns - 1) / softmax_columns;
  const Index work = n * (inner < softmax_columns ? inner : softmax_columns);
  const Index grain = work >= memory_grain / 4 ? 1 : memory_grain / 4 / (work > 0 ? work : 1);
  parallel_for(outer * blocks, grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index b = begin; b < end; ++b) {
        const Index first = b % blocks * softmax_columns;
        f(b / blocks, first, inner - first < softmax_columns ? inner - first : softmax_columns);
      }
    });
  });
}

/// m = max over the row, sum = sum of exp(x - m).
template <class T>
struct RowLogSum {
  T max, sum;
};
template <class T>
QDISTILL_INLINE RowLogSum<T> row_log_sum(const T* x, Index n) {
  const T m = lane_max<T>(n, [=](Index i) QDISTILL_ISA_BODY { return x[i]; });
  return {m, lane_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return exp_nonpositive(x[i] - m); })};
}

/// The same for up to 64 columns, `step` elements between the members of a column.
template <class T>
QDISTILL_INLINE void column_log_sum(const T* x, Index n, Index step, Index columns, T* max, T* sum) {
  for (Index c = 0; c < columns; ++c) max[c] = x[c], sum[c] = 0;
  for (Index k = 1; k < n; ++k) {
    const T* const row = x + k * step;
    QDISTILL_SIMD
    for (Index c = 0; c < columns; ++c) max[c] = max[c] > row[c] ? max[c] : row[c];
  }
  for (Index k = 0; k < n; ++k) {
    const T* const row = x + k * step;
    QDISTILL_SIMD
    for (Index c = 0; c < columns; ++c) sum[c] += exp_nonpositive(row[c] - max[c]);
  }
}

/// y = exp(x - max) / sum of exp(x - max).  x, y: outer x n x inner; may be the same array.
template <class T>
void softmax(Cpu, const T* x, T* y, Index outer, Index n, Index inner) {
  if (n == 0) return;
  if (inner == 1) {
    for_each_row(outer, n, [=](Index row) QDISTILL_ISA_BODY {
      const T* const xr = x + row * n;
      T* const yr = y + row * n;
      const T m = lane_max<T>(n, [=](Index i) QDISTILL_ISA_BODY { return xr[i]; });
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) yr[i] = exp_nonpositive(xr[i] - m);
      const T scale = T(1) / lane_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return yr[i]; });
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) yr[i] *= scale;
    });
    return;
  }
  for_each_softmax_block(outer, n, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
    T max[softmax_columns], scale[softmax_columns];
    const T* const xb = x + o * n * inner + first;
    T* const yb = y + o * n * inner + first;
    column_log_sum(xb, n, inner, columns, max, scale);
    for (Index c = 0; c < columns; ++c) scale[c] = T(1) / scale[c];
    for (Index k = 0; k < n; ++k) {
      const T* const from = xb + k * inner;
      T* const to = yb + k * inner;
      QDISTILL_SIMD
      for (Index c = 0; c < columns; ++c) to[c] = exp_nonpositive(from[c] - max[c]) * scale[c];
    }
  });
}

/// y = (x - max) - log(sum of exp(x - max)).
template <class T>
void log_softmax(Cpu, const T* x, T* y, Index outer, Index n, Index inner) {
  if (n == 0) return;
  if (inner == 1) {
    for_each_row(outer, n, [=](Index row) QDISTILL_ISA_BODY {
      const T* const xr = x + row * n;
      T* const yr = y + row * n;
      const RowLogSum<T> s = row_log_sum(xr, n);
      const T log_sum = math::log(s.sum);
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) yr[i] = (xr[i] - s.max) - log_sum;
    });
    return;
  }
  for_each_softmax_block(outer, n, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
    T max[softmax_columns], log_sum[softmax_columns];
    const T* const xb = x + o * n * inner + first;
    T* const yb = y + o * n * inner + first;
    column_log_sum(xb, n, inner, columns, max, log_sum);
    QDISTILL_SIMD
    for (Index c = 0; c < columns; ++c) log_sum[c] = math::log(log_sum[c]);
    for (Index k = 0; k < n; ++k) {
      const T* const from = xb + k * inner;
      T* const to = yb + k * inner;
      QDISTILL_SIMD
      for (Index c = 0; c < columns; ++c) to[c] = (from[c] - max[c]) - log_sum[c];
    }
  });
}

/// dx = y (dy - <dy, y>)
template <class T>
void softmax_backward(Cpu, const T* y, const T* dy, T* dx, Index outer, Index n, Index inner, Write write) {
  with_write(write, [=](auto add) {
    constexpr bool Add = decltype(add)::value;
    if (inner == 1) {
      for_each_row(outer, n, [=](Index row) QDISTILL_ISA_BODY {
        const T *const yr = y + row * n, *const dyr = dy + row * n;
        T* const dxr = dx + row * n;
        const T dot = lane_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return yr[i] * dyr[i]; });
        QDISTILL_SIMD
        for (Index i = 0; i < n; ++i) put<Add>(dxr[i], yr[i] * (dyr[i] - dot));
      });
      return;
    }
    for_each_softmax_block(outer, n, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
      T dot[softmax_columns] = {};
      const Index at = o * n * inner + first;
      for (Index k = 0; k < n; ++k) {
        const T *const yr = y + at + k * inner, *const dyr = dy + at + k * inner;
        QDISTILL_SIMD
        for (Index c = 0; c < columns; ++c) dot[c] += yr[c] * dyr[c];
      }
      for (Index k = 0; k < n; ++k) {
        const T *const yr = y + at + k * inner, *const dyr = dy + at + k * inner;
        T* const dxr = dx + at + k * inner;
        QDISTILL_SIMD
        for (Index c = 0; c < columns; ++c) put<Add>(dxr[c], yr[c] * (dyr[c] - dot[c]));
      }
    });
  });
}

/// dx = dy - exp(y) sum(dy)
template <class T>
void log_softmax_backward(Cpu, const T* y, const T* dy, T* dx, Index outer, Index n, Index inner, Write write) {
  with_write(write, [=](auto add) {
    constexpr bool Add = decltype(add)::value;
    if (inner == 1) {
      for_each_row(outer, n, [=](Index row) QDISTILL_ISA_BODY {
        const T *const yr = y + row * n, *const dyr = dy + row * n;
        T* const dxr = dx + row * n;
        const T sum = lane_sum<T>(n, [=](Index i) QDISTILL_ISA_BODY { return dyr[i]; });
        QDISTILL_SIMD
        for (Index i = 0; i < n; ++i) put<Add>(dxr[i], dyr[i] - exp_nonpositive(yr[i]) * sum);
      });
      return;
    }
    for_each_softmax_block(outer, n, inner, [=](Index o, Index first, Index columns) QDISTILL_ISA_BODY {
      T sum[softmax_columns] = {};
      const Index at = o * n * inner + first;
      for (Index k = 0; k < n; ++k) {
        const T* const dyr = dy + at + k * inner;
        QDISTILL_SIMD
        for (Index c = 0; c < columns; ++c) sum[c] += dyr[c];
      }
      for (Index k = 0; k < n; ++k) {
        const T *const yr = y + at + k * inner, *const dyr = dy + at + k * inner;
        T* const dxr = dx + at + k * inner;
        QDISTILL_SIMD
        for (Index c = 0; c < columns; ++c) put<Add>(dxr[c], dyr[c] - exp_nonpositive(yr[c]) * sum[c]);
      }
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
