/// Copies between strided layouts, and the sum over repeated dimensions that goes back through an expanded view.
#pragma once

#include <algorithm>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/shape.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// Two layouts of the same elements: dims of size 1 dropped, neighbours merged that run on in both. At least one dim.
struct StridedPair {
  int rank = 0;
  Index size[max_rank] = {}, from[max_rank] = {}, to[max_rank] = {};

  /// Where `reorder`, the dims are visited by descending stride of `to`, else in their own order.
  StridedPair(const Shape& shape, const Strides& from_strides, const Strides& to_strides, bool reorder) noexcept {
    int order[max_rank], dims = 0;
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      int at = dims++;
      for (; reorder && at > 0 && to_strides[order[at - 1]] < to_strides[d]; --at) order[at] = order[at - 1];
      order[at] = d;
    }
    for (int i = 0; i < dims; ++i) {
      const int d = order[i];
      if (rank > 0 && from[rank - 1] == from_strides[d] * shape[d] && to[rank - 1] == to_strides[d] * shape[d]) {
        size[rank - 1] *= shape[d], from[rank - 1] = from_strides[d], to[rank - 1] = to_strides[d];
        continue;
      }
      size[rank] = shape[d], from[rank] = from_strides[d], to[rank] = to_strides[d];
      ++rank;
    }
    if (rank == 0) size[0] = 1, from[0] = to[0] = 1, rank = 1;
  }
  /// Moves dim `d` to position `at`, the others keep their order.
  void move(int d, int at) noexcept {
    for (; d < at; ++d) std::swap(size[d], size[d + 1]), std::swap(from[d], from[d + 1]), std::swap(to[d], to[d + 1]);
  }
};

/// Walks the index of dims [0, rank) in row-major order from a given position, with the offsets of both layouts.
struct StridedWalk {
  const StridedPair& pair;
  int rank;
  Index index[max_rank] = {};
  Index from = 0, to = 0;

  StridedWalk(const StridedPair& p, int dims, Index position) noexcept : pair(p), rank(dims) {
    for (int d = rank - 1; d >= 0; --d) {
      index[d] = position % pair.size[d], position /= pair.size[d];
      from += index[d] * pair.from[d], to += index[d] * pair.to[d];
    }
  }
  void next() noexcept {
    for (int d = rank - 1; d >= 0; --d) {
      from += pair.from[d], to += pair.to[d];
      if (++index[d] < pair.size[d]) return;
      from -= pair.from[d] * pair.size[d], to -= pair.to[d] * pair.size[d], index[d] = 0;
    }
  }
};

/// to[i * to_step] (=|+=) from[i * from_step], i < n.
template <class T>
void copy_row(const T* from, Index from_step, T* to, Index to_step, Index n, Write write) {
  if (from_step == 1 && to_step == 1 && write == Write::set) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
    return;
  }
  with_isa([=]() QDISTILL_ISA_BODY {
    if (write == Write::set) {
      if (to_step == 1) {
        for (Index i = 0; i < n; ++i) to[i] = from[i * from_step];
      } else {
        for (Index i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
      }
    } else if (from_step == 1 && to_step == 1) {
      QDISTILL_SIMD
      for (Index i = 0; i < n; ++i) to[i] = static_cast<T>(to[i] + from[i]);
    } else {
      for (Index i = 0; i < n; ++i) to[i * to_step] = static_cast<T>(to[i * to_step] + from[i * from_step]);
    }
  });
}

}  // namespace detail

/// to[index . to_strides] (=|+=) from[index . from_strides] for every index of `shape`. Distinct indices address
/// distinct elements of `to`; strides of `from` may be 0.
template <class T>
void copy_strided(Cpu, const Shape& shape, const T* from, const Strides& from_strides, T* to, const Strides& to_strides,
                  Write write) {
  const Index n = shape.numel();
  if (n == 0) return;
  detail::StridedPair pair(shape, from_strides, to_strides, true);
  int across = -1;  // a dim along which `from` is dense while the last one is not: a transpose, done in tiles
  for (int d = 0; d + 1 < pair.rank; ++d)
    if (pair.from[d] == 1 && pair.from[pair.rank - 1] != 1) across = d;
  if (across >= 0) {
    pair.move(across, pair.rank - 2);
    constexpr Index tile = 16;
    const int last = pair.rank - 1, other = pair.rank - 2;
    const Index strips = (pair.size[other] + tile - 1) / tile, width = pair.size[last];
    const Index items = n / (pair.size[other] * width) * strips;
    parallel_for(items, std::max<Index>(1, memory_grain / (tile * width)), [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const detail::StridedWalk at(pair, other, item / strips);
        const Index i0 = item % strips * tile, i1 = std::min(pair.size[other], i0 + tile);
        const T* const source = from + at.from;
        T* const target = to + at.to;
        const Index from_step = pair.from[last], to_step = pair.to[last], to_other = pair.to[other];
        for (Index j0 = 0; j0 < width; j0 += tile) {
          const Index j1 = std::min(width, j0 + tile);
          for (Index i = i0; i < i1; ++i)
            for (Index j = j0; j < j1; ++j) {
              T& v = target[i * to_other + j * to_step];
              const T next = source[i + j * from_step];
              v = write == Write::add ? static_cast<T>(v + next) : next;
            }
        }
      }
    });
    return;
  }
  const int last = pair.rank - 1;
  const Index width = pair.size[last], rows = n / width;
  if (rows == 1) {
    parallel_for(width, memory_grain, [&](Index begin, Index end) {
      detail::copy_row(from + begin * pair.from[last], pair.from[last], to + begin * pair.to[last], pair.to[last],
                       end - begin, write);
    });
    return;
  }
  parallel_for(rows, std::max<Index>(1, memory_grain / width), [&](Index begin, Index end) {
    detail::StridedWalk at(pair, last, begin);
    for (Index r = begin; r < end; ++r, at.next())
      detail::copy_row(from + at.from, pair.from[last], to + at.to, pair.to[last], width, write);
  });
}

/// dx (=|+=) dy (row-major, `shape`) summed over the dims that `repeated` marks with 0; dx is row-major over the
/// others. `repeated` holds a 0 for every repeated dim. The sums are in double, in row-major order.
template <class T>
void sum_repeated(Cpu, const Shape& shape, const Strides& repeated, const T* dy, T* dx, Write write) {
  const Strides dense = row_major(shape);
  Shape kept, kept_strides, summed, summed_strides;
  for (int d = 0; d < shape.rank(); ++d) {
    if (repeated[d] == 0) summed.push_back(shape[d]), summed_strides.push_back(dense[d]);
    else kept.push_back(shape[d]), kept_strides.push_back(dense[d]);
  }
  const Index n = kept.numel(), times = summed.numel();
  if (n == 0) return;
  const detail::StridedPair outer(kept, kept_strides, kept_strides, false),
      inner(summed, summed_strides, summed_strides, false);
  parallel_for(n, std::max<Index>(1, memory_grain / std::max<Index>(1, times)), [&](Index begin, Index end) {
    constexpr Index width = 64;
    const int last = outer.rank - 1;
    const Index step = outer.from[last];
    detail::StridedWalk at(outer, outer.rank, begin);
    for (Index i = begin; i < end;) {
      const Index count = std::min({width, end - i, outer.size[last] - at.index[last]});
      double sum[width] = {};
      if (times > 0) {
        detail::StridedWalk term(inner, inner.rank, 0);
        for (Index k = 0; k < times; ++k, term.next()) {
          const T* const from = dy + at.from + term.from;
          if (step == 1) {
            for (Index j = 0; j < count; ++j) sum[j] += static_cast<double>(from[j]);
          } else {
            for (Index j = 0; j < count; ++j) sum[j] += static_cast<double>(from[j * step]);
          }
        }
      }
      for (Index j = 0; j < count; ++j, ++i, at.next())
        dx[i] = static_cast<T>((write == Write::add ? dx[i] : T(0)) + static_cast<T>(sum[j]));
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
