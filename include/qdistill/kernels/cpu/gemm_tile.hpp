/// The register tile: the innermost block of the matrix product, and the only place where peak arithmetic is fought
/// for.
///
///   C[r][j] = epilogue(sum over k of a[k * R + r] * b[k * ldb + j]),   r < R,  j < cols
///
/// a is a packed panel of exactly R rows (AVX2 can as well read a[r * lda + k]); R rows times one or two vectors of
/// columns stay in registers. Float has hand written tiles for AVX-512 (up to 14 x 32) and AVX2 (6 x 16); other scalars
/// and other machines use the portable one (4 rows x 32 bytes). Which set runs is decided once (core/isa.hpp). Scheme:
/// Van Zee and van de Geijn 2015, "BLIS".
#pragma once

#include <cstring>
#include <type_traits>
#include <utility>

#include "qdistill/core/isa.hpp"
#if QDISTILL_X86
#include <immintrin.h>
#endif

namespace qdistill::inline QDISTILL_ABI::kernels {

/// What one tile reads and writes. In this order: v = a b; v += C where `load`; v += bias; v = max(v, 0) where `relu`;
/// v += C where `add`; C = v.
template <class T>
struct TileArgs {
  Index k = 0;                  ///< length of the sum
  const T* a = nullptr;         ///< packed panel, k x R, or R rows as they lie
  Index lda = 0;                ///< elements between these rows, 0 for a panel
  const T* b = nullptr;         ///< k rows of at least one vector, whole vectors readable
  Index ldb = 0;                ///< elements between rows of b
  T* c = nullptr;               ///< first element of the tile
  Index ldc = 0;                ///< elements between rows of c
  Index cols = 0;               ///< columns written, at most the tile's width
  const T* bias_row = nullptr;  ///< one per row, or null
  const T* bias_col = nullptr;  ///< one per column, or null
  bool load = false;
  bool relu = false;
  bool add = false;
};

template <class T>
using TileFunction = void (*)(const TileArgs<T>&);

/// The tiles of one instruction set.
template <class T>
struct TileSet {
  static constexpr Index max_rows = 14;
  Index rows;                             ///< most rows of a tile
  Index cols;                             ///< most columns of a tile, the width of a packed panel of b
  TileFunction<T> narrow[max_rows] = {};  ///< [R - 1], for cols / 2 columns and less
  TileFunction<T> wide[max_rows] = {};    ///< [R - 1], for cols columns and less
  /// The same for rows as they lie, or null.
  TileFunction<T> narrow_in_place[max_rows] = {}, wide_in_place[max_rows] = {};

  void operator()(Index r, const TileArgs<T>& args) const {
    const bool half = args.cols * 2 <= cols;
    (args.lda ? half ? narrow_in_place : wide_in_place : half ? narrow : wide)[r - 1](args);
  }
};

namespace detail {

/// Portable tile: R rows of two blocks of 16 bytes, as plain loops of constant length.
template <class T, int R>
void tile_portable(const TileArgs<T>& t) {
  constexpr int n = 32 / static_cast<int>(sizeof(T));
  T acc[R][n] = {};
  const T* a = t.a;
  const T* b = t.b;
  for (Index k = 0; k < t.k; ++k, a += R, b += t.ldb) {
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      QDISTILL_SIMD
      for (int j = 0; j < n; ++j) acc[r][j] += a[r] * b[j];
    }
  }
  for (int r = 0; r < R; ++r) {
    T* c = t.c + r * t.ldc;
    for (Index j = 0; j < t.cols; ++j) {
      T v = acc[r][j];
      if (t.load) v += c[j];
      if (t.bias_row) v += t.bias_row[r];
      if (t.bias_col) v += t.bias_col[j];
      if (t.relu) v = v > T(0) ? v : v == v ? T(0) : v;
      if (t.add) v += c[j];
      c[j] = v;
    }
  }
}

#if QDISTILL_X86

/// AVX-512 tile: R rows of V vectors of 16.
template <int R, int V>
QDISTILL_TARGET_AVX512 void tile_avx512(const TileArgs<float>& t) {
  __m512 acc[R][V];
  QDISTILL_UNROLL
  for (int r = 0; r < R; ++r) {
    QDISTILL_UNROLL
    for (int v = 0; v < V; ++v) {
      acc[r][v] = _mm512_setzero_ps();
      _mm_prefetch(reinterpret_cast<const char*>(t.c + r * t.ldc + 16 * v), _MM_HINT_T0);
    }
  }
  const float* a = t.a;
  const float* b = t.b;
  const Index ldb = t.ldb, ahead = 12 * t.ldb;
  for (Index k = t.k; k > 0; --k) {
    __m512 bv[V];
    QDISTILL_UNROLL
    for (int v = 0; v < V; ++v) {
      bv[v] = _mm512_loadu_ps(b + 16 * v);
      _mm_prefetch(reinterpret_cast<const char*>(b + ahead + 16 * v), _MM_HINT_T0);
    }
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 ar = _mm512_set1_ps(a[r]);
      QDISTILL_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = _mm512_fmadd_ps(ar, bv[v], acc[r][v]);
    }
    a += R, b += ldb;
  }
  __mmask16 mask[V];
  QDISTILL_UNROLL
  for (int v = 0; v < V; ++v) {
    const Index left = t.cols - 16 * v;
    mask[v] = static_cast<__mmask16>(left >= 16 ? 0xffffu : left <= 0 ? 0u : (1u << left) - 1u);
  }
  float* const c = t.c;
  const Index ldc = t.ldc;
  if (t.load) {
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      QDISTILL_UNROLL
      for (int v = 0; v < V; ++v)
        acc[r][v] = _mm512_add_ps(acc[r][v], _mm512_maskz_loadu_ps(mask[v], c + r * ldc + 16 * v));
    }
  }
  if (t.bias_row) {
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 bias = _mm512_set1_ps(t.bias_row[r]);
      QDISTILL_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = _mm512_add_ps(acc[r][v], bias);
    }
  }
  if (t.bias_col) {
    QDISTILL_UNROLL
    for (int v = 0; v < V; ++v) {
      const __m512 bias = _mm512_maskz_loadu_ps(mask[v], t.bias_col + 16 * v);
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) acc[r][v] = _mm512_add_ps(acc[r][v], bias);
    }
  }
  if (t.relu) {  // max returns its second operand for a NaN: it stays one (maskz: g++ 12 warns falsely without)
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      QDISTILL_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = _mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), acc[r][v]);
    }
  }
  if (t.add) {
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      QDISTILL_UNROLL
      for (int v = 0; v < V; ++v)
        acc[r][v] = _mm512_add_ps(acc[r][v], _mm512_maskz_loadu_ps(mask[v], c + r * ldc + 16 * v));
    }
  }
  QDISTILL_UNROLL
  for (int r = 0; r < R; ++r) {
    QDISTILL_UNROLL
    for (int v = 0; v < V; ++v) _mm512_mask_storeu_ps(c + r * ldc + 16 * v, mask[v], acc[r][v]);
  }
}

/// A mask of the first `n` of 8 lanes, all where n is 8 or more.
QDISTILL_TARGET_AVX2 QDISTILL_INLINE __m256i first_lanes8(Index n) noexcept {
  const int lanes = n >= 8 ? 8 : static_cast<int>(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// AVX2 tile: R rows of V vectors of 8; `in_place`: rows as they lie.
template <int R, int V, bool in_place>
QDISTILL_TARGET_AVX2 void tile_avx2(const TileArgs<float>& t) {
  float* const c = t.c;
  const Index ldc = t.ldc;
  __m256 acc[R][V];
  QDISTILL_UNROLL
  for (int r = 0; r < R; ++r) {
    _mm_prefetch(reinterpret_cast<const char*>(c + r * ldc), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(c + r * ldc + 8 * V - 1), _MM_HINT_T0);
    QDISTILL_UNROLL
    for (int v = 0; v < V; ++v) acc[r][v] = _mm256_setzero_ps();
  }
  const float* a = t.a;
  const float* b = t.b;
  const Index ldb = t.ldb, row = in_place ? t.lda : 1;
  for (Index k = t.k; k > 0; --k) {
    __m256 bv[V];
    QDISTILL_UNROLL
    for (int v = 0; v < V; ++v) bv[v] = _mm256_loadu_ps(b + 8 * v);
    // The panel of a comes from the second cache.
    if constexpr (!in_place) _mm_prefetch(reinterpret_cast<const char*>(a + 16 * R), _MM_HINT_T0);
    QDISTILL_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m256 ar = _mm256_broadcast_ss(a + r * row);
      QDISTILL_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = _mm256_fmadd_ps(ar, bv[v], acc[r][v]);
    }
    a += in_place ? 1 : R, b += ldb;
  }
  QDISTILL_UNROLL
  for (int v = 0; v < V; ++v) {
    float* const to = c + 8 * v;
    const __m256i mask = first_lanes8(t.cols - 8 * v);
    if (t.load) {
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) acc[r][v] = _mm256_add_ps(acc[r][v], _mm256_maskload_ps(to + r * ldc, mask));
    }
    if (t.bias_row) {
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) acc[r][v] = _mm256_add_ps(acc[r][v], _mm256_broadcast_ss(t.bias_row + r));
    }
    if (t.bias_col) {
      const __m256 bias = _mm256_maskload_ps(t.bias_col + 8 * v, mask);
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) acc[r][v] = _mm256_add_ps(acc[r][v], bias);
    }
    if (t.relu) {  // max returns its second operand for a NaN: it stays one
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) acc[r][v] = _mm256_max_ps(_mm256_setzero_ps(), acc[r][v]);
    }
    if (t.add) {
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) acc[r][v] = _mm256_add_ps(acc[r][v], _mm256_maskload_ps(to + r * ldc, mask));
    }
    if (t.cols >= 8 * v + 8) {
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) _mm256_storeu_ps(to + r * ldc, acc[r][v]);
    } else if (t.cols > 8 * v) {
      QDISTILL_UNROLL
      for (int r = 0; r < R; ++r) _mm256_maskstore_ps(to + r * ldc, mask, acc[r][v]);
    }
  }
}

#endif

template <class T>
TileSet<T> portable_tiles() {
  TileSet<T> s{4, static_cast<Index>(32 / sizeof(T))};
  s.wide[0] = s.narrow[0] = tile_portable<T, 1>;
  s.wide[1] = s.narrow[1] = tile_portable<T, 2>;
  s.wide[2] = s.narrow[2] = tile_portable<T, 3>;
  s.wide[3] = s.narrow[3] = tile_portable<T, 4>;
  return s;
}

#if QDISTILL_X86
template <int... R>
TileSet<float> avx512_tiles(std::integer_sequence<int, R...>) {
  return {14, 32, {tile_avx512<R + 1, 1>...}, {tile_avx512<R + 1, 2>...}};
}
template <int... R>
TileSet<float> avx2_tiles(std::integer_sequence<int, R...>) {
  return {6,
          16,
          {tile_avx2<R + 1, 1, false>...},
          {tile_avx2<R + 1, 2, false>...},
          {tile_avx2<R + 1, 1, true>...},
          {tile_avx2<R + 1, 2, true>...}};
}
#endif

}  // namespace detail

/// The tiles that run on this machine.
template <class T>
const TileSet<T>& tile_set() {
  static const TileSet<T> set = [] {
#if QDISTILL_X86
    if constexpr (std::is_same_v<T, float>) {
      if (active_isa() == Isa::avx512) return detail::avx512_tiles(std::make_integer_sequence<int, 14>{});
      if (active_isa() == Isa::avx2) return detail::avx2_tiles(std::make_integer_sequence<int, 6>{});
    }
#endif
    return detail::portable_tiles<T>();
  }();
  return set;
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
