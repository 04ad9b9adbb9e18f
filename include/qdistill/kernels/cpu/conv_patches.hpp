/// The patches of an image as the right factor of a matrix product, packed straight from the image: no im2col buffer.
///
/// Each image (the channels of one group) is copied once into a zero-padded scratch image. There the element of patch
/// row (c, kh, kw) at output pixel p is image[offset[c, kh, kw] + position(p)], and the positions of one output row
/// follow each other without gaps. For a horizontal stride s > 1 that needs the scratch image's columns sorted by their
/// remainder modulo s; a dilation lives in the offsets alone. An image without padding and stride is read in place.
#pragma once

#include <algorithm>

#include "qdistill/kernels/cpu/conv_padding.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

/// Walks over the output pixels of an image, and of the images after it, in order.
struct PixelCursor {
  Index width, height;  ///< of the output
  Index down, next;     ///< elements to the next row of the output, and from the first row to that of the next image
  Index h, w;           ///< of the pixel
  Index line;           ///< where its row begins

  PixelCursor(const PatchGeometry& g, Index pixel) noexcept
      : width(g.out_w), height(g.out_h), down(g.stride_h * g.row()), next(g.step) {
    const Index row = pixel / width, image = row / height;
    w = pixel - row * width, h = row - image * height, line = image * next + h * down;
  }
  void advance(Index pixels) noexcept {  // within the row
    w += pixels;
    if (w < width) return;
    w = 0, line += down;
    if (++h == height) h = 0, line += next - height * down;
  }
};

/// Up to 16 consecutive output pixels as runs of consecutive elements. Lane i of run s is at shift[s] + i.
struct PixelLanes {
  Index runs = 0;
  std::uint16_t mask[16];
  Index shift[16];

  /// The next n pixels, 16 at most, none where n <= 0.
  PixelLanes(PixelCursor& at, Index n) noexcept {
    mask[0] = 0, shift[0] = 0;
    if (n > 16) n = 16;
    for (Index lane = 0; lane < n; ++runs) {
      const Index length = std::min(n - lane, at.width - at.w);
      mask[runs] = static_cast<std::uint16_t>(((1u << length) - 1u) << lane);
      shift[runs] = at.line + at.w - lane;
      lane += length;
      at.advance(length);
    }
  }
};

/// Portable packing: out[k * ld + j] = image[offsets[k] + position(p + j)], j < n, 0 for n <= j < ld.
template <class T>
void pack_patches_portable(const PatchGeometry& g, const T* image, const Index* offsets, Index k, Index p, Index n,
                           T* out, Index ld) {
  const PixelCursor start(g, p);
  with_isa([&]() QDISTILL_ISA_BODY {
    for (Index i = 0; i < k; ++i) {
      T* __restrict to = out + i * ld;
      Index line = start.line, h = start.h, w = start.w;
      for (Index j = 0; j < n;) {
        const Index length = n - j < start.width - w ? n - j : start.width - w;
        const T* __restrict from = image + offsets[i] + line + w;
        QDISTILL_SIMD
        for (Index l = 0; l < length; ++l) to[j + l] = from[l];
        j += length, w = 0, line += start.down;
        if (++h == start.height) h = 0, line += start.next - start.height * start.down;
      }
      for (Index j = n; j < ld; ++j) to[j] = 0;
    }
  });
}

/// Portable packing with pixels as rows: out[q * ld + j] = image[offsets[j] + position(p + q)], q < k, j < n.
template <class T>
void pack_pixels_portable(const PatchGeometry& g, const T* image, const Index* offsets, Index n, Index p, Index k,
                          T* out, Index ld) {
  Index h = p / g.out_w, w = p % g.out_w;
  for (Index q = 0; q < k; ++q, out += ld) {
    const T* from = image + h * g.stride_h * g.row() + w;
    for (Index j = 0; j < n; ++j) out[j] = from[offsets[j]];
    for (Index j = n; j < ld; ++j) out[j] = 0;
    if (++w == g.out_w) w = 0, ++h;
  }
}

#if QDISTILL_X86

QDISTILL_TARGET_AVX512 QDISTILL_INLINE __m512 load_lanes(const PixelLanes& lanes, const float* from) {
  __m512 v = _mm512_maskz_loadu_ps(lanes.mask[0], from + lanes.shift[0]);
  for (Index s = 1; s < lanes.runs; ++s) v = _mm512_mask_loadu_ps(v, lanes.mask[s], from + lanes.shift[s]);
  return v;
}

QDISTILL_TARGET_AVX512 inline void pack_patches_avx512(const PatchGeometry& g, const float* image, const Index* offsets,
                                                       Index k, Index p, Index n, float* out) {
  PixelCursor at(g, p);
  PixelLanes a(at, n), b(at, n - 16);
  for (PixelLanes* l : {&a, &b})
    for (; l->runs < 2; ++l->runs) l->mask[l->runs] = 0, l->shift[l->runs] = 0;
  const __mmask16 a0 = a.mask[0], a1 = a.mask[1], b0 = b.mask[0], b1 = b.mask[1];
  const Index sa0 = a.shift[0], sa1 = a.shift[1], sb0 = b.shift[0], sb1 = b.shift[1];
  if (a.runs == 2 && b.runs == 2 && !a1 && !b1) {
    for (Index i = 0; i < k; ++i, out += 32) {
      const float* const from = image + offsets[i];
      _mm512_store_ps(out, _mm512_maskz_loadu_ps(a0, from + sa0));
      _mm512_store_ps(out + 16, _mm512_maskz_loadu_ps(b0, from + sb0));
    }
  } else if (a.runs == 2 && b.runs == 2) {
    for (Index i = 0; i < k; ++i, out += 32) {
      const float* const from = image + offsets[i];
      const __m512 va = _mm512_maskz_loadu_ps(a0, from + sa0), vb = _mm512_maskz_loadu_ps(b0, from + sb0);
      _mm512_store_ps(out, _mm512_mask_loadu_ps(va, a1, from + sa1));
      _mm512_store_ps(out + 16, _mm512_mask_loadu_ps(vb, b1, from + sb1));
    }
  } else {
    for (Index i = 0; i < k; ++i, out += 32) {
      const float* const from = image + offsets[i];
      _mm512_store_ps(out, load_lanes(a, from));
      _mm512_store_ps(out + 16, load_lanes(b, from));
    }
  }
}

QDISTILL_TARGET_AVX512 inline void pack_pixels_avx512(const PatchGeometry& g, const float* image, const Index* offsets,
                                                      Index n, Index p, Index k, float* out) {
  PixelCursor at(g, p);
  for (Index q = 0; q < k; q += 16, out += 16 * 32) {
    const PixelLanes lanes(at, k - q);
    const Index rows = k - q;
    for (Index j = 0; j < n; j += 16) {
      __m512 v[16];
      if (n - j >= 16 && lanes.runs == 1) {
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i)
          v[i] = _mm512_maskz_loadu_ps(lanes.mask[0], image + offsets[j + i] + lanes.shift[0]);
      } else if (n - j >= 16 && lanes.runs == 2) {
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i) {
          const float* const from = image + offsets[j + i];
          v[i] = _mm512_mask_loadu_ps(_mm512_maskz_loadu_ps(lanes.mask[0], from + lanes.shift[0]), lanes.mask[1],
                                      from + lanes.shift[1]);
        }
      } else {
        for (int i = 0; i < 16; ++i) v[i] = i < n - j ? load_lanes(lanes, image + offsets[j + i]) : _mm512_setzero_ps();
      }
      transpose16(v);
      if (rows >= 16) {
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i) _mm512_store_ps(out + i * 32 + j, v[i]);
      } else {
        QDISTILL_UNROLL
        for (int i = 0; i < 16; ++i)
          if (i < rows) _mm512_store_ps(out + i * 32 + j, v[i]);
      }
    }
  }
}

/// A half of a panel of 16 columns: eight output pixels, as at most `runs` runs of consecutive elements.
struct PixelOctet {
  PixelLanes lanes;
  __m256i mask[8];

  /// The next n pixels, 8 at most, none where n <= 0.
  QDISTILL_TARGET_AVX2 PixelOctet(PixelCursor& at, Index n) noexcept : lanes(at, std::min<Index>(n, 8)) {
    for (; lanes.runs < 2; ++lanes.runs) lanes.mask[lanes.runs] = 0, lanes.shift[lanes.runs] = 0;
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (Index i = 0; i < lanes.runs; ++i)
      mask[i] = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(lanes.mask[i]), bits), bits);
  }
  bool whole() const noexcept { return lanes.mask[0] == 0xff; }
  QDISTILL_TARGET_AVX2 QDISTILL_INLINE __m256 load_two(const float* from) const noexcept {
    return _mm256_or_ps(_mm256_maskload_ps(from + lanes.shift[0], mask[0]),
                        _mm256_maskload_ps(from + lanes.shift[1], mask[1]));
  }
  QDISTILL_TARGET_AVX2 QDISTILL_INLINE __m256 load(const float* from) const noexcept {
    __m256 v = load_two(from);
    for (Index i = 2; i < lanes.runs; ++i) v = _mm256_or_ps(v, _mm256_maskload_ps(from + lanes.shift[i], mask[i]));
    return v;
  }
};

/// pack_patches_portable for panels of 16.
QDISTILL_TARGET_AVX2 inline void pack_patches_avx2(const PatchGeometry& g, const float* image, const Index* offsets,
                                                   Index k, Index p, Index n, float* out) {
  PixelCursor at(g, p);
  const PixelOctet a(at, n), b(at, n - 8);
  if (a.whole() && b.whole()) {
    const Index a0 = a.lanes.shift[0], b0 = b.lanes.shift[0];
    for (Index i = 0; i < k; ++i, out += 16) {
      const float* const from = image + offsets[i];
      const __m256 va = _mm256_loadu_ps(from + a0), vb = _mm256_loadu_ps(from + b0);
      _mm256_storeu_ps(out, va), _mm256_storeu_ps(out + 8, vb);
    }
  } else if (a.lanes.runs == 2 && b.lanes.runs == 2) {
    for (Index i = 0; i < k; ++i, out += 16) {
      const __m256 va = a.load_two(image + offsets[i]), vb = b.load_two(image + offsets[i]);
      _mm256_storeu_ps(out, va), _mm256_storeu_ps(out + 8, vb);
    }
  } else {
    for (Index i = 0; i < k; ++i, out += 16) {
      const __m256 va = a.load(image + offsets[i]), vb = b.load(image + offsets[i]);
      _mm256_storeu_ps(out, va), _mm256_storeu_ps(out + 8, vb);
    }
  }
}

/// pack_pixels_portable for panels of 16: the rest of a row of the output at once.
QDISTILL_TARGET_AVX2 inline void pack_pixels_avx2(const PatchGeometry& g, const float* image, const Index* offsets,
                                                  Index n, Index p, Index k, float* out) {
  PixelCursor at(g, p);
  while (k > 0) {
    const Index run = std::min(k, at.width - at.w);
    const float* const from = image + at.line + at.w;
    for (Index j = 0; j < 16; j += 8) {
      const Index rows = std::clamp<Index>(n - j, 0, 8);
      const float* row[8];
      for (Index r = 0; r < 8; ++r) row[r] = from + offsets[std::min(j + r, n - 1)];
      const __m256 valid = _mm256_castsi256_ps(first_lanes8(rows));
      if (rows < 8) pack_transposed8<true>(row, valid, j, run, out, 16);
      else pack_transposed8<false>(row, valid, j, run, out, 16);
    }
    out += 16 * run, k -= run;
    at.advance(run);
  }
}

#endif

/// The patches of one image as columns: row k is a tap, column j an output pixel.
template <class T>
struct PatchColumns {
  const PatchGeometry& geometry;
  const Index* offsets;
  const T* image;

  const T* in_place(Index, Index, Index, Index, Index) const noexcept { return nullptr; }
  Index row(Index) const noexcept { return 0; }
  void pack(Index k0, Index k, Index j, Index width, T* panel, Index ld) const {
#if QDISTILL_X86
    if constexpr (std::is_same_v<T, float>) {
      if (ld == 32) return pack_patches_avx512(geometry, image, offsets + k0, k, j, width, panel);
      if (ld == 16) return pack_patches_avx2(geometry, image, offsets + k0, k, j, width, panel);
    }
#endif
    pack_patches_portable(geometry, image, offsets + k0, k, j, width, panel, ld);
  }
};

/// The same, transposed: row k is an output pixel, column j a tap.
template <class T>
struct PixelColumns {
  const PatchGeometry& geometry;
  const Index* offsets;
  const T* image;

  void pack(Index k0, Index k, Index j, Index width, T* panel, Index ld) const {
#if QDISTILL_X86
    if constexpr (std::is_same_v<T, float>) {
      if (ld == 32) return pack_pixels_avx512(geometry, image, offsets + j, width, k0, k, panel);
      if (ld == 16) return pack_pixels_avx2(geometry, image, offsets + j, width, k0, k, panel);
    }
#endif
    pack_pixels_portable(geometry, image, offsets + j, width, k0, k, panel, ld);
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
