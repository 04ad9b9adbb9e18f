/// Winograd's minimal filtering on tiles of 6 x 6 (Lavin and Gray 2016, "Fast algorithms for convolutional neural
/// networks"; Toom-Cook with the points 0, 1, -1, 2, -2 and infinity).
///
///   outputs (M x M) = A^T [ (G g G^T) * (B^T d B) ] A       g: R x R, d: 6 x 6, M + R = 7
///
/// In one dimension, with p running over the finite points and N_p = 4, -6, -6, 24, 24:
///
///   B^T d   six differences, the same for every R
///   G g     sum of g_k p^k / N_p, and g_{R-1} at infinity
///   A^T m   y_k = sum of p^k m_p, k < M; the last one plus m at infinity
///
/// With M = 4, R = 3 a multiplication stands for four of the direct sum, with M = 2, R = 5 for 2.8. Error: the sums
/// with 4, 5, 8 and 16 lose digits; conv_algorithm.hpp says how many.
///
/// Everything here works on 16 lanes, one tile each.
#pragma once

#include <cstring>

#include "qdistill/core/isa.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

/// 16 floats; on narrower instruction sets the compiler uses several registers.
using Lanes = float __attribute__((vector_size(64)));

QDISTILL_INLINE void load_lanes(const float* from, Lanes& v) noexcept { std::memcpy(&v, from, sizeof v); }
QDISTILL_INLINE void store_lanes(float* to, const Lanes& v) noexcept { std::memcpy(to, &v, sizeof v); }

#if defined(__clang__) || __GNUC__ >= 12
#define QDISTILL_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define QDISTILL_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (int __attribute__((vector_size(64)))){__VA_ARGS__})
#endif

/// In each group of four lanes: v[j] lane k <- v[k] lane j.
QDISTILL_INLINE void transpose4(Lanes& a, Lanes& b, Lanes& c, Lanes& d) noexcept {
  const Lanes ab_low = QDISTILL_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  const Lanes ab_high = QDISTILL_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const Lanes cd_low = QDISTILL_SHUFFLE(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  const Lanes cd_high = QDISTILL_SHUFFLE(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  a = QDISTILL_SHUFFLE(ab_low, cd_low, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  b = QDISTILL_SHUFFLE(ab_low, cd_low, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  c = QDISTILL_SHUFFLE(ab_high, cd_high, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  d = QDISTILL_SHUFFLE(ab_high, cd_high, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

/// The columns of 16 neighbouring tiles, M wide: v[j] gets column j of each tile from 16 M floats in a row. The tiles
/// come in an order of their own, which `interleave` undoes and a product does not see.
template <int M>
QDISTILL_INLINE void deinterleave(const float* from, Lanes* v) noexcept {
  static_assert(M == 2 || M == 4);
  QDISTILL_UNROLL
  for (int j = 0; j < M; ++j) load_lanes(from + 16 * j, v[j]);
  if constexpr (M == 4) {
    transpose4(v[0], v[1], v[2], v[3]);
  } else {
    const Lanes a = v[0], b = v[1];
    v[0] = QDISTILL_SHUFFLE(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30);
    v[1] = QDISTILL_SHUFFLE(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
  }
}

/// The reverse: v[j] becomes floats 16 j to 16 j + 15 of the row of 16 tiles.
template <int M>
QDISTILL_INLINE void interleave(Lanes* v) noexcept {
  static_assert(M == 2 || M == 4);
  if constexpr (M == 4) {
    transpose4(v[0], v[1], v[2], v[3]);
  } else {
    const Lanes a = v[0], b = v[1];
    v[0] = QDISTILL_SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    v[1] = QDISTILL_SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  }
}

#undef QDISTILL_SHUFFLE

/// u = B^T d, of six.
QDISTILL_INLINE void winograd_input(const Lanes* d, Lanes (&u)[6]) noexcept {
  const Lanes even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1], even2 = d[4] - d[2], odd2 = 2.0f * (d[3] - d[1]);
  u[0] = 4.0f * d[0] + d[4] - 5.0f * d[2];
  u[1] = even + odd;
  u[2] = even - odd;
  u[3] = even2 + odd2;
  u[4] = even2 - odd2;
  u[5] = 4.0f * d[1] + d[5] - 5.0f * d[3];
}

/// u = G g.
template <int R>
QDISTILL_INLINE void winograd_filter(const Lanes* g, Lanes (&u)[6]) noexcept {
  static_assert(R >= 2 && R <= 5);
  Lanes even = g[0], odd = g[1], even2 = g[0], odd2 = 2.0f * g[1];
  if constexpr (R > 2) even += g[2], even2 += 4.0f * g[2];
  if constexpr (R > 3) odd += g[3], odd2 += 8.0f * g[3];
  if constexpr (R > 4) even += g[4], even2 += 16.0f * g[4];
  u[0] = 0.25f * g[0];
  u[1] = (-1.0f / 6) * (even + odd);
  u[2] = (-1.0f / 6) * (even - odd);
  u[3] = (1.0f / 24) * (even2 + odd2);
  u[4] = (1.0f / 24) * (even2 - odd2);
  u[5] = g[R - 1];
}

/// y = A^T m.
template <int M>
QDISTILL_INLINE void winograd_output(const Lanes (&m)[6], Lanes* y) noexcept {
  static_assert(M >= 2 && M <= 5);
  const Lanes even = m[1] + m[2], odd = m[1] - m[2], even2 = m[3] + m[4], odd2 = m[3] - m[4];
  y[0] = m[0] + even + even2;
  y[1] = odd + 2.0f * odd2;
  if constexpr (M > 2) y[2] = even + 4.0f * even2;
  if constexpr (M > 3) y[3] = odd + 8.0f * odd2;
  if constexpr (M > 4) y[4] = even + 16.0f * even2;
  y[M - 1] += m[5];
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
