/// Two operands read as if both had the result's shape, and loops over them: forward, and backward with the sum over
/// the places where an operand is repeated.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/shape.hpp"
#include "qdistill/kernels/cpu/reduce.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// The result's dims, those of size 1 left out and neighbours merged where both operands allow it, with the step of
/// each operand along them: 0 where it is repeated. Steps along the last dim are 0 or 1. Operands are contiguous.
struct BroadcastLayout {
  int rank = 1;
  Index numel = 0;
  Index size[max_rank] = {1};
  Index a[max_rank] = {};
  Index b[max_rank] = {};
};

/// Layout of operands of shapes `a` and `b` in a result of shape `out`, to which both broadcast.
inline BroadcastLayout broadcast_layout(const Shape& out, const Shape& a, const Shape& b) noexcept {
  const Strides sa = broadcast_strides(a, row_major(a), out), sb = broadcast_strides(b, row_major(b), out);
  BroadcastLayout l;
  l.numel = out.numel();
  int rank = 0;
  for (int d = 0; d < out.rank(); ++d) {
    if (out[d] == 1) continue;
    if (rank > 0 && l.a[rank - 1] == sa[d] * out[d] && l.b[rank - 1] == sb[d] * out[d]) {
      l.size[rank - 1] *= out[d], l.a[rank - 1] = sa[d], l.b[rank - 1] = sb[d];
    } else {
      l.size[rank] = out[d], l.a[rank] = sa[d], l.b[rank] = sb[d];
      ++rank;
    }
  }
  l.rank = rank > 0 ? rank : 1;
  return l;
}

/// Calls apply(j, a_j, b_j) for j in [0, n) along the last dim. Belongs inside a with_isa body, as does `apply`.
template <class T, class Apply>
QDISTILL_INLINE void broadcast_row(const BroadcastLayout& l, Index n, const T* a, const T* b, Apply apply) {
  const bool step_a = l.a[l.rank - 1] != 0, step_b = l.b[l.rank - 1] != 0;
  if (step_a && step_b) {
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) apply(j, a[j], b[j]);
  } else if (step_a) {
    const T v = *b;
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) apply(j, a[j], v);
  } else if (step_b) {
    const T u = *a;
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) apply(j, u, b[j]);
  } else {
    const T u = *a, v = *b;
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) apply(j, u, v);
  }
}

/// Calls row(i, n, offset_a, offset_b) for the pieces of rows that make up [begin, end) of the result.
template <class Row>
QDISTILL_INLINE void broadcast_rows(const BroadcastLayout& l, Index begin, Index end, Row row) {
  const int last = l.rank - 1;
  Index index[max_rank];
  Index rest = begin, at_a = 0, at_b = 0;
  for (int d = last; d >= 0; --d) {
    index[d] = rest % l.size[d], rest /= l.size[d];
    at_a += index[d] * l.a[d], at_b += index[d] * l.b[d];
  }
  for (Index i = begin; i < end;) {
    const Index in_row = l.size[last] - index[last], n = in_row < end - i ? in_row : end - i;
    row(i, n, at_a, at_b);
    i += n;
    index[last] += n, at_a += n * l.a[last], at_b += n * l.b[last];
    for (int d = last; d > 0 && index[d] == l.size[d]; --d) {
      at_a += l.a[d - 1] - l.size[d] * l.a[d], at_b += l.b[d - 1] - l.size[d] * l.b[d];
      index[d] = 0, ++index[d - 1];
    }
  }
}

/// y[i] (=|+=) f(i, a_i, b_i) for all i of the result, in row-major order.
template <class T, class U, class F>
void map_broadcast(Cpu, const BroadcastLayout& l, const T* a, const T* b, U* y, Write write, F f) {
  parallel_for(l.numel, memory_grain, [&](Index begin, Index end) {
    with_isa([&]() QDISTILL_ISA_BODY {
      broadcast_rows(l, begin, end, [&](Index i, Index n, Index at_a, Index at_b) QDISTILL_ISA_BODY {
        U* const out = y + i;
        if (write == Write::set) {
          broadcast_row(l, n, a + at_a, b + at_b,
                        [i, out, f](Index j, T u, T v) QDISTILL_ISA_BODY { out[j] = f(i + j, u, v); });
        } else {
          broadcast_row(l, n, a + at_a, b + at_b, [i, out, f](Index j, T u, T v) QDISTILL_ISA_BODY {
            out[j] = static_cast<U>(out[j] + f(i + j, u, v));
          });
        }
      });
    });
  });
}

/// out (=|+=) f(i, a_i, b_i), summed over the places where one operand is repeated: the gradient of that operand, or a
/// reduction that looks at per-fiber values. `step` is the operand's steps, l.a or l.b; `out` has its elements.
template <class T, class F>
void broadcast_sum(Cpu dev, const BroadcastLayout& l, const Index* step, const T* a, const T* b, T* out, Write write,
                   F f) {
  Fibers fibers;
  fibers.rank = l.rank;
  bool repeated = l.numel == 0;
  for (int d = 0; d < l.rank; ++d) {
    fibers.size[d] = l.size[d];
    fibers.kept[d] = l.size[d] == 1 || step[d] != 0;
    repeated = repeated || !fibers.kept[d];
  }
  if (!repeated) return map_broadcast(dev, l, a, b, out, write, f);
  const auto fill = [&](const Index* index, Index at, Index n, T* buffer) {
    Index at_a = 0, at_b = 0;
    for (int d = 0; d < l.rank; ++d) at_a += index[d] * l.a[d], at_b += index[d] * l.b[d];
    with_isa([&, buffer]() QDISTILL_ISA_BODY {
      broadcast_row(l, n, a + at_a, b + at_b,
                    [at, buffer, f](Index j, T u, T v) QDISTILL_ISA_BODY { buffer[j] = f(at + j, u, v); });
    });
  };
  reduce<Sum>(dev, fibers, Source<T>::computed(fill), out, write);
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
