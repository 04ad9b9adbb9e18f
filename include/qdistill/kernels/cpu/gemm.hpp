/// Matrix product C = epilogue(op(A) op(B)), single and batched, row-major.
#pragma once

#include "qdistill/core/compiled.hpp"
#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"
#include "qdistill/kernels/cpu/gemv.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// Packed rows times columns, which tasks pack unless they are. `e` counts rows from that of `a`.
template <class T, class Columns>
void multiply_shared_rows(const TileSet<T>& tiles, const PackedRows<T>& a, Index N, const Columns& b, T* C, Index ldc,
                          const Epilogue<T>& e, Workspace& workspace) {
  constexpr bool packed = std::is_same_v<Columns, PackedColumns<T>>;
  const Index tall = a.rows.tiles, wanted = wanted_tasks(a.rows.rows, N, (a.last - a.first) * a.depth.block);
  const TaskGrid grid(tall, ceil_div(N, tiles.cols), wanted,
                      packed ? ceil_div(tall, row_group(tiles, a.depth.block)) : tall / 24);
  parallel_for(grid.tasks(), 1, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    for (Index t = begin; t < end; ++t) {
      // Neighbouring tasks share what costs more to fetch again: packed rows, or columns where they lie.
      const Index i = packed ? t / grid.col_tasks : t % grid.row_tasks;
      const Index j = packed ? t % grid.col_tasks : t / grid.row_tasks;
      const Index row = i * grid.row_tiles, col = j * grid.col_panels * tiles.cols;
      multiply_columns(tiles, a, row, std::min(tall, row + grid.row_tiles), b, col,
                       std::min(N, col + grid.col_panels * tiles.cols), C, ldc, e, reinterpret_cast<T*>(task.data()));
    }
  });
}

/// True if packing the rows for `N` columns costs more than it saves.
template <class T>
bool rows_in_place(const TileSet<T>& tiles, const MatrixRows<T>& a, Index N) {
  return tiles.wide_in_place[0] && !a.transposed && N <= 8 * tiles.cols;
}

/// The rows are packed once and shared, or read where they lie. So are the columns if more than one task needs them
/// (`share`), 8 MiB of both at a time; otherwise the task packs them, unless they are.
template <class T, class Columns>
void gemm_shared_rows(const TileSet<T>& tiles, Index M, Index N, const DepthSplit& depth, const MatrixRows<T>& a,
                      const Columns& b, T* C, Index ldc, const Epilogue<T>& epilogue, bool share) {
  constexpr Index size = static_cast<Index>(sizeof(T));
  const bool in_place = rows_in_place(tiles, a, N);
  const Index block = std::max<Index>(1, depth.block);
  const Index height = in_place ? M : std::min(M, std::max<Index>(448, shared_elements / block));
  const Index longest = std::max(in_place ? 1 : height, share ? N : 1);
  const Index blocks = std::clamp<Index>(shared_elements / (longest * block), 1, depth.blocks);
  const Index row_room = in_place ? 0 : Workspace::round_up(height * blocks * block * size);
  Workspace workspace(row_room + (share ? (N * blocks * block + tiles.cols) * size : 0),
                      share ? 0 : panel_elements(tiles, depth, N) * size, 64);
  T* const rows_packed = reinterpret_cast<T*>(workspace.shared());
  T* const columns_packed = reinterpret_cast<T*>(workspace.shared() + row_room);
  for (Index m0 = 0; m0 < M; m0 += height) {
    const RowSplit rows(std::min(height, M - m0), tiles.rows);
    Epilogue<T> e = epilogue;
    if (e.bias_row) e.bias_row += m0;
    for (Index b0 = 0; b0 < depth.blocks; b0 += blocks) {
      PackedRows<T> left{rows_packed, rows, depth, b0, std::min(depth.blocks, b0 + blocks)};
      if (in_place) left.data = a.data + depth.begin(b0), left.stride = a.stride;
      else pack_all_rows(a, m0, rows, depth, left.first, left.last, rows_packed);
      T* const c = C + m0 * ldc;
      if constexpr (std::is_same_v<Columns, MatrixColumns<T>>)
        if (share) {
          multiply_shared_rows(tiles, left, N,
                               pack_all_columns(tiles, b, N, depth, left.first, left.last, columns_packed), c, ldc, e,
                               workspace);
          continue;
        }
      multiply_shared_rows(tiles, left, N, b, c, ldc, e, workspace);
    }
  }
}

/// The columns of the blocks [first, last) of the sum are packed and shared, the rows are packed by the tasks.
template <class T>
void multiply_shared_columns(const TileSet<T>& tiles, const RowSplit& runs, Index N, const MatrixRows<T>& a,
                             const PackedColumns<T>& b, T* C, Index ldc, const Epilogue<T>& e, Workspace& workspace) {
  const Index nr = tiles.cols;
  parallel_for(runs.tiles, 1, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const block = reinterpret_cast<T*>(task.data());
    for (Index run = begin; run < end; ++run) {
      const Index m0 = runs.begin(run);
      const RowSplit rows(runs.begin(run + 1) - m0, tiles.rows);
      Epilogue<T> part = e;
      if (e.bias_row) part.bias_row += m0;
      for (Index kb = b.first; kb < b.last; ++kb) {
        const Index k0 = b.depth.begin(kb), k = b.depth.begin(kb + 1) - k0;
        for (Index i = 0; i < rows.tiles; ++i) {
          const Index r0 = rows.begin(i);
          a.pack(k0, k, m0 + r0, rows.begin(i + 1) - r0, block + r0 * k);
        }
        for (Index j = 0; j < N; j += nr) {
          TileArgs<T> args = tile_args(part, kb, kb + 1 == b.depth.blocks, C + m0 * ldc, ldc, j, std::min(nr, N - j));
          args.k = k, args.b = b.in_place(k0, k, j), args.ldb = b.row(j);
          multiply_panel(tiles, rows, 0, rows.tiles, block, args);
        }
      }
    }
  });
}

/// For many rows and few columns. The columns are packed here, 8 MiB at a time, unless they are.
template <class T, class Columns>
void gemm_shared_columns(const TileSet<T>& tiles, Index M, Index N, const DepthSplit& depth, const MatrixRows<T>& a,
                         const Columns& b, T* C, Index ldc, const Epilogue<T>& e) {
  constexpr Index size = static_cast<Index>(sizeof(T));
  constexpr bool packed = std::is_same_v<Columns, PackedColumns<T>>;
  const Index blocks =
      packed ? depth.blocks : std::clamp<Index>(shared_elements / std::max<Index>(1, N * depth.block), 1, depth.blocks);
  const Index wanted = wanted_tasks(M, N, blocks * depth.block);
  const RowSplit runs(M, std::max(4 * tiles.rows, std::min(24 * tiles.rows, ceil_div(M, wanted))));
  const Index height = ceil_div(M, runs.tiles);
  Workspace workspace(packed ? 0 : (blocks * depth.block * N + tiles.cols) * size, height * depth.block * size,
                      runs.tiles);
  if constexpr (packed) {
    multiply_shared_columns(tiles, runs, N, a, b, C, ldc, e, workspace);
  } else {
    T* const room = reinterpret_cast<T*>(workspace.shared());
    for (Index b0 = 0; b0 < depth.blocks; b0 += blocks)
      multiply_shared_columns(tiles, runs, N, a,
                              pack_all_columns(tiles, b, N, depth, b0, std::min(depth.blocks, b0 + blocks), room), C,
                              ldc, e, workspace);
  }
}

/// The product, its columns as they lie or packed.
template <class T, class Columns>
void gemm_blocked(const TileSet<T>& tiles, Index M, Index N, const DepthSplit& depth, const MatrixRows<T>& a,
                  const Columns& b, T* C, Index ldc, const Epilogue<T>& epilogue) {
  if (M > 2 * N && M * depth.depth > shared_elements)
    return gemm_shared_columns(tiles, M, N, depth, a, b, C, ldc, epilogue);
  if constexpr (std::is_same_v<Columns, MatrixColumns<T>>)
    if (TaskGrid(ceil_div(M, tiles.rows), ceil_div(N, tiles.cols), wanted_tasks(M, N, depth.depth)).row_tasks > 1) {
      const Index most =
          std::max<Index>(512, shared_elements / std::max<Index>(1, depth.block) / tiles.cols * tiles.cols);
      for (Index j = 0; j < N; j += most) {
        Epilogue<T> e = epilogue;
        if (e.bias_col) e.bias_col += j;
        gemm_shared_rows(tiles, M, std::min(most, N - j), depth, a,
                         MatrixColumns<T>{b.data + (b.transposed ? j * b.stride : j), b.stride, b.transposed}, C + j,
                         ldc, e, true);
      }
      return;
    }
  gemm_shared_rows(tiles, M, N, depth, a, b, C, ldc, epilogue, false);
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
  if (K <= 0) K = 0, A = B = C;  // not read, but a null pointer must not be moved
#if QDISTILL_X86
  if constexpr (std::is_same_v<T, float>)
    if ((M == 1 || N == 1) && K > 0 && active_isa() != Isa::baseline)
      return gemv(trans_a, trans_b, M, N, K, A, lda, B, ldb, C, ldc, epilogue);
#endif
  gemm_blocked(tile_set<T>(), M, N, DepthSplit(K, epilogue.relu && epilogue.write == Write::add),
               MatrixRows<T>{A, lda, trans_a}, MatrixColumns<T>{B, ldb, trans_b}, C, ldc, epilogue);
}

/// Elements that gemm_packed may read of a right factor of K x N; pack_columns writes the first N K.
template <class T>
Index packed_columns_size(Index N, Index K) {
  return N * K + tile_set<T>().cols;
}

/// Packs op(B), K x N, for gemm_packed; B as in gemm.
template <class T>
void pack_columns(Cpu, bool trans_b, Index N, Index K, const T* B, Index ldb, T* packed) {
  const detail::DepthSplit depth(K, false);
  detail::pack_all_columns(tile_set<T>(), detail::MatrixColumns<T>{B, ldb, trans_b}, N, depth, 0, depth.blocks, packed);
}

/// gemm with a right factor that pack_columns wrote: the same bits. Its epilogue sets C.
template <class T>
void gemm_packed(Cpu, bool trans_a, Index M, Index N, Index K, const T* A, Index lda, const T* packed, T* C, Index ldc,
                 const Epilogue<T>& epilogue = {}) {
  using namespace detail;
  if (M <= 0 || N <= 0) return;
  const TileSet<T>& tiles = tile_set<T>();
  const DepthSplit depth(K, false);
  gemm_blocked(tiles, M, N, depth, MatrixRows<T>{A, lda, trans_a},
               PackedColumns<T>{packed, N, tiles.cols, depth, 0, depth.blocks}, C, ldc, epilogue);
}

/// For each i < batch, gemm of A + i stride_a, B + i stride_b into C + i stride_c. A stride of 0 repeats A or B.
template <class T>
void gemm_batched(Cpu cpu, bool trans_a, bool trans_b, Index batch, Index M, Index N, Index K, const T* A, Index lda,
                  Index stride_a, const T* B, Index ldb, Index stride_b, T* C, Index ldc, Index stride_c,
                  const Epilogue<T>& epilogue = {}) {
  using namespace detail;
  if (M <= 0 || N <= 0) return;
  const double work = static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(std::max<Index>(1, K));
  if (batch < 4 || work > 8e6 || K <= 0) {  // each product is split on its own
    for (Index i = 0; i < batch; ++i)
      gemm(cpu, trans_a, trans_b, M, N, K, A + i * stride_a, lda, B + i * stride_b, ldb, C + i * stride_c, ldc,
           epilogue);
    return;
  }
  const TileSet<T>& tiles = tile_set<T>();
  const DepthSplit depth(K, epilogue.relu && epilogue.write == Write::add);
  const RowSplit rows(M, tiles.rows);
  const Index grain = std::max<Index>(1, static_cast<Index>(250000 / work));
  Workspace workspace(0, (M * K + panel_elements(tiles, depth, N)) * static_cast<Index>(sizeof(T)),
                      ceil_div(batch, grain));
  parallel_for(batch, grain, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const packed = reinterpret_cast<T*>(task.data());
    for (Index i = begin; i < end; ++i) {
      if (i == begin || stride_a != 0)
        pack_all_rows(MatrixRows<T>{A + i * stride_a, lda, trans_a}, 0, rows, depth, 0, depth.blocks, packed);
      multiply_columns(tiles, PackedRows<T>{packed, rows, depth, 0, depth.blocks}, 0, rows.tiles,
                       MatrixColumns<T>{B + i * stride_b, ldb, trans_b}, 0, N, C + i * stride_c, ldc, epilogue,
                       packed + M * K);
    }
  });
}

#if QDISTILL_COMPILED
QDISTILL_EXTERN template void gemm<float>(Cpu, bool, bool, Index, Index, Index, const float*, Index, const float*,
                                          Index, float*, Index, const Epilogue<float>&);
QDISTILL_EXTERN template void gemm_batched<float>(Cpu, bool, bool, Index, Index, Index, Index, const float*, Index,
                                                  Index, const float*, Index, Index, float*, Index, Index,
                                                  const Epilogue<float>&);
QDISTILL_EXTERN template void gemm_packed<float>(Cpu, bool, Index, Index, Index, const float*, Index, const float*,
                                                 float*, Index, const Epilogue<float>&);
#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels
