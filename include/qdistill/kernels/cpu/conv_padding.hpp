/// How an image is read in patches, and its copy with zeros around it that they are read from.
#pragma once

#include <algorithm>

#include "qdistill/kernels/cpu/conv_shape.hpp"
#include "qdistill/kernels/cpu/gemm_pack.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

/// How an image is read in patches. The scratch image has `rows` x `cols` pixels for each of `channels` planes of
/// src_h x src_w; the source begins at (pad_top, pad_left), negative padding crops it. Patches span span_h x span_w
/// pixels and follow each other by the strides; there are out_h x out_w of them.
struct PatchGeometry {
  Index channels, src_h, src_w;
  Index pad_top, pad_left;
  Index rows, cols;
  Index span_h, span_w, stride_h, stride_w;
  Index out_h, out_w;
  Index step = 0;  ///< elements from one image to the next, where the columns of a product run over several

  /// True if the source can be read as it lies.
  bool in_place() const noexcept {
    return pad_top == 0 && pad_left == 0 && stride_w == 1 && rows <= src_h && cols <= src_w;
  }
  /// Remainders of the column modulo stride_w that occur, and columns of one of them.
  Index phases() const noexcept { return std::min(stride_w, span_w); }
  Index phase() const noexcept { return in_place() ? src_w : (cols + stride_w - 1) / stride_w; }
  Index row() const noexcept { return phase() * phases(); }
  Index plane() const noexcept { return (in_place() ? src_h : rows) * row(); }
  /// Elements of the scratch image, with room for vectors that start before its first element.
  Index scratch() const noexcept { return in_place() ? 0 : channels * plane() + 2 * margin; }
  Index pixels() const noexcept { return out_h * out_w; }
  /// Where the patch element at (h, w) of channel c lies, from the patch's position.
  Index offset(Index c, Index h, Index w) const noexcept {
    return c * plane() + h * row() + w % stride_w * phase() + w / stride_w;
  }

  static constexpr Index margin = 16;
};

/// The patches of one group of x that the taps of the forward convolution see.
inline PatchGeometry forward_patches(const Conv2dShape& s) noexcept {
  const Index span_h = s.dil_h * (s.KH - 1) + 1, span_w = s.dil_w * (s.KW - 1) + 1, oh = s.out_h(), ow = s.out_w();
  return {s.C / s.groups,
          s.H,
          s.W,
          s.pad_h,
          s.pad_w,
          (oh - 1) * s.stride_h + span_h,
          (ow - 1) * s.stride_w + span_w,
          span_h,
          span_w,
          s.stride_h,
          s.stride_w,
          oh,
          ow};
}

/// The offsets of those taps, in the order (c, kh, kw).
inline void forward_offsets(const Conv2dShape& s, const PatchGeometry& g, Index* offsets) noexcept {
  for (Index c = 0; c < g.channels; ++c)
    for (Index kh = 0; kh < s.KH; ++kh)
      for (Index kw = 0; kw < s.KW; ++kw) *offsets++ = g.offset(c, kh * s.dil_h, kw * s.dil_w);
}

#if QDISTILL_X86

/// pad_channels for a stride of 1 and rows of at most 128 pixels: whole vectors, the lanes outside the source masked.
/// Stores reach up to 15 elements past a row, into the next one, which is written later; the last row of the range must
/// not, another thread may have written there.
QDISTILL_TARGET_AVX512 inline void pad_channels_avx512(const PatchGeometry& g, const float* src, Index c0, Index c1,
                                                       float* to) {
  const Index row = g.row(), chunks = (row + 15) / 16;
  __mmask16 inside[8];
  for (Index k = 0; k < chunks; ++k)
    inside[k] = static_cast<__mmask16>(lanes16(g.src_w + g.pad_left - 16 * k) & ~lanes16(g.pad_left - 16 * k));
  const __mmask16 tail = lanes16(row - 16 * (chunks - 1));
  for (Index c = c0; c < c1; ++c) {
    for (Index r = 0; r < g.rows; ++r, to += row) {
      if (r < g.pad_top || r - g.pad_top >= g.src_h || g.src_w == 0) {
        for (Index k = 0; k < row; ++k) to[k] = 0;
        continue;
      }
      const float* const from = src + (c * g.src_h + r - g.pad_top) * g.src_w - g.pad_left;
      const Index whole = c + 1 == c1 && r + 1 == g.rows ? chunks - 1 : chunks;
      for (Index k = 0; k < whole; ++k) _mm512_storeu_ps(to + 16 * k, _mm512_maskz_loadu_ps(inside[k], from + 16 * k));
      if (whole < chunks)
        _mm512_mask_storeu_ps(to + 16 * whole, tail, _mm512_maskz_loadu_ps(inside[whole], from + 16 * whole));
    }
  }
}

/// pad_channels for a stride of 1 and rows of at most 128 pixels, as pad_channels_avx512.
QDISTILL_TARGET_AVX2 inline void pad_channels_avx2(const PatchGeometry& g, const float* src, Index c0, Index c1,
                                                   float* to) {
  const Index row = g.row(), chunks = (row + 7) / 8, end = g.pad_left + g.src_w;
  // Chunks [first, last) lie inside the source.
  const Index first = std::min(chunks, std::max<Index>(0, (g.pad_left + 7) / 8));
  const Index last = std::max(first, std::min(chunks, end / 8));
  __m256i inside[16];
  for (Index k = 0; k < chunks; ++k)
    inside[k] = _mm256_andnot_si256(first_lanes8(g.pad_left - 8 * k), first_lanes8(end - 8 * k));
  const __m256i tail = first_lanes8(row - 8 * (chunks - 1));
  for (Index c = c0; c < c1; ++c) {
    for (Index r = 0; r < g.rows; ++r, to += row) {
      const Index whole = c + 1 == c1 && r + 1 == g.rows ? chunks - 1 : chunks;
      __m256 v = _mm256_setzero_ps();
      if (r < g.pad_top || r - g.pad_top >= g.src_h || g.src_w == 0) {
        for (Index k = 0; k < whole; ++k) _mm256_storeu_ps(to + 8 * k, v);
      } else {
        const float* const from = src + (c * g.src_h + r - g.pad_top) * g.src_w - g.pad_left;
        for (Index k = 0; k < std::min(first, whole); ++k)
          _mm256_storeu_ps(to + 8 * k, _mm256_maskload_ps(from + 8 * k, inside[k]));
        for (Index k = first; k < std::min(last, whole); ++k)
          _mm256_storeu_ps(to + 8 * k, _mm256_loadu_ps(from + 8 * k));
        for (Index k = last; k < whole; ++k) _mm256_storeu_ps(to + 8 * k, _mm256_maskload_ps(from + 8 * k, inside[k]));
        if (whole < chunks) v = _mm256_maskload_ps(from + 8 * whole, inside[whole]);
      }
      if (whole < chunks) _mm256_maskstore_ps(to + 8 * whole, tail, v);
    }
  }
}

#endif

/// Copies channels [c0, c1) of `src` into `scratch`, padded; nothing to do where the image is read in place.
template <class T>
void pad_channels(const PatchGeometry& g, const T* src, Index c0, Index c1, T* scratch) {
  if (g.in_place()) return;
  const Index phase = g.phase(), row = g.row(), stride = g.stride_w;
  T* to = scratch + PatchGeometry::margin + c0 * g.plane();
#if QDISTILL_X86
  if constexpr (std::is_same_v<T, float>) {
    if (stride == 1 && row <= 128 && active_isa() == Isa::avx512) return pad_channels_avx512(g, src, c0, c1, to);
    if (stride == 1 && row <= 128 && active_isa() == Isa::avx2) return pad_channels_avx2(g, src, c0, c1, to);
  }
#endif
  for (Index c = c0; c < c1; ++c) {
    for (Index r = 0; r < g.rows; ++r, to += row) {
      if (r % g.stride_h >= g.span_h) continue;  // no patch reads this row
      const Index h = r - g.pad_top;
      if (h < 0 || h >= g.src_h) {
        std::memset(to, 0, static_cast<std::size_t>(row) * sizeof(T));
        continue;
      }
      const T* const from = src + (c * g.src_h + h) * g.src_w;
      for (Index p = 0; p < g.phases(); ++p) {
        // Element i of this remainder is column i * stride - first of the source.
        const Index first = g.pad_left - p, past = g.src_w + first;
        const Index begin = first <= 0 ? 0 : std::min(phase, (first + stride - 1) / stride);
        const Index end = past <= 0 ? begin : std::max(begin, std::min(phase, (past + stride - 1) / stride));
        T* const line = to + p * phase;
        for (Index i = 0; i < begin; ++i) line[i] = 0;
        if (stride != 1) {
          for (Index i = begin; i < end; ++i) line[i] = from[i * stride - first];
        } else if (end > begin) {
          std::memcpy(line + begin, from + begin - first, static_cast<std::size_t>(end - begin) * sizeof(T));
        }
        for (Index i = end; i < phase; ++i) line[i] = 0;
      }
    }
  }
}

/// The image to read patches from: `src` itself, or its copy in `scratch`, made here.
template <class T>
const T* padded_image(const PatchGeometry& g, const T* src, T* scratch) {
  if (g.in_place()) return src;
  pad_channels(g, src, 0, g.channels, scratch);
  return scratch + PatchGeometry::margin;
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
