/// The blocked product on one thread: packed rows times packed columns, in blocks that fit the caches.
///
/// Rows (the left factor) are packed once and shared by all threads; columns (the right factor) are packed panel by
/// panel by the task that needs them (gemm.hpp has the reverse for many rows and few columns). Packers come from a
/// closed list: matrices here, weights in conv.hpp and conv_data.hpp, patches in conv_patches.hpp; a factor that serves
/// many products comes packed (PackedRows, PackedColumns). The order in which one element of C is summed depends on
/// the length of the sum alone, so neither the split into tasks nor who packs nor the number of threads changes a bit.
#pragma once

#include <algorithm>

#include "qdistill/core/cache.hpp"
#include "qdistill/kernels/cpu/gemm_pack.hpp"
#include "qdistill/kernels/cpu/scratch.hpp"
#include "qdistill/kernels/cpu/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// What happens to a finished element: v += bias_row[i] + bias_col[j], v = max(v, 0) where `relu`, then set or add.
template <class T>
struct Epilogue {
  const T* bias_row = nullptr;  ///< (M) or null
  const T* bias_col = nullptr;  ///< (N) or null
  bool relu = false;
  Write write = Write::set;
};

namespace detail {

/// Longest part of the sum that is packed at once: a panel of 32 columns then fills two thirds of the first cache.
inline constexpr Index block_depth = 256;
/// Elements of the shared factor that are packed at a time: 8 MiB of floats.
inline constexpr Index shared_elements = Index{2} << 20;

inline Index ceil_div(Index a, Index b) noexcept { return (a + b - 1) / b; }

/// M rows in tiles of nearly equal height, none above `most`: 76 = 6 x 12 or 13, not 5 x 14 + 6.
struct RowSplit {
  Index rows = 0, tiles = 0;
  RowSplit(Index m, Index most) noexcept : rows(m), tiles(ceil_div(m, most)) {}
  Index begin(Index tile) const noexcept { return tile * rows / tiles; }
};

/// A sum of length K in blocks of nearly equal length; one block where `whole` (its epilogue needs all of it).
struct DepthSplit {
  Index depth = 0, blocks = 1, block = 0;
  DepthSplit(Index k, bool whole) noexcept : depth(k) {
    if (!whole && k > block_depth) blocks = ceil_div(k, block_depth);
    block = ceil_div(k, blocks);
  }
  Index begin(Index i) const noexcept { return std::min(depth, i * block); }
};

/// The left factor, packed: for each block [first, last) of the sum, for each tile, block x height elements. Or its
/// blocks [first, last) as they lie, element (i, k) at data[i * stride + k].
template <class T>
struct PackedRows {
  const T* data;
  RowSplit rows;
  DepthSplit depth;
  Index first, last;
  Index stride = 0;  ///< 0: packed
  const T* block(Index i) const noexcept {
    return data + (depth.begin(i) - depth.begin(first)) * (stride ? 1 : rows.rows);
  }
};

/// The left factor as a matrix: element (i, k) is data[i * stride + k], or data[k * stride + i] where `transposed`.
template <class T>
struct MatrixRows {
  const T* data;
  Index stride;
  bool transposed;

  /// panel[k * rows + i], for rows [i, i + rows) and the k elements of the sum from k0.
  void pack(Index k0, Index k, Index i, Index rows, T* panel) const {
    if (transposed) pack_rows(data + k0 * stride + i, stride, rows, k, panel, rows);
    else pack_transposed(data + i * stride + k0, stride, rows, k, panel, rows);
  }
};

/// Packs rows [i0, i0 + rows.rows) for the blocks [first, last) of the sum, as PackedRows reads them.
template <class T, class Rows>
void pack_all_rows(const Rows& source, Index i0, const RowSplit& rows, const DepthSplit& depth, Index first, Index last,
                   T* out) {
  const Index grain = std::max<Index>(1, 32768 / std::max<Index>(1, depth.block * 14));
  parallel_for((last - first) * rows.tiles, grain, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index kb = first + i / rows.tiles, k0 = depth.begin(kb), k = depth.begin(kb + 1) - k0;
      const Index r0 = rows.begin(i % rows.tiles), r = rows.begin(i % rows.tiles + 1) - r0;
      source.pack(k0, k, i0 + r0, r, out + (k0 - depth.begin(first)) * rows.rows + r0 * k);
    }
  });
}

/// The right factor as a matrix: element (k, j) is data[k * stride + j], or data[j * stride + k] where `transposed`.
template <class T>
struct MatrixColumns {
  const T* data;
  Index stride;
  bool transposed;

  void pack(Index k0, Index k, Index j, Index width, T* panel, Index ld) const {
    if (transposed) pack_transposed(data + j * stride + k0, stride, width, k, panel, ld);
    else pack_rows(data + k0 * stride + j, stride, width, k, panel, ld);
  }
  /// Columns [j, j + width) where they lie, rows `stride` apart, if the tile can read them there and that beats packing
  /// for `tiles` row tiles.
  const T* in_place(Index k0, Index, Index j, Index width, Index tiles) const noexcept {
    return transposed || width < tile_set<T>().cols || tiles > 2 ? nullptr : data + k0 * stride + j;
  }
  Index row(Index) const noexcept { return stride; }  ///< elements to the next row there
};

/// The right factor, packed: for each block [first, last) of the sum, for each panel, block x width elements. The last
/// panel is as narrow as what is left; a tile reads whole vectors there, up to tiles.cols elements behind the end.
template <class T>
struct PackedColumns {
  const T* data;
  Index columns, most;  ///< most: of a panel
  DepthSplit depth;
  Index first, last;

  Index row(Index j) const noexcept { return std::min(most, columns - j); }
  const T* in_place(Index k0, Index k, Index j, Index = 0, Index = 0) const noexcept {
    return data + (k0 - depth.begin(first)) * columns + j * k;
  }
  void pack(Index, Index, Index, Index, T*, Index) const noexcept {}  // never called
};

/// Packs all of N columns for the blocks [first, last) of the sum, as PackedColumns reads them.
template <class T>
PackedColumns<T> pack_all_columns(const TileSet<T>& tiles, const MatrixColumns<T>& source, Index N,
                                  const DepthSplit& depth, Index first, Index last, T* out) {
  const Index panels = ceil_div(N, tiles.cols);
  const PackedColumns<T> packed{out, N, tiles.cols, depth, first, last};
  const Index grain = std::max<Index>(1, 65536 / std::max<Index>(1, depth.block * tiles.cols));
  parallel_for((last - first) * panels, grain, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index k0 = depth.begin(first + i / panels), k = depth.begin(first + i / panels + 1) - k0;
      const Index j = i % panels * tiles.cols, width = packed.row(j);
      source.pack(k0, k, j, width, out + (k0 - depth.begin(first)) * N + j * k, width);
    }
  });
  return packed;
}

/// The arguments of a panel of C that starts at column j: where it is written and what its epilogue does in block kb.
template <class T>
TileArgs<T> tile_args(const Epilogue<T>& e, Index kb, bool last, T* c, Index ldc, Index j, Index cols) {
  TileArgs<T> args;
  args.c = c + j, args.ldc = ldc, args.cols = cols;
  args.load = kb > 0 || (e.write == Write::add && !e.relu);
  if (last) {
    args.bias_row = e.bias_row, args.bias_col = e.bias_col ? e.bias_col + j : nullptr;
    args.relu = e.relu, args.add = e.relu && e.write == Write::add;
  }
  return args;
}

/// One panel of columns (`args`: k, lda, b, ldb, c at row 0, ldc, cols, biases, flags) against the row tiles [begin,
/// end).
template <class T>
void multiply_panel(const TileSet<T>& tiles, const RowSplit& rows, Index begin, Index end, const T* block,
                    TileArgs<T> args) {
  T* const c = args.c;
  const T* const bias = args.bias_row;
  for (Index i = begin; i < end; ++i) {
    const Index r0 = rows.begin(i), r = rows.begin(i + 1) - r0;
    args.a = block + r0 * (args.lda ? args.lda : args.k);
    args.c = c + r0 * args.ldc;
    if (bias) args.bias_row = bias + r0;
    tiles(r, args);
  }
}

/// Panels of columns that one thread packs before it multiplies them: a quarter of the second cache.
template <class T>
Index panel_group(const TileSet<T>& tiles, Index block) {
  return std::max<Index>(
      1, second_cache_bytes() / 4 / std::max<Index>(1, block * tiles.cols * static_cast<Index>(sizeof(T))));
}

/// Row tiles of one block of the sum that stay in the second cache, five eighths of it, while columns pass.
template <class T>
Index row_group(const TileSet<T>& tiles, Index block) {
  return std::max<Index>(
      1, second_cache_bytes() * 5 / 8 / std::max<Index>(1, block * tiles.rows * static_cast<Index>(sizeof(T))));
}

/// Elements of the private memory that multiply_columns needs.
template <class T>
Index panel_elements(const TileSet<T>& tiles, const DepthSplit& depth, Index columns) {
  return std::min(panel_group(tiles, depth.block), ceil_div(columns, tiles.cols)) * depth.block * tiles.cols;
}

/// Row tiles [begin, end) times columns [j0, j1) of `columns`; c points to element (0, 0) of C.
template <class T, class Columns>
void multiply_columns(const TileSet<T>& tiles, const PackedRows<T>& a, Index begin, Index end, const Columns& columns,
                      Index j0, Index j1, T* c, Index ldc, const Epilogue<T>& e, T* panels) {
  const Index nr = tiles.cols;
  const Index group = std::is_same_v<Columns, PackedColumns<T>> ? std::max<Index>(1, ceil_div(j1 - j0, nr))
                                                                : panel_group(tiles, a.depth.block);
  const Index parts = ceil_div(end - begin, row_group(tiles, a.depth.block));
  for (Index g0 = j0; g0 < j1; g0 += group * nr) {
    const Index g1 = std::min(j1, g0 + group * nr);
    for (Index kb = a.first; kb < a.last; ++kb) {
      const Index k0 = a.depth.begin(kb), k = a.depth.begin(kb + 1) - k0;
      const bool last = kb + 1 == a.depth.blocks;
      for (Index part = 0; part < parts; ++part) {
        const Index t0 = begin + part * (end - begin) / parts, t1 = begin + (part + 1) * (end - begin) / parts;
        for (Index j = g0; j < g1; j += nr) {
          TileArgs<T> args = tile_args(e, kb, last, c, ldc, j, std::min(nr, g1 - j));
          args.k = k, args.lda = a.stride, args.ldb = nr;
          const T* direct = columns.in_place(k0, k, j, args.cols, end - begin);
          T* panel = panels + (j - g0) * a.depth.block;
          if (direct) {
            args.b = direct, args.ldb = columns.row(j);
          } else {
            if (part == 0) columns.pack(k0, k, j, args.cols, panel, nr);
            args.b = panel;
          }
          multiply_panel(tiles, a.rows, t0, t1, a.block(kb), args);
        }
      }
    }
  }
}

/// Tasks for a product of M x N x K: about 1 M multiplications each, 32 at most. Below 12 rows the columns' way from
/// memory takes longer than their multiplications.
inline Index wanted_tasks(Index m, Index n, Index k) noexcept {
  const double work = static_cast<double>(std::max<Index>(m, 12)) * static_cast<double>(n) * static_cast<double>(k);
  return work > 31e6 ? 32 : 1 + static_cast<Index>(work / 1e6);
}

/// How C is cut into tasks: by its size alone.
struct TaskGrid {
  Index row_tasks = 1, row_tiles = 1;   ///< row tiles of a task
  Index col_tasks = 1, col_panels = 1;  ///< panels of a task
  Index tasks() const noexcept { return row_tasks * col_tasks; }

  /// About `wanted` tasks for `tiles` x `panels` tiles. Rows are cut into `runs` first, then columns, only then rows
  /// into shorter runs.
  TaskGrid(Index tiles, Index panels, Index wanted, Index runs) noexcept {
    runs = std::max<Index>(1, std::min(wanted, runs));
    col_panels = std::max<Index>(1, panels * runs / std::max<Index>(1, wanted));
    col_tasks = ceil_div(panels, col_panels);
    const Index cuts = std::max(runs, std::min(ceil_div(wanted, col_tasks), ceil_div(tiles, 4)));
    row_tiles = std::max<Index>(1, ceil_div(tiles, cuts));
    row_tasks = ceil_div(tiles, row_tiles);
  }
  /// For columns that are packed once more for each run: runs of 24 tiles leave that cost at a few per cent.
  TaskGrid(Index tiles, Index panels, Index wanted) noexcept : TaskGrid(tiles, panels, wanted, tiles / 24) {}
};

}  // namespace detail
}  // namespace qdistill::inline QDISTILL_ABI::kernels
