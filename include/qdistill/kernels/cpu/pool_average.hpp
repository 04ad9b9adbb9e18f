/// Averages over rectangles of planes: windows and adaptive bins alike, given by their rows and columns.
#pragma once

#include <algorithm>

#include "qdistill/core/device.hpp"
#include "qdistill/core/tensor.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// The positions [begin, end) along one dim that an output position averages, and what it counts them as.
struct Bin {
  Index begin, end, count;
};

/// Window `i` clipped to the input, with what it counts as: the padding too, or not.
inline Bin window_bin(Index i, Index size, Index kernel, Index stride, Index padding, bool count_padding) {
  const Index begin = i * stride - padding, end = std::min(begin + kernel, size + padding);
  const Index first = std::max<Index>(begin, 0), past = std::min(end, size);
  return {first, past, count_padding ? end - begin : past - first};
}

/// Bin `i` of `count` that cover `size` positions: floor(i size / count) to ceil((i + 1) size / count).
inline Bin adaptive_bin(Index i, Index size, Index count) {
  const Index begin = i * size / count, end = ((i + 1) * size + count - 1) / count;
  return {begin, end, end - begin};
}

/// Rectangles over planes of h x w: rows[i] x cols[j]. Sums are divided by rows[i].count cols[j].count, or by `divisor`
/// if it is not 0.
struct BinGrid {
  Index planes = 0, h = 0, w = 0, out_h = 0, out_w = 0;
  const Bin* rows = nullptr;
  const Bin* cols = nullptr;
  Index divisor = 0;

  /// One over what the sum of rectangle (i, j) is divided by.
  double scale(Index i, Index j) const noexcept {
    return 1.0 / static_cast<double>(divisor != 0 ? divisor : rows[i].count * cols[j].count);
  }
  /// True if each column bin holds two columns, side by side with the next.
  bool pairs() const noexcept {
    for (Index j = 0; j < out_w; ++j)
      if (cols[j].begin != 2 * j || cols[j].end != 2 * j + 2) return false;
    return true;
  }
  Index planes_at_once() const noexcept { return std::max<Index>(1, memory_grain / std::max<Index>(1, h * w)); }
};

/// y (planes, out_h, out_w) = means of the rectangles of x (planes, h, w).
template <class T>
void average_pool(Cpu, const BinGrid& g, const T* x, T* y) {
  if (g.out_h * g.out_w == 0) return;
  const bool pairs = g.pairs();
  parallel_for(g.planes, g.planes_at_once(), [&](Index begin, Index end) {
    Tensor<T> buffer = Tensor<T>::empty({g.w});
    T* const sum = buffer.data();
    Tensor<T> factors = Tensor<T>::empty({g.out_w});
    T* const scale = factors.data();
    for (Index p = begin; p < end; ++p)
      for (Index i = 0; i < g.out_h; ++i) {
        const Bin rows = g.rows[i];
        if ((p == begin && i == 0) || (i > 0 ? g.rows[i - 1].count : g.rows[g.out_h - 1].count) != rows.count)
          for (Index j = 0; j < g.out_w; ++j) scale[j] = static_cast<T>(g.scale(i, j));
        const T* const plane = x + p * g.h * g.w;
        with_isa([&]() QDISTILL_ISA_BODY {
          QDISTILL_SIMD
          for (Index c = 0; c < g.w; ++c) sum[c] = T(0);
          for (Index r = rows.begin; r < rows.end; ++r) {
            const T* const row = plane + r * g.w;
            QDISTILL_SIMD
            for (Index c = 0; c < g.w; ++c) sum[c] += row[c];
          }
        });
        T* const to = y + (p * g.out_h + i) * g.out_w;
        if (pairs) {
          with_isa([&]() QDISTILL_ISA_BODY {
            QDISTILL_SIMD
            for (Index j = 0; j < g.out_w; ++j) to[j] = (sum[2 * j] + sum[2 * j + 1]) * scale[j];
          });
          continue;
        }
        for (Index j = 0; j < g.out_w; ++j) {
          double total = 0;
          for (Index c = g.cols[j].begin; c < g.cols[j].end; ++c) total += static_cast<double>(sum[c]);
          to[j] = static_cast<T>(total) * scale[j];
        }
      }
  });
}

/// dx (planes, h, w) (=|+=) the gradient of average_pool from dy (planes, out_h, out_w).
template <class T>
void average_pool_backward(Cpu, const BinGrid& g, const T* dy, T* dx, Write write) {
  const bool pairs = g.pairs();
  parallel_for(g.planes, g.planes_at_once(), [&](Index begin, Index end) {
    Tensor<T> buffer = Tensor<T>::empty({g.w});
    T* const share = buffer.data();
    Tensor<T> factors = Tensor<T>::empty({g.out_w});
    T* const scale = factors.data();
    for (Index p = begin; p < end; ++p) {
      T* const plane = dx + p * g.h * g.w;
      if (write == Write::set) std::fill(plane, plane + g.h * g.w, T(0));
      for (Index i = 0; i < g.out_h; ++i) {
        const T* const from = dy + (p * g.out_h + i) * g.out_w;
        if ((p == begin && i == 0) || (i > 0 ? g.rows[i - 1].count : g.rows[g.out_h - 1].count) != g.rows[i].count)
          for (Index j = 0; j < g.out_w; ++j) scale[j] = static_cast<T>(g.scale(i, j));
        std::fill(share, share + g.w, T(0));
        if (pairs) {
          with_isa([&]() QDISTILL_ISA_BODY {
            QDISTILL_SIMD
            for (Index j = 0; j < g.out_w; ++j) {
              const T v = from[j] * scale[j];
              share[2 * j] = v, share[2 * j + 1] = v;
            }
          });
        } else {
          for (Index j = 0; j < g.out_w; ++j) {
            const T v = from[j] * scale[j];
            for (Index c = g.cols[j].begin; c < g.cols[j].end; ++c) share[c] += v;
          }
        }
        with_isa([&]() QDISTILL_ISA_BODY {
          for (Index r = g.rows[i].begin; r < g.rows[i].end; ++r) {
            T* const row = plane + r * g.w;
            QDISTILL_SIMD
            for (Index c = 0; c < g.w; ++c) row[c] += share[c];
          }
        });
      }
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
