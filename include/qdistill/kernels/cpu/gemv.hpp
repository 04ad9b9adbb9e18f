/// Product of a matrix and a vector, which reads the matrix once, where it lies: packing it would cost more than the
/// product. An element is summed in the order of the register tile (blocks of DepthSplit, one fused multiply-add after
/// the other), so it has the bits of a product with packed factors.
///
/// Lanes are elements of the result. Where the sum runs along the rows of the matrix, 8 x 4 elements are transposed in
/// registers. Written for AVX2, which is as fast as memory; machines without it take the blocked product (gemm.hpp).
#pragma once

#include "qdistill/kernels/cpu/gemm_block.hpp"

#if QDISTILL_X86
namespace qdistill::inline QDISTILL_ABI::kernels::detail {

/// y[i * y_stride] = epilogue(sum over k of matrix(i, k) x[k]). y is the only row of C or its only column.
struct VectorProduct {
  const float* matrix = nullptr;  ///< element (i, k) is matrix[i * stride + k], or matrix[k * stride + i]
  Index stride = 0;
  bool sum_along_rows = false;  ///< the former
  const float* x = nullptr;     ///< without gaps
  float* y = nullptr;
  Index y_stride = 0;
  bool row = false;
  const Epilogue<float>& epilogue;
  DepthSplit depth;
};

/// acc[i] += sum over the elements p .. p + 3 of row[i][p] x[p], one after the other.
QDISTILL_TARGET_AVX2 QDISTILL_INLINE void dot4_avx2(const float* const* row, Index p, const float* x,
                                                    __m256& acc) noexcept {
  __m256 v[4];
  transpose8x4(row, p, v);
  QDISTILL_UNROLL
  for (int q = 0; q < 4; ++q) acc = _mm256_fmadd_ps(v[q], _mm256_broadcast_ss(x + p + q), acc);
}

/// sums[i] = sum over k of a[i * stride + k] x[k] for i < rows <= 8 Groups; the other sums are not specified. Groups of
/// eight rows hide each other's latency.
template <int Groups>
QDISTILL_TARGET_AVX2 void dot_rows_avx2(const float* a, Index stride, Index rows, Index k, const float* x,
                                        float* sums) noexcept {
  const float* row[8 * Groups];
  for (Index i = 0; i < 8 * Groups; ++i) row[i] = a + std::min(i, rows - 1) * stride;
  __m256 acc[Groups];
  QDISTILL_UNROLL
  for (int g = 0; g < Groups; ++g) acc[g] = _mm256_setzero_ps();
  Index p = 0;
  for (; p + 4 <= k; p += 4) {
    QDISTILL_UNROLL
    for (int g = 0; g < Groups; ++g) dot4_avx2(row + 8 * g, p, x, acc[g]);
  }
  for (; p < k; ++p) {
    QDISTILL_UNROLL
    for (int g = 0; g < Groups; ++g)
      acc[g] = _mm256_fmadd_ps(gather8(row + 8 * g, p), _mm256_broadcast_ss(x + p), acc[g]);
  }
  QDISTILL_UNROLL
  for (int g = 0; g < Groups; ++g) _mm256_storeu_ps(sums + 8 * g, acc[g]);
}

/// sums[i] += sum over the P rows p of a[p * stride + i] x[p], one after the other, for i < n.
template <int P>
QDISTILL_TARGET_AVX2 QDISTILL_INLINE void add_rows_avx2(const float* a, Index stride, Index n, const float* x,
                                                        float* sums) noexcept {
  __m256 xp[P];
  QDISTILL_UNROLL
  for (int p = 0; p < P; ++p) xp[p] = _mm256_broadcast_ss(x + p);
  Index i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256 s0 = _mm256_loadu_ps(sums + i), s1 = _mm256_loadu_ps(sums + i + 8);
    QDISTILL_UNROLL
    for (int p = 0; p < P; ++p) {
      s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + p * stride + i), xp[p], s0);
      s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + p * stride + i + 8), xp[p], s1);
    }
    _mm256_storeu_ps(sums + i, s0), _mm256_storeu_ps(sums + i + 8, s1);
  }
  for (; i < n; i += 8) {
    const __m256i mask = first_lanes8(n - i);
    __m256 s = _mm256_maskload_ps(sums + i, mask);
    QDISTILL_UNROLL
    for (int p = 0; p < P; ++p) s = _mm256_fmadd_ps(_mm256_maskload_ps(a + p * stride + i, mask), xp[p], s);
    _mm256_maskstore_ps(sums + i, mask, s);
  }
}

/// sums[i] = sum over k of a[k * stride + i] x[k] for i < n.
QDISTILL_TARGET_AVX2 inline void dot_columns_avx2(const float* a, Index stride, Index n, Index k, const float* x,
                                                  float* sums) noexcept {
  std::fill_n(sums, n, 0.0f);
  Index p = 0;
  for (; p + 8 <= k; p += 8) add_rows_avx2<8>(a + p * stride, stride, n, x + p, sums);
  for (; p < k; ++p) add_rows_avx2<1>(a + p * stride, stride, n, x + p, sums);
}

/// y[i] = epilogue(sums[i - i0]) for the elements [i0, i0 + n), in block kb of the sum; as TileArgs says.
inline void finish_vector(const VectorProduct& v, Index kb, Index i0, Index n, const float* sums) {
  const Epilogue<float>& e = v.epilogue;
  const bool last = kb + 1 == v.depth.blocks, relu = last && e.relu;
  const bool load = kb > 0 || (e.write == Write::add && !e.relu), add = relu && e.write == Write::add;
  for (Index i = i0; i < i0 + n; ++i) {
    float& y = v.y[i * v.y_stride];
    float s = sums[i - i0];
    if (load) s += y;
    if (last && e.bias_row) s += e.bias_row[v.row ? 0 : i];
    if (last && e.bias_col) s += e.bias_col[v.row ? i : 0];
    if (relu) s = s < 0 ? 0 : s;
    if (add) s += y;
    y = s;
  }
}

/// Elements [begin, end) of y, `group` at a time; sum(i, n, k0, k, sums) computes n of them in one block of the sum.
template <Index group, class Sum>
void multiply_vector(const VectorProduct& v, Index begin, Index end, Sum sum) {
  float sums[group];
  for (Index i = begin; i < end; i += group) {
    const Index n = std::min(group, end - i);
    for (Index kb = 0; kb < v.depth.blocks; ++kb) {
      const Index k0 = v.depth.begin(kb);
      sum(i, n, k0, v.depth.begin(kb + 1) - k0, sums);
      finish_vector(v, kb, i, n, sums);
    }
  }
}

/// gemm (gemm.hpp) with M = 1 or N = 1 and K > 0, on a machine with AVX2.
inline void gemv(bool trans_a, bool trans_b, Index M, Index N, Index K, const float* A, Index lda, const float* B,
                 Index ldb, float* C, Index ldc, const Epilogue<float>& e) {
  const DepthSplit depth(K, e.relu && e.write == Write::add);
  const bool row = N > 1;
  VectorProduct v = row ? VectorProduct{B, ldb, trans_b, A, C, 1, true, e, depth}
                        : VectorProduct{A, lda, !trans_a, B, C, ldc, false, e, depth};
  const Index gap = row ? (trans_a ? lda : 1) : (trans_b ? 1 : ldb);
  const Workspace workspace(gap == 1 ? 0 : K * static_cast<Index>(sizeof(float)), 0, 1);
  if (gap != 1) {
    float* const x = reinterpret_cast<float*>(workspace.shared());
    for (Index k = 0; k < K; ++k) x[k] = v.x[k * gap];
    v.x = x;
  }
  const Index size = row ? N : M, share = ceil_div(size, wanted_tasks(1, size, K));
  if (!v.sum_along_rows) {
    // The longer a row is read, the better the hardware fetches ahead; half of the first cache holds the sums.
    return parallel_for(size, std::max<Index>(2048, share), [&](Index begin, Index end) {
      multiply_vector<4096>(v, begin, end, [&](Index i, Index n, Index k0, Index k, float* sums) {
        dot_columns_avx2(v.matrix + k0 * v.stride + i, v.stride, n, k, v.x + k0, sums);
      });
    });
  }
  // Two groups of eight rows are faster, but from memory the hardware follows one better.
  const bool far = size * K > shared_elements;
  parallel_for(size, ceil_div(share, 16) * 16, [&](Index begin, Index end) {
    const auto groups = [&](auto g) {
      constexpr int Groups = decltype(g)::value;
      multiply_vector<8 * Groups>(v, begin, end, [&](Index i, Index n, Index k0, Index k, float* sums) {
        dot_rows_avx2<Groups>(v.matrix + i * v.stride + k0, v.stride, n, k, v.x + k0, sums);
      });
    };
    if (far) groups(std::integral_constant<int, 1>{});
    else groups(std::integral_constant<int, 2>{});
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
#endif
