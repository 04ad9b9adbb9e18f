/// Matrix product C = epilogue(op(A) op(B)), single and batched, row-major.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// Rows of A that are packed at a time: at most 16 MiB of floats.
inline Index rows_at_once(Index m, Index k) noexcept {
  constexpr Index elements = Index{4} << 20;
  return k <= 0 || m <= elements / k ? m : std::max<Index>(448, elements / k);
}

}  // namespace detail

/// C (M x N, row stride ldc) = epilogue(op(A) op(B)). op(A) is M x K: A is M x K, or K x M where trans_a; op(B) is
/// K x N: B is K x N, or N x K where trans_b; lda and ldb are the row strides as stored. K = 0 gives the epilogue of 0.
/// C must not overlap A or B.
template <class T>
void gemm(Cpu, bool trans_a, bool trans_b, Index M, Index N, Index K, const T* A, Index lda, const T* B, Index ldb,
          T* C, Index ldc, const Epilogue<T>& epilogue = {}) {
  using namespace detail;
  if (M <= 0 || N <= 0) return;
  const TileSet<T>& tiles = tile_set<T>();
  const DepthSplit depth(K, epilogue.relu && epilogue.write == Write::add);
  const Index at_once = rows_at_once(M, K);
  Workspace workspace(at_once * K * static_cast<Index>(sizeof(T)),
                      panel_elements(tiles, depth, N) * static_cast<Index>(sizeof(T)));
  T* const packed = reinterpret_cast<T*>(workspace.shared());
  const MatrixColumns<T> columns{B, ldb, trans_b};
  const Index panels = ceil_div(N, tiles.cols);
  for (Index m0 = 0; m0 < M; m0 += at_once) {
    const RowSplit rows(std::min(at_once, M - m0), tiles.rows);
    pack_matrix_rows(trans_a ? A + m0 : A + m0 * lda, lda, trans_a, rows, depth, packed);
    const PackedRows<T> a{packed, rows, depth};
    Epilogue<T> e = epilogue;
    if (e.bias_row) e.bias_row += m0;
    const Index work = rows.rows * std::max<Index>(1, K);
    const Index wanted = std::min<Index>(32, 1 + (work > (Index{1} << 50) / N ? 32 : work * N / 1000000));
    const TaskGrid grid(rows.tiles, panels, wanted);
    parallel_for(grid.tasks(), 1, [&](Index begin, Index end) {
      const Workspace::Task task(workspace);
      for (Index t = begin; t < end; ++t) {
        const Index row = t % grid.row_tasks * grid.row_tiles, col = t / grid.row_tasks * grid.col_panels * tiles.cols;
        multiply_columns(tiles, a, row, std::min(rows.tiles, row + grid.row_tiles), columns, col,
                         std::min(N, col + grid.col_panels * tiles.cols), C + m0 * ldc, ldc, e,
                         reinterpret_cast<T*>(task.data()));
      }
    });
  }
}

/// For each i < batch, gemm of A + i stride_a, B + i stride_b into C + i stride_c. A stride of 0 repeats A or B.
template <class T>
void gemm_batched(Cpu cpu, bool trans_a, bool trans_b, Index batch, Index M, Index N, Index K, const T* A, Index lda,
                  Index stride_a, const T* B, Index ldb, Index stride_b, T* C, Index ldc, Index stride_c,
                  const Epilogue<T>& epilogue = {}) {
  using namespace detail;
  if (M <= 0 || N <= 0) return;
  const double work = static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(std::max<Index>(1, K));
  if (batch < 4 || work > 8e6) {  // each product is split on its own
    for (Index i = 0; i < batch; ++i)
      gemm(cpu, trans_a, trans_b, M, N, K, A + i * stride_a, lda, B + i * stride_b, ldb, C + i * stride_c, ldc,
           epilogue);
    return;
  }
  const TileSet<T>& tiles = tile_set<T>();
  const DepthSplit depth(K, epilogue.relu && epilogue.write == Write::add);
  const RowSplit rows(M, tiles.rows);
  Workspace workspace(0, (M * K + panel_elements(tiles, depth, N)) * static_cast<Index>(sizeof(T)));
  parallel_for(batch, std::max<Index>(1, static_cast<Index>(250000 / work)), [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const packed = reinterpret_cast<T*>(task.data());
    for (Index i = begin; i < end; ++i) {
      if (i == begin || stride_a != 0) pack_matrix_rows(A + i * stride_a, lda, trans_a, rows, depth, packed);
      multiply_columns(tiles, PackedRows<T>{packed, rows, depth}, 0, rows.tiles,
                       MatrixColumns<T>{B + i * stride_b, ldb, trans_b}, 0, N, C + i * stride_c, ldc, epilogue,
                       packed + M * K);
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
