/// Maxima over rectangles of planes, given by their rows and columns, with the position of each.
#pragma once

#include "qdistill/kernels/cpu/pool_average.hpp"
#include "qdistill/kernels/cpu/pool_max.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// best[c] = the largest of column c over the rows [begin, end) of a plane of width w, at[c] its row: the first of
/// equal ones, the last NaN.
template <class T, class Lane>
QDISTILL_INLINE void max_of_columns(const T* plane, Index w, Index begin, Index end, T* __restrict best,
                                    Lane* __restrict at) {
  const T* const first = plane + begin * w;
  QDISTILL_SIMD
  for (Index c = 0; c < w; ++c) best[c] = first[c], at[c] = static_cast<Lane>(begin);
  for (Index r = begin + 1; r < end; ++r) {
    const T* const row = plane + r * w;
    const Lane here = static_cast<Lane>(r);
    QDISTILL_SIMD
    for (Index c = 0; c < w; ++c) {
      const T value = row[c], before = best[c];
      const Lane old = at[c];
      const bool larger = (value > before) | (value != value);
      best[c] = larger ? value : before;
      at[c] = larger ? here : old;
    }
  }
}

}  // namespace detail

/// y (planes, out_h, out_w) = the largest element of each rectangle of x (planes, h, w), and in `index`, unless null,
/// its row * w + column: row by row the first of equal ones; a NaN is larger than any number, the last one counts.
/// No rectangle is empty; h is below 2^31.
template <class T>
void adaptive_max_pool(Cpu, const BinGrid& g, const T* x, T* y, Index* index) {
  using Lane = detail::LaneOf<T>;
  parallel_for(g.planes, g.planes_at_once(), [&](Index begin, Index end) {
    Tensor<T> maxima = Tensor<T>::empty({g.w});
    Tensor<Lane> rows = Tensor<Lane>::empty({g.w});
    T* const best = maxima.data();
    Lane* const at = rows.data();
    for (Index p = begin; p < end; ++p)
      for (Index i = 0; i < g.out_h; ++i) {
        with_isa([&]() QDISTILL_ISA_BODY {
          detail::max_of_columns(x + p * g.h * g.w, g.w, g.rows[i].begin, g.rows[i].end, best, at);
        });
        for (Index j = 0, to = (p * g.out_h + i) * g.out_w; j < g.out_w; ++j, ++to) {
          Index column = g.cols[j].begin;
          for (Index c = column + 1; c < g.cols[j].end; ++c) {
            const T value = best[c], before = best[column];
            const bool later = at[c] >= at[column];  // row by row
            const bool nan = value != value && (before == before || later);
            if (nan || value > before || (value == before && !later)) column = c;
          }
          y[to] = best[column];
          if (index) index[to] = static_cast<Index>(at[column]) * g.w + column;
        }
      }
  });
}

/// dx (planes, in) (=|+=) dy (planes, out) at the positions `index` (planes, out) within each plane, 0 elsewhere.
template <class T>
void adaptive_max_pool_backward(Cpu, Index planes, Index in, Index out, const T* dy, const Index* index, T* dx,
                                Write write) {
  parallel_for(planes, std::max<Index>(1, memory_grain / std::max<Index>(1, in)), [=](Index begin, Index end) {
    for (Index p = begin; p < end; ++p) {
      T* const plane = dx + p * in;
      if (write == Write::set) std::fill(plane, plane + in, T(0));
      for (Index i = p * out; i < (p + 1) * out; ++i) plane[index[i]] += dy[i];
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
