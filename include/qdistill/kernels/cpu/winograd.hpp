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
/// Everything here works on vectors of tiles (lanes.hpp), a lane for each.
#pragma once

#include "qdistill/kernels/cpu/lanes.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

/// In each group of four lanes: lanes P0 to P3 of a's group followed by b's.
template <int P0, int P1, int P2, int P3, class V>
QDISTILL_INLINE void shuffle4(const V& a, const V& b, V& out) noexcept {
  constexpr int n = lane_count<V>;
#define QDISTILL_GROUP(g, i) (4 * (g) + (i) % 4 + (i) / 4 * n)
#define QDISTILL_GROUPS(g) QDISTILL_GROUP(g, P0), QDISTILL_GROUP(g, P1), QDISTILL_GROUP(g, P2), QDISTILL_GROUP(g, P3)
#if defined(__clang__) || __GNUC__ >= 12
#define QDISTILL_SHUFFLE(...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define QDISTILL_SHUFFLE(...) __builtin_shuffle(a, b, (int __attribute__((vector_size(sizeof(V))))){__VA_ARGS__})
#endif
  if constexpr (n == 4) out = QDISTILL_SHUFFLE(QDISTILL_GROUPS(0));
  else if constexpr (n == 8) out = QDISTILL_SHUFFLE(QDISTILL_GROUPS(0), QDISTILL_GROUPS(1));
  else out = QDISTILL_SHUFFLE(QDISTILL_GROUPS(0), QDISTILL_GROUPS(1), QDISTILL_GROUPS(2), QDISTILL_GROUPS(3));
#undef QDISTILL_SHUFFLE
#undef QDISTILL_GROUPS
#undef QDISTILL_GROUP
}

/// In each group of four lanes: v[j] lane k <- v[k] lane j.
template <class V>
QDISTILL_INLINE void transpose4(V& a, V& b, V& c, V& d) noexcept {
  V ab_low, ab_high, cd_low, cd_high;
  shuffle4<0, 4, 1, 5>(a, b, ab_low), shuffle4<2, 6, 3, 7>(a, b, ab_high);
  shuffle4<0, 4, 1, 5>(c, d, cd_low), shuffle4<2, 6, 3, 7>(c, d, cd_high);
  shuffle4<0, 1, 4, 5>(ab_low, cd_low, a), shuffle4<2, 3, 6, 7>(ab_low, cd_low, b);
  shuffle4<0, 1, 4, 5>(ab_high, cd_high, c), shuffle4<2, 3, 6, 7>(ab_high, cd_high, d);
}

/// The columns of a vector of neighbouring tiles, M wide: v[j] gets column j of each tile from M vectors in a row. The
/// tiles come in an order of their own (tile_lane), which `interleave` undoes and a product does not see.
template <int M, class V>
QDISTILL_INLINE void deinterleave(const float* from, V* v) noexcept {
  static_assert(M == 2 || M == 4);
  QDISTILL_UNROLL
  for (int j = 0; j < M; ++j) load_lanes(from + lane_count<V> * j, v[j]);
  if constexpr (M == 4) {
    transpose4(v[0], v[1], v[2], v[3]);
  } else {
    const V a = v[0], b = v[1];
    shuffle4<0, 2, 4, 6>(a, b, v[0]), shuffle4<1, 3, 5, 7>(a, b, v[1]);
  }
}

/// Where `deinterleave` puts a tile of a vector of `lanes` tiles.
template <int M>
constexpr Index tile_lane(Index tile, Index lanes) noexcept {
  if (M == 4) return tile % (lanes / 4) * 4 + tile / (lanes / 4);
  return tile % (lanes / 2) / 2 * 4 + tile / (lanes / 2) * 2 + tile % 2;
}

/// The reverse: v[j] becomes the j-th vector of the row of tiles.
template <int M, class V>
QDISTILL_INLINE void interleave(V* v) noexcept {
  static_assert(M == 2 || M == 4);
  if constexpr (M == 4) {
    transpose4(v[0], v[1], v[2], v[3]);
  } else {
    const V a = v[0], b = v[1];
    shuffle4<0, 4, 1, 5>(a, b, v[0]), shuffle4<2, 6, 3, 7>(a, b, v[1]);
  }
}

/// u = B^T d, of six.
template <class V>
QDISTILL_INLINE void winograd_input(const V* d, V (&u)[6]) noexcept {
  const V even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1], even2 = d[4] - d[2], odd2 = 2.0f * (d[3] - d[1]);
  u[0] = 4.0f * d[0] + d[4] - 5.0f * d[2];
  u[1] = even + odd;
  u[2] = even - odd;
  u[3] = even2 + odd2;
  u[4] = even2 - odd2;
  u[5] = 4.0f * d[1] + d[5] - 5.0f * d[3];
}

/// u = G g.
template <int R, class V>
QDISTILL_INLINE void winograd_filter(const V* g, V (&u)[6]) noexcept {
  static_assert(R >= 2 && R <= 5);
  V even = g[0], odd = g[1], even2 = g[0], odd2 = 2.0f * g[1];
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
template <int M, class V>
QDISTILL_INLINE void winograd_output(const V (&m)[6], V* y) noexcept {
  static_assert(M >= 2 && M <= 5);
  const V even = m[1] + m[2], odd = m[1] - m[2], even2 = m[3] + m[4], odd2 = m[3] - m[4];
  y[0] = m[0] + even + even2;
  y[1] = odd + 2.0f * odd2;
  if constexpr (M > 2) y[2] = even + 4.0f * even2;
  if constexpr (M > 3) y[3] = odd + 8.0f * odd2;
  if constexpr (M > 4) y[4] = even + 16.0f * even2;
  y[M - 1] += m[5];
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
