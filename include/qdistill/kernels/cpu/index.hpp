/// Reading and adding by index. Where several indices name one element, their terms are added in the order of the
/// indices: work is cut only between elements that cannot meet.
#pragma once

#include "qdistill/kernels/cpu/copy.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Position of the first of n indices outside [0, size), or -1.
inline Index first_out_of_range(Cpu, Index n, const Index* index, Index size) {
  bool bad = false;
  for (Index i = 0; i < n; ++i) bad |= static_cast<std::uint64_t>(index[i]) >= static_cast<std::uint64_t>(size);
  for (Index i = 0; bad && i < n; ++i)
    if (index[i] < 0 || index[i] >= size) return i;
  return -1;
}

/// y[o, k, .] (=|+=) scale x[o, index[k], .].  x (outer, rows, inner), y (outer, count, inner).
template <class T>
void take_rows(Cpu, Index outer, Index rows, Index inner, const Index* index, Index count, const T* x, T* y, T scale,
               Write write) {
  parallel_for(outer * count, std::max<Index>(1, memory_grain / std::max<Index>(1, inner)),
               [=](Index begin, Index end) {
                 for (Index i = begin; i < end; ++i) {
                   const T* const from = x + (i / count * rows + index[i % count]) * inner;
                   T* const to = y + i * inner;
                   if (write == Write::set && scale == T(1)) {
                     std::memcpy(to, from, static_cast<std::size_t>(inner) * sizeof(T));
                     continue;
                   }
                   with_isa([=]() QDISTILL_ISA_BODY {
                     QDISTILL_SIMD
                     for (Index j = 0; j < inner; ++j)
                       to[j] = static_cast<T>((write == Write::add ? to[j] : T(0)) + static_cast<T>(scale * from[j]));
                   });
                 }
               });
}

/// y[o, index[k], .] += scale x[o, k, .] for k in order, except where index[k] is `skipped`.  x (outer, count, inner),
/// y (outer, rows, inner).
template <class T>
void add_rows(Cpu, Index outer, Index rows, Index inner, const Index* index, Index count, const T* x, T* y, T scale,
              Index skipped = -1) {
  constexpr Index width = 256;
  const Index blocks = (inner + width - 1) / width;
  parallel_for(outer * blocks, std::max<Index>(1, memory_grain / (width * std::max<Index>(1, count))),
               [=](Index begin, Index end) {
                 for (Index item = begin; item < end; ++item) {
                   const Index o = item / blocks, j0 = item % blocks * width, n = std::min(width, inner - j0);
                   with_isa([=]() QDISTILL_ISA_BODY {
                     for (Index k = 0; k < count; ++k) {
                       if (index[k] == skipped) continue;
                       const T* const from = x + (o * count + k) * inner + j0;
                       T* const to = y + (o * rows + index[k]) * inner + j0;
                       QDISTILL_SIMD
                       for (Index j = 0; j < n; ++j) to[j] = static_cast<T>(to[j] + static_cast<T>(scale * from[j]));
                     }
                   });
                 }
               });
}

/// Calls f(i, offset) for every element i of `index`, in an order in which elements of one line along `dim` follow each
/// other: `offset` is that of index i in a row-major tensor of `shape`, with position index[i] along `dim`.
template <class F>
void for_each_index(Cpu, const Shape& index_shape, const Shape& shape, int dim, const Index* index, F f) {
  const Strides own = row_major(index_shape), other = row_major(shape);
  Shape before, before_own, before_other, behind, behind_own, behind_other;
  for (int d = 0; d < dim; ++d)
    before.push_back(index_shape[d]), before_own.push_back(own[d]), before_other.push_back(other[d]);
  for (int d = dim + 1; d < shape.rank(); ++d)
    behind.push_back(index_shape[d]), behind_own.push_back(own[d]), behind_other.push_back(other[d]);
  const Index outer = before.numel(), inner = behind.numel(), n = shape.rank() > 0 ? index_shape[dim] : 1;
  if (outer == 0 || inner == 0 || n == 0) return;
  const Index own_step = shape.rank() > 0 ? own[dim] : 1, other_step = shape.rank() > 0 ? other[dim] : 1;
  const detail::StridedPair lines(before, before_own, before_other, false),
      across(behind, behind_own, behind_other, false);
  constexpr Index width = 1024;
  const Index blocks = (inner + width - 1) / width;
  parallel_for(outer * blocks, std::max<Index>(1, memory_grain / (n * std::min(inner, width))),
               [&](Index begin, Index end) {
                 for (Index item = begin; item < end; ++item) {
                   const detail::StridedWalk line(lines, lines.rank, item / blocks);
                   const Index j0 = item % blocks * width, j1 = std::min(inner, j0 + width);
                   for (Index k = 0; k < n; ++k) {
                     detail::StridedWalk at(across, across.rank, j0);
                     for (Index j = j0; j < j1; ++j, at.next()) {
                       const Index i = line.from + k * own_step + at.from;
                       f(i, line.to + index[i] * other_step + at.to);
                     }
                   }
                 }
               });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
