/// Packing of matrices into the panels that the register tile reads.
///
/// A panel holds k rows of `width` elements, one row after the other: panel[k * ld + i]. The source either has those
/// rows already (pack_rows) or has them as columns (pack_transposed); what lies beyond `width` is filled with zeros.
#pragma once

#include <algorithm>

#include "qdistill/kernels/cpu/gemm_tile.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

/// The portable transposition, in blocks that stay in the first cache.
template <class T>
void pack_transposed_portable(const T* src, Index stride, Index width, Index k, T* panel, Index ld) {
  for (Index k0 = 0; k0 < k; k0 += 16) {
    const Index k1 = k0 + 16 < k ? k0 + 16 : k;
    for (Index i = 0; i < width; ++i)
      for (Index p = k0; p < k1; ++p) panel[p * ld + i] = src[i * stride + p];
    for (Index i = width; i < ld; ++i)
      for (Index p = k0; p < k1; ++p) panel[p * ld + i] = 0;
  }
}

#if QDISTILL_X86

/// v[q] = elements p + q of the rows row[0 .. 7], q < 4.
QDISTILL_TARGET_AVX2 QDISTILL_INLINE void transpose8x4(const float* const* row, Index p, __m256 (&v)[4]) noexcept {
  __m256 r[4];
  QDISTILL_UNROLL
  for (int i = 0; i < 4; ++i)
    r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i] + p)), _mm_loadu_ps(row[i + 4] + p), 1);
  const __m256 low01 = _mm256_unpacklo_ps(r[0], r[1]), high01 = _mm256_unpackhi_ps(r[0], r[1]);
  const __m256 low23 = _mm256_unpacklo_ps(r[2], r[3]), high23 = _mm256_unpackhi_ps(r[2], r[3]);
  v[0] = _mm256_shuffle_ps(low01, low23, 0x44), v[1] = _mm256_shuffle_ps(low01, low23, 0xee);
  v[2] = _mm256_shuffle_ps(high01, high23, 0x44), v[3] = _mm256_shuffle_ps(high01, high23, 0xee);
}

/// Element p of the rows row[0 .. 7].
QDISTILL_TARGET_AVX2 QDISTILL_INLINE __m256 gather8(const float* const* row, Index p) noexcept {
  return _mm256_setr_ps(row[0][p], row[1][p], row[2][p], row[3][p], row[4][p], row[5][p], row[6][p], row[7][p]);
}

/// v[i][j] <- v[j][i]. The full masks stand because g++ 12 warns falsely of the unmasked forms.
QDISTILL_TARGET_AVX512 QDISTILL_INLINE void transpose16(__m512 (&v)[16]) {
  __m512 t[16];
  QDISTILL_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_ps(0xffff, v[i], v[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_ps(0xffff, v[i], v[i + 1]);
  }
  QDISTILL_UNROLL
  for (int g = 0; g < 16; g += 4) {
    const __m512d t0 = _mm512_castps_pd(t[g]), t1 = _mm512_castps_pd(t[g + 1]);
    const __m512d t2 = _mm512_castps_pd(t[g + 2]), t3 = _mm512_castps_pd(t[g + 3]);
    v[g] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, t0, t2));
    v[g + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, t0, t2));
    v[g + 2] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, t1, t3));
    v[g + 3] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, t1, t3));
  }
  // Block L (128 bits) of v[4 g + j] now holds column 4 L + j of rows 4 g .. 4 g + 3.
  QDISTILL_UNROLL
  for (int j = 0; j < 4; ++j) {
    const __m512 even01 = _mm512_maskz_shuffle_f32x4(0xffff, v[j], v[4 + j], 0x88),
                 odd01 = _mm512_maskz_shuffle_f32x4(0xffff, v[j], v[4 + j], 0xdd);
    const __m512 even23 = _mm512_maskz_shuffle_f32x4(0xffff, v[8 + j], v[12 + j], 0x88);
    const __m512 odd23 = _mm512_maskz_shuffle_f32x4(0xffff, v[8 + j], v[12 + j], 0xdd);
    t[j] = _mm512_maskz_shuffle_f32x4(0xffff, even01, even23, 0x88);
    t[4 + j] = _mm512_maskz_shuffle_f32x4(0xffff, odd01, odd23, 0x88);
    t[8 + j] = _mm512_maskz_shuffle_f32x4(0xffff, even01, even23, 0xdd);
    t[12 + j] = _mm512_maskz_shuffle_f32x4(0xffff, odd01, odd23, 0xdd);
  }
  QDISTILL_UNROLL
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

/// A mask of the first `n` of 16 lanes, n clamped to 0 .. 16.
QDISTILL_INLINE std::uint16_t lanes16(Index n) noexcept {
  return static_cast<std::uint16_t>(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}

QDISTILL_TARGET_AVX512 inline void pack_transposed_avx512(const float* src, Index stride, Index width, Index k,
                                                          float* panel, Index ld) {
  for (Index i0 = 0; i0 < ld; i0 += 16) {
    const Index rows = width - i0;
    const __mmask16 out = lanes16(ld - i0);
    for (Index k0 = 0; k0 < k; k0 += 16) {
      const __mmask16 in = lanes16(k - k0);
      const float* from = src + i0 * stride + k0;
      __m512 v[16];
      if (rows >= 16) {
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i) v[i] = _mm512_maskz_loadu_ps(in, from + i * stride);
      } else {
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i)
          v[i] = i < rows ? _mm512_maskz_loadu_ps(in, from + i * stride) : _mm512_setzero_ps();
      }
      if (stride > 512) {  // the hardware does not follow sixteen distant rows
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i) _mm_prefetch(reinterpret_cast<const char*>(from + i * stride + 128), _MM_HINT_T0);
      }
      transpose16(v);
      float* to = panel + k0 * ld + i0;
      if (k - k0 >= 16) {
        QDISTILL_UNROLL
        for (int p = 0; p < 16; ++p) _mm512_mask_storeu_ps(to + p * ld, out, v[p]);
      } else {
        QDISTILL_UNROLL
        for (int p = 0; p < 16; ++p)
          if (p < k - k0) _mm512_mask_storeu_ps(to + p * ld, out, v[p]);
      }
    }
  }
}

/// Rows of a panel of k x ld at which eight elements from column i can be stored without leaving the panel: what they
/// leave behind their row, the rows that follow cover.
QDISTILL_INLINE Index whole_rows(Index i, Index k, Index ld) noexcept {
  return std::max<Index>(0, k + 1 - (i + 8 + ld - 1) / ld);
}

/// pack_rows for ld <= 16.
QDISTILL_TARGET_AVX2 inline void pack_rows_avx2(const float* src, Index stride, Index width, Index k, float* panel,
                                                Index ld) noexcept {
  if (width == 16) {
    for (Index p = 0; p < k; ++p, src += stride, panel += 16) {
      const __m256 v0 = _mm256_loadu_ps(src), v1 = _mm256_loadu_ps(src + 8);
      _mm256_storeu_ps(panel, v0), _mm256_storeu_ps(panel + 8, v1);
    }
    return;
  }
  for (Index i = ld > 8 ? 8 : 0; i >= 0; i -= 8) {  // from the right: what is left behind a row is to the left
    const __m256i in = first_lanes8(width - i), out = first_lanes8(ld - i);
    const Index whole = whole_rows(i, k, ld);
    for (Index p = 0; p < whole; ++p)
      _mm256_storeu_ps(panel + p * ld + i, _mm256_maskload_ps(src + p * stride + i, in));
    for (Index p = whole; p < k; ++p)
      _mm256_maskstore_ps(panel + p * ld + i, out, _mm256_maskload_ps(src + p * stride + i, in));
  }
}

/// Columns i to i + 7 of pack_transposed, from the given rows; `fill`: those that are not `valid` become 0.
template <bool fill>
QDISTILL_TARGET_AVX2 QDISTILL_INLINE void pack_transposed8(const float* const* row, __m256 valid, Index i, Index k,
                                                           float* panel, Index ld) noexcept {
  const Index whole = whole_rows(i, k, ld);
  Index p = 0;
  for (float* to = panel + i; p + 4 <= whole; p += 4, to += 4 * ld) {
    __m256 v[4];
    transpose8x4(row, p, v);
    QDISTILL_UNROLL
    for (int q = 0; q < 4; ++q) _mm256_storeu_ps(to + q * ld, fill ? _mm256_and_ps(v[q], valid) : v[q]);
  }
  for (; p < whole; ++p) _mm256_storeu_ps(panel + p * ld + i, _mm256_and_ps(gather8(row, p), valid));
  const __m256i out = first_lanes8(ld - i);
  for (; p < k; ++p) _mm256_maskstore_ps(panel + p * ld + i, out, _mm256_and_ps(gather8(row, p), valid));
}

/// pack_transposed for ld <= 16.
QDISTILL_TARGET_AVX2 inline void pack_transposed_avx2(const float* src, Index stride, Index width, Index k,
                                                      float* panel, Index ld) noexcept {
  for (Index i = ld > 8 ? 8 : 0; i >= 0; i -= 8) {  // as in pack_rows_avx2
    const Index rows = std::clamp<Index>(width - i, 0, 8);
    const __m256 valid = _mm256_castsi256_ps(first_lanes8(rows));
    const float* row[8];
    for (Index r = 0; r < 8; ++r) row[r] = src + std::min(i + r, width - 1) * stride;
    if (rows < std::min<Index>(8, ld - i)) pack_transposed8<true>(row, valid, i, k, panel, ld);
    else pack_transposed8<false>(row, valid, i, k, panel, ld);
  }
}

#endif

/// panel[k * ld + i] = src[k * stride + i] for i < width, 0 for width <= i < ld.
template <class T>
void pack_rows(const T* src, Index stride, Index width, Index k, T* panel, Index ld) {
#if QDISTILL_X86
  if constexpr (std::is_same_v<T, float>)
    if (active_isa() == Isa::avx2 && ld <= 16) return pack_rows_avx2(src, stride, width, k, panel, ld);
#endif
  if (width == 32 && ld == 32) {
    with_isa([&]() QDISTILL_ISA_BODY {
      for (Index p = 0; p < k; ++p) {
        const T* __restrict from = src + p * stride;
        T* __restrict to = panel + p * 32;
        QDISTILL_SIMD
        for (int i = 0; i < 32; ++i) to[i] = from[i];
      }
    });
    return;
  }
  with_isa([&]() QDISTILL_ISA_BODY {
    for (Index p = 0; p < k; ++p) {
      const T* __restrict from = src + p * stride;
      T* __restrict to = panel + p * ld;
      QDISTILL_SIMD
      for (Index i = 0; i < width; ++i) to[i] = from[i];
      for (Index i = width; i < ld; ++i) to[i] = 0;
    }
  });
}

/// panel[k * ld + i] = src[i * stride + k] for i < width, 0 for width <= i < ld; 1 <= width <= ld.
template <class T>
void pack_transposed(const T* src, Index stride, Index width, Index k, T* panel, Index ld) {
#if QDISTILL_X86
  if constexpr (std::is_same_v<T, float>) {
    if (active_isa() == Isa::avx512) return pack_transposed_avx512(src, stride, width, k, panel, ld);
    if (active_isa() == Isa::avx2 && ld <= 16) return pack_transposed_avx2(src, stride, width, k, panel, ld);
  }
#endif
  pack_transposed_portable(src, stride, width, k, panel, ld);
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
