/// Max pooling of planes, with the position of each maximum kept as a small code.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Windows of kh x kw taps over planes of h x w. Padding counts as less than any number.
struct PoolShape {
  Index planes = 0, h = 0, w = 0, out_h = 0, out_w = 0;
  Index kh = 1, kw = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dil_h = 1, dil_w = 1;

  /// Windows 2 x 2 that lie side by side, each inside its plane.
  bool halves() const noexcept {
    return kh == 2 && kw == 2 && stride_h == 2 && stride_w == 2 && pad_h == 0 && pad_w == 0 && dil_h == 1 &&
           dil_w == 1 && 2 * out_h <= h && 2 * out_w <= w;
  }
};

namespace detail {

/// Marks a window that lies in the padding altogether: its maximum is -infinity and passes no gradient on.
template <class Code>
inline constexpr Code no_tap = static_cast<Code>(-1);

/// One output row of 2 x 2 windows from the input rows a and b. The first of equal maxima counts, a NaN always.
template <class T>
QDISTILL_INLINE void max_of_halves(const T* __restrict a, const T* __restrict b, T* __restrict y, Index n) {
  QDISTILL_SIMD
  for (Index j = 0; j < n; ++j) {
    const T v0 = a[2 * j], v1 = a[2 * j + 1], v2 = b[2 * j], v3 = b[2 * j + 1];
    T m = (v1 > v0) | (v1 != v1) ? v1 : v0;
    m = (v2 > m) | (v2 != v2) ? v2 : m;
    y[j] = (v3 > m) | (v3 != v3) ? v3 : m;
  }
}

/// The same with the taps 0 .. 3 of the maxima, in blocks so that the codes are narrowed a vector at a time.
template <class T, class Code>
QDISTILL_INLINE void max_of_halves(const T* __restrict a, const T* __restrict b, T* __restrict y, Code* __restrict code,
                                   Index n) {
  using Lane = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
  constexpr Index width = 64;
  for (Index j0 = 0; j0 < n; j0 += width) {
    const Index count = n - j0 < width ? n - j0 : width;
    Lane taps[width];
    const T* __restrict p = a + 2 * j0;
    const T* __restrict q = b + 2 * j0;
    T* __restrict to = y + j0;
    QDISTILL_SIMD
    for (Index j = 0; j < count; ++j) {
      const T v0 = p[2 * j], v1 = p[2 * j + 1], v2 = q[2 * j], v3 = q[2 * j + 1];
      const bool t1 = (v1 > v0) | (v1 != v1);
      T m = t1 ? v1 : v0;
      Lane tap = t1 ? Lane(1) : Lane(0);
      const bool t2 = (v2 > m) | (v2 != v2);
      m = t2 ? v2 : m;
      tap = t2 ? Lane(2) : tap;
      const bool t3 = (v3 > m) | (v3 != v3);
      to[j] = t3 ? v3 : m;
      taps[j] = t3 ? Lane(3) : tap;
    }
    QDISTILL_SIMD
    for (Index j = 0; j < count; ++j) code[j0 + j] = static_cast<Code>(taps[j]);
  }
}

/// Gradient rows a and b of 2 x 2 windows.
template <class T, class Code>
QDISTILL_INLINE void spread_halves(const T* __restrict dy, const Code* __restrict code, T* __restrict a,
                                   T* __restrict b, Index n, Write write) {
  if (write == Write::set) {
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) {
      const int tap = static_cast<int>(code[j]);
      a[2 * j] = tap == 0 ? dy[j] : T(0), a[2 * j + 1] = tap == 1 ? dy[j] : T(0);
      b[2 * j] = tap == 2 ? dy[j] : T(0), b[2 * j + 1] = tap == 3 ? dy[j] : T(0);
    }
  } else {
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) {
      const int tap = static_cast<int>(code[j]);
      a[2 * j] += tap == 0 ? dy[j] : T(0), a[2 * j + 1] += tap == 1 ? dy[j] : T(0);
      b[2 * j] += tap == 2 ? dy[j] : T(0), b[2 * j + 1] += tap == 3 ? dy[j] : T(0);
    }
  }
}

/// One plane, any window.
template <class T, class Code>
void max_of_windows(const PoolShape& s, const T* x, T* y, Code* code) {
  for (Index i = 0; i < s.out_h; ++i)
    for (Index j = 0; j < s.out_w; ++j) {
      const Index top = i * s.stride_h - s.pad_h, left = j * s.stride_w - s.pad_w;
      T best = -std::numeric_limits<T>::infinity();
      Code tap = no_tap<Code>;
      for (Index p = 0; p < s.kh; ++p) {
        const Index r = top + p * s.dil_h;
        if (r < 0 || r >= s.h) continue;
        for (Index q = 0; q < s.kw; ++q) {
          const Index c = left + q * s.dil_w;
          if (c < 0 || c >= s.w) continue;
          const T v = x[r * s.w + c];
          if (v > best || v != v || tap == no_tap<Code>) best = v, tap = static_cast<Code>(p * s.kw + q);
        }
      }
      *y++ = best;
      if (code) *code++ = tap;
    }
}

inline Index planes_at_once(const PoolShape& s) noexcept {
  return std::max<Index>(1, memory_grain / std::max<Index>(1, s.h * s.w + s.out_h * s.out_w));
}

}  // namespace detail

/// y (planes, out_h, out_w) = the largest element of each window of x (planes, h, w), and in `code`, unless null, its
/// tap p * kw + q within the window, the first in this order among equal ones; a NaN is larger than any number.
/// kh * kw is at most the largest Code.
template <class T, class Code>
void max_pool(Cpu, const PoolShape& s, const T* x, T* y, Code* code) {
  const Index in = s.h * s.w, out = s.out_h * s.out_w;
  parallel_for(s.planes, detail::planes_at_once(s), [&](Index begin, Index end) {
    if (!s.halves()) {
      for (Index p = begin; p < end; ++p) detail::max_of_windows(s, x + p * in, y + p * out, code ? code + p * out : nullptr);
      return;
    }
    with_isa([&]() QDISTILL_ISA_BODY {
      for (Index p = begin; p < end; ++p)
        for (Index i = 0; i < s.out_h; ++i) {
          const T* const row = x + p * in + 2 * i * s.w;
          const Index at = p * out + i * s.out_w;
          if (code) detail::max_of_halves(row, row + s.w, y + at, code + at, s.out_w);
          else detail::max_of_halves(row, row + s.w, y + at, s.out_w);
        }
    });
  });
}

/// dx (planes, h, w) (=|+=) dy at the taps that `code` names, 0 elsewhere.
template <class T, class Code>
void max_pool_backward(Cpu, const PoolShape& s, const T* dy, const Code* code, T* dx, Write write) {
  const Index in = s.h * s.w, out = s.out_h * s.out_w;
  parallel_for(s.planes, detail::planes_at_once(s), [&](Index begin, Index end) {
    if (!s.halves()) {
      for (Index p = begin; p < end; ++p) {
        T* const plane = dx + p * in;
        if (write == Write::set) std::fill(plane, plane + in, T(0));
        for (Index i = 0, at = p * out; i < s.out_h; ++i)
          for (Index j = 0; j < s.out_w; ++j, ++at) {
            if (code[at] == detail::no_tap<Code>) continue;
            const Index tap = static_cast<Index>(code[at]);
            const Index r = i * s.stride_h - s.pad_h + tap / s.kw * s.dil_h;
            const Index c = j * s.stride_w - s.pad_w + tap % s.kw * s.dil_w;
            plane[r * s.w + c] += dy[at];
          }
      }
      return;
    }
    const bool clear = write == Write::set;
    with_isa([&]() QDISTILL_ISA_BODY {
      for (Index p = begin; p < end; ++p) {
        T* const plane = dx + p * in;
        for (Index i = 0; i < s.out_h; ++i) {
          const Index at = p * out + i * s.out_w;
          T* const row = plane + 2 * i * s.w;
          detail::spread_halves(dy + at, code + at, row, row + s.w, s.out_w, write);
          for (Index j = 2 * s.out_w; clear && j < s.w; ++j) row[j] = row[s.w + j] = T(0);
        }
        for (Index j = 2 * s.out_h * s.w; clear && j < in; ++j) plane[j] = T(0);
      }
    });
  });
}

/// index[i] = row * w + column of the maximum of window i within its plane, -1 where there is none.
template <class Code>
void max_pool_indices(Cpu, const PoolShape& s, const Code* code, Index* index) {
  const Index out = s.out_h * s.out_w;
  parallel_for(s.planes, detail::planes_at_once(s), [&](Index begin, Index end) {
    for (Index p = begin; p < end; ++p)
      for (Index i = 0, at = p * out; i < s.out_h; ++i)
        for (Index j = 0; j < s.out_w; ++j, ++at) {
          const Index tap = static_cast<Index>(code[at]);
          const Index r = i * s.stride_h - s.pad_h + tap / s.kw * s.dil_h;
          const Index c = j * s.stride_w - s.pad_w + tap % s.kw * s.dil_w;
          index[at] = code[at] == detail::no_tap<Code> ? -1 : r * s.w + c;
        }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
