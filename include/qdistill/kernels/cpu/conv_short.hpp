/// Products of patches with short sums, as of a first layer: 3 channels are 27 taps.
///
/// A tile of the product then has little more to do than its beginning and end. So nothing is packed: a tile reads the
/// patches where they lie in the padded image, two vectors of one row of pixels for each tap, and the loop over the
/// tiles is compiled together with them. The sums have the order of the packed product; whether a product is fused with
/// its sum is left to the compiler here (g++ from -O2 on and clang do).
#pragma once

#include <utility>

#include "qdistill/kernels/cpu/conv_patches.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"
#include "qdistill/kernels/cpu/lanes.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

/// Most taps of a short sum.
inline constexpr Index short_sum = 128;

/// R rows (outputs) of two vectors of pixels: c = sum over k taps of a[tap][r] image[offsets[tap]], plus bias[r] if not
/// null, then max(c, 0) where `relu`.
template <class V, int R>
QDISTILL_INLINE void short_tile(Index k, const float* a, const float* image, const Index* offsets, const float* bias,
                                bool relu, float* c, Index ldc) {
  constexpr Index lanes = lane_count<V>;
  V sum[R][2];
  QDISTILL_UNROLL
  for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = V{};
  for (Index i = 0; i < k; ++i, a += R) {
    const float* const from = image + offsets[i];
    V b0, b1;
    load_lanes(from, b0), load_lanes(from + lanes, b1);
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) sum[r][0] += a[r] * b0, sum[r][1] += a[r] * b1;
  }
  QDISTILL_UNROLL
  for (int r = 0; r < R; ++r) {
    V v0 = sum[r][0], v1 = sum[r][1];
    if (bias) v0 += bias[r], v1 += bias[r];
    if (relu) v0 = v0 < 0.0f ? V{} : v0, v1 = v1 < 0.0f ? V{} : v1;
    store_lanes(c + r * ldc, v0), store_lanes(c + r * ldc + lanes, v1);
  }
}

/// What short_rows multiplies: rows of the output [begin, end) of one image.
struct ShortRows {
  const float* image;  ///< padded
  const Index* offsets;
  Index down;          ///< from one row of patches to the next
  Index width, plane;  ///< of the output
  Index begin, end;
};

/// One tile of R rows over all pixels of `in`; the last vectors of a row of pixels overlap those before.
template <class V, int R>
QDISTILL_INLINE void short_rows(const ShortRows& in, Index k, const float* a, const float* bias, bool relu, float* c) {
  constexpr Index step = 2 * lane_count<V>;
  for (Index h = in.begin; h < in.end; ++h)
    for (Index w = 0; w < in.width; w += step) {
      const Index at = w + step <= in.width ? w : in.width - step;
      short_tile<V, R>(k, a, in.image + h * in.down + at, in.offsets, bias, relu, c + h * in.width + at, in.plane);
    }
}

template <class V, int... R>
QDISTILL_INLINE void short_rows(std::integer_sequence<int, R...>, Index rows, const ShortRows& in, Index k,
                                const float* a, const float* bias, bool relu, float* c) {
  ((rows == R + 1 ? short_rows<V, R + 1>(in, k, a, bias, relu, c) : void()), ...);
}

/// Whether multiply_short takes the product: `taps` per sum, patches of `g`, result set. The kernel is wider than one
/// pixel, so that taps share the lines of the cache that they read; else packing is faster.
template <class T>
bool is_short(const PatchGeometry& g, Index taps, Write write) noexcept {
  return std::is_same_v<T, float> && write == Write::set && taps <= short_sum && g.span_w > 1 && g.stride_w == 1 &&
         g.out_w >= 2 * vector_lanes();
}

/// Row tiles [begin, end) of `a`, one block of taps, times the patches of output rows [h0, h1) of an image; c is the
/// image's (rows x pixels).
inline void multiply_short(const PackedRows<float>& a, Index begin, Index end, const PatchGeometry& g,
                           const Index* offsets, const float* image, Index h0, Index h1, float* c,
                           const Epilogue<float>& e) {
  const Index k = a.depth.depth, down = g.stride_h * g.row(), pixels = g.pixels();
  // Rows of the image that stay in the first cache while all tiles pass.
  const Index block = std::max<Index>(1, 2048 / std::max<Index>(1, g.channels * down));
  with_lanes([&](auto vector) QDISTILL_ISA_BODY {
    using V = typename decltype(vector)::Vector;
    constexpr int most = lane_count<V> == 16 ? 14 : lane_count<V> == 8 ? 6 : 4;
    for (Index h = h0; h < h1; h += block)
      for (Index t = begin; t < end; ++t) {
        const Index r0 = a.rows.begin(t), r = a.rows.begin(t + 1) - r0;
        short_rows<V>(std::make_integer_sequence<int, most>{}, r,
                      ShortRows{image, offsets, down, g.out_w, pixels, h, std::min(h1, h + block)}, k, a.data + r0 * k,
                      e.bias_row ? e.bias_row + r0 : nullptr, e.relu, c + r0 * pixels);
      }
  });
}

#else

template <class T>
bool is_short(const PatchGeometry&, Index, Write) noexcept {
  return false;
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
