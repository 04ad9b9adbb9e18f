/// Max pooling of planes, with the position of each maximum kept as a small code.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "qdistill/core/device.hpp"
#include "qdistill/core/tensor.hpp"
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

/// The first tap of window (i, j) that lies inside the plane: the maximum where all elements are -infinity.
template <class Code>
Code first_tap(const PoolShape& s, Index i, Index j) noexcept {
  for (Index p = 0; p < s.kh; ++p)
    for (Index q = 0; q < s.kw; ++q) {
      const Index r = i * s.stride_h - s.pad_h + p * s.dil_h, c = j * s.stride_w - s.pad_w + q * s.dil_w;
      if (r >= 0 && r < s.h && c >= 0 && c < s.w) return static_cast<Code>(p * s.kw + q);
    }
  return no_tap<Code>;
}

/// An integer as wide as T, so that taps and values are selected by one mask.
template <class T>
using LaneOf = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;

/// One output row of 2 x 2 windows from the input rows a and b. The first of equal maxima counts, a NaN always.
template <class T>
QDISTILL_INLINE void max_of_halves(const T* __restrict a, const T* __restrict b, T* __restrict y, Index n) {
  QDISTILL_SIMD
  for (Index j = 0; j < n; ++j) {
    const T v0 = a[2 * j], v1 = a[2 * j + 1], v2 = b[2 * j], v3 = b[2 * j + 1];
    const bool t1 = (v1 > v0) | (v1 != v1);
    T m = t1 ? v1 : v0;
    const bool t2 = (v2 > m) | (v2 != v2);
    m = t2 ? v2 : m;
    const bool t3 = (v3 > m) | (v3 != v3);
    y[j] = t3 ? v3 : m;
  }
}

/// The same with the taps 0 .. 3 of the maxima, in blocks so that the codes are narrowed a vector at a time.
template <class T, class Code>
QDISTILL_INLINE void max_of_halves(const T* __restrict a, const T* __restrict b, T* __restrict y, Code* __restrict code,
                                   Index n) {
  using Lane = LaneOf<T>;
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

/// One gradient row of 2 x 2 windows: its element 2 j is tap `first`, its element 2 j + 1 the next one.
template <class T, class Lane>
QDISTILL_INLINE void spread_half(const T* __restrict dy, const Lane* __restrict taps, Lane first, T* __restrict row,
                                 Index n, Write write) {
  if (write == Write::set) {
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) {
      const T g = dy[j], left = taps[j] == first ? g : T(0), right = taps[j] == first + 1 ? g : T(0);
      row[2 * j] = left, row[2 * j + 1] = right;
    }
  } else {
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) {
      const T g = dy[j], left = taps[j] == first ? g : T(0), right = taps[j] == first + 1 ? g : T(0);
      row[2 * j] += left, row[2 * j + 1] += right;
    }
  }
}

/// Gradient rows a and b of 2 x 2 windows.
template <class T, class Code>
QDISTILL_INLINE void spread_halves(const T* __restrict dy, const Code* __restrict code, T* __restrict a,
                                   T* __restrict b, Index n, Write write) {
  using Lane = LaneOf<T>;
  constexpr Index width = 64;
  for (Index j0 = 0; j0 < n; j0 += width) {
    const Index count = n - j0 < width ? n - j0 : width;
    Lane taps[width];
    const Code* __restrict from = code + j0;
    QDISTILL_SIMD
    for (Index j = 0; j < count; ++j) taps[j] = static_cast<Lane>(from[j]);
    spread_half(dy + j0, taps, Lane(0), a + 2 * j0, count, write);
    spread_half(dy + j0, taps, Lane(2), b + 2 * j0, count, write);
  }
}

/// A row of a plane with its padding, the columns sorted by their remainder modulo the stride: the columns that a tap
/// meets in neighbouring windows then lie side by side.
struct SortedRow {
  Index width, stride, pad;
  Index length;  ///< columns of one remainder

  explicit SortedRow(const PoolShape& s) noexcept
      : width(s.w), stride(s.stride_w), pad(s.pad_w), length(s.out_w + (s.kw - 1) * s.dil_w / s.stride_w + 1) {}
  /// Remainders that some column of the padded row has.
  Index phases() const noexcept { return std::min(stride, width + 2 * pad); }
  /// Where the columns begin that lie `offset` behind the windows' first ones.
  Index start(Index offset) const noexcept { return offset % stride * length + offset / stride; }

  template <class T>
  QDISTILL_INLINE void fill(const T* __restrict from, T* __restrict row) const {
    constexpr T low = -std::numeric_limits<T>::infinity();
    for (Index phase = 0; phase < phases(); ++phase) {
      // Column k of this remainder is input column k stride + left.
      const Index left = phase - pad;
      const Index begin = std::min(length, left < 0 ? (-left + stride - 1) / stride : 0);
      const Index end = std::max(begin, std::min(length, left < width ? (width - 1 - left) / stride + 1 : 0));
      T* __restrict to = row + phase * length;
      for (Index k = 0; k < begin; ++k) to[k] = low;
      if (stride == 1) {
        QDISTILL_SIMD
        for (Index k = begin; k < end; ++k) to[k] = from[k + left];
      } else if (stride == 2) {
        QDISTILL_SIMD
        for (Index k = begin; k < end; ++k) to[k] = from[2 * k + left];
      } else {
        for (Index k = begin; k < end; ++k) to[k] = from[k * stride + left];
      }
      for (Index k = end; k < length; ++k) to[k] = low;
    }
  }
};

/// One plane, any window: the windows of one output row advance together, tap by tap. `row` and `taps` are scratch.
template <class T, class Lane, class Code>
QDISTILL_INLINE void max_of_windows(const PoolShape& s, const SortedRow& sorted, const T* x, T* y, Code* code, T* row,
                                    Lane* __restrict taps) {
  for (Index i = 0; i < s.out_h; ++i) {
    T* __restrict best = y + i * s.out_w;
    QDISTILL_SIMD
    for (Index j = 0; j < s.out_w; ++j) best[j] = -std::numeric_limits<T>::infinity(), taps[j] = Lane(-1);
    for (Index p = 0; p < s.kh; ++p) {
      const Index r = i * s.stride_h - s.pad_h + p * s.dil_h;
      if (r < 0 || r >= s.h) continue;
      sorted.fill(x + r * s.w, row);
      for (Index q = 0; q < s.kw; ++q) {
        const T* __restrict v = row + sorted.start(q * s.dil_w);
        const Lane tap = static_cast<Lane>(p * s.kw + q);
        QDISTILL_SIMD
        for (Index j = 0; j < s.out_w; ++j) {
          const T value = v[j], before = best[j];
          const Lane old = taps[j];
          const bool larger = (value > before) | (value != value);
          best[j] = larger ? value : before;
          taps[j] = larger ? tap : old;
        }
      }
    }
    if (!code) continue;
    Code* __restrict to = code + i * s.out_w;
    QDISTILL_SIMD
    for (Index j = 0; j < s.out_w; ++j) to[j] = static_cast<Code>(taps[j]);
    for (Index j = 0; j < s.out_w; ++j)
      if (taps[j] < 0) to[j] = first_tap<Code>(s, i, j);
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
      using Lane = std::conditional_t<(sizeof(Code) > 1), std::int64_t, detail::LaneOf<T>>;
      const detail::SortedRow sorted(s);
      Tensor<T> row = Tensor<T>::empty({sorted.phases(), sorted.length});
      Tensor<Lane> taps = Tensor<Lane>::empty({s.out_w});
      with_isa([&]() QDISTILL_ISA_BODY {
        for (Index p = begin; p < end; ++p)
          detail::max_of_windows(s, sorted, x + p * in, y + p * out, code ? code + p * out : nullptr, row.data(),
                                 taps.data());
      });
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
