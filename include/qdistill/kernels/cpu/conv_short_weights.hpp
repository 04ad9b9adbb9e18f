/// The weights' gradient of a layer with few taps, as a first layer has: dot products over pixels.
///
/// A product (outputs x pixels) (pixels x taps) would transpose all of dy for the few taps that meet it. Here neither
/// factor moves: a tile sums a few outputs times three taps, lane by lane along the rows of pixels, reading dy and the
/// padded image where they lie, and adds up the lanes at the end of a block of rows.
#pragma once

#include <utility>

#include "qdistill/kernels/cpu/conv_short.hpp"
#include "qdistill/kernels/cpu/winograd.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

/// The sum of n elements: in lanes of T, the lanes in double.
template <class T>
double row_sum(const T* row, Index n) {
  double sum = 0;
  with_isa([&]() QDISTILL_ISA_BODY {
    T lanes[32] = {};
    Index i = 0;
    for (; i + 32 <= n; i += 32) {
      QDISTILL_SIMD
      for (int l = 0; l < 32; ++l) lanes[l] += row[i + l];
    }
    for (; i < n; ++i) sum += static_cast<double>(row[i]);
    double wide[8];
    QDISTILL_SIMD
    for (int l = 0; l < 8; ++l)
      wide[l] = (static_cast<double>(lanes[l]) + static_cast<double>(lanes[l + 8])) +
                (static_cast<double>(lanes[l + 16]) + static_cast<double>(lanes[l + 24]));
    for (double w : wide) sum += w;
  });
  return sum;
}

#if defined(__GNUC__)

/// What the dot products run over: rows [begin, end) of the output, of one image.
struct DotRows {
  const float* image;  ///< padded
  Index down;          ///< from one row of patches to the next
  Index width, plane;  ///< of dy
  Index begin, end;
};

/// dw[a][b] += sum over the pixels of `in` of dy[a] (planes of one image) and the image at tap b, for A outputs and the
/// first `taps` of three offsets; rows of dw are `ldw` apart.
template <class V, int A>
QDISTILL_INLINE void dot_tile(const DotRows& in, const float* dy, const Index* offsets, Index taps, float* dw,
                              Index ldw) {
  constexpr int B = 3, sums = (A * B + 3) / 4 * 4;
  constexpr Index lanes = lane_count<V>;
  const Index plane = in.plane, width = in.width, whole = width / lanes * lanes;
  const Index o0 = offsets[0], o1 = offsets[taps > 1 ? 1 : 0], o2 = offsets[taps > 2 ? 2 : 0];
  V sum[sums];
  QDISTILL_UNROLL
  for (int i = 0; i < sums; ++i) sum[i] = V{};
  // The last vector of a row overlaps the one before it; what was counted there is cleared.
  V lane;
  for (int i = 0; i < lanes; ++i) lane[i] = static_cast<float>(i);
  const float counted = static_cast<float>(lanes - (width - whole));
  for (Index h = in.begin; h < in.end; ++h) {
    const float* const line = in.image + h * in.down;
    const float* const d = dy + h * width;
    const auto add = [&](Index w, auto overlaps) QDISTILL_ISA_BODY {
      V x0, x1, x2;
      load_lanes(line + o0 + w, x0), load_lanes(line + o1 + w, x1), load_lanes(line + o2 + w, x2);
      QDISTILL_UNROLL
      for (int a = 0; a < A; ++a) {
        V v;
        load_lanes(d + a * plane + w, v);
        if constexpr (overlaps()) v = lane < counted ? V{} : v;
        sum[B * a] += v * x0, sum[B * a + 1] += v * x1, sum[B * a + 2] += v * x2;
      }
    };
    for (Index w = 0; w < whole; w += lanes) add(w, std::false_type());
    if (whole < width) add(width - lanes, std::true_type());
  }
  float total[sums];
  QDISTILL_UNROLL
  for (int i = 0; i < sums; i += 4) {
    transpose4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]);
    const V part = (sum[i] + sum[i + 1]) + (sum[i + 2] + sum[i + 3]);
    for (int j = 0; j < 4; ++j) {
      float all = part[j];
      for (int k = 4; k < lanes; k += 4) all += part[j + k];
      total[i + j] = all;
    }
  }
  for (int a = 0; a < A; ++a)
    for (Index b = 0; b < taps; ++b) dw[a * ldw + b] += total[B * a + b];
}

template <class V, int... A>
QDISTILL_INLINE void dot_tile(std::integer_sequence<int, A...>, Index outputs, const DotRows& in, const float* dy,
                              const Index* offsets, Index taps, float* dw, Index ldw) {
  ((outputs == A + 1 ? dot_tile<V, A + 1>(in, dy, offsets, taps, dw, ldw) : void()), ...);
}

/// Whether the weights' gradient runs over dot products: few taps, of a kernel wider than one pixel as in is_short, and
/// rows of pixels that fill whole vectors but for a fifth.
template <class T>
bool is_dot(const PatchGeometry& g, Index taps) noexcept {
  const Index lanes = vector_lanes();
  return std::is_same_v<T, float> && taps <= 96 && g.span_w > 1 && g.stride_w == 1 && g.out_w >= lanes &&
         ceil_div(g.out_w, lanes) * lanes * 4 <= g.out_w * 5;
}

/// dw (outputs x taps, rows `ldw` apart) += the products of one image: dy (outputs x pixels), `image` padded; and
/// dbias (outputs) += dy, unless null.
inline void add_dots(const PatchGeometry& g, const Index* offsets, Index taps, const float* image, const float* dy,
                     Index outputs, float* dw, Index ldw, double* dbias) {
  const Index down = g.stride_h * g.row(), pixels = g.pixels();
  with_lanes([&](auto vector) QDISTILL_ISA_BODY {
    using V = typename decltype(vector)::Vector;
    constexpr int most = lane_count<V> == 16 ? 9 : 4;
    const RowSplit rows(outputs, most);
    // Blocks of rows that stay in the first cache, image and dy of a tile, while all taps pass.
    const Index blocks = ceil_div(g.out_h * (g.channels * down + most * g.out_w), 8192);
    for (Index i = 0; i < blocks; ++i) {
      const DotRows in{image, down, g.out_w, pixels, i * g.out_h / blocks, (i + 1) * g.out_h / blocks};
      for (Index t = 0; t < rows.tiles; ++t) {
        const Index o = rows.begin(t), count = rows.begin(t + 1) - o;
        for (Index a = o; a < o + count && dbias; ++a)
          dbias[a] += row_sum(dy + a * pixels + in.begin * g.out_w, (in.end - in.begin) * g.out_w);
        for (Index j = 0; j < taps; j += 3)
          dot_tile<V>(std::make_integer_sequence<int, most>{}, count, in, dy + o * pixels, offsets + j,
                      std::min<Index>(3, taps - j), dw + o * ldw + j, ldw);
      }
    }
  });
}

#else

template <class T>
bool is_dot(const PatchGeometry&, Index) noexcept {
  return false;
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
