/// Convolution forward: an implicit matrix product over image patches, NCHW.
///
///   y[n] (O x pixels) = weight (O x taps)  patches of x[n] (taps x pixels)
///
/// conv_data.hpp and conv_weights.hpp hold the gradients.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/conv_patches.hpp"
#include "qdistill/kernels/cpu/conv_shape.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// Packs the left factors of all groups, one after the other.
template <class T, class Weights>
void pack_groups(const Weights& weights, Index groups, const RowSplit& rows, const DepthSplit& depth, T* out) {
  const Index elements = rows.rows * depth.depth;
  if (groups == 1) return pack_all_rows(weights, 0, rows, depth, 0, depth.blocks, out);
  parallel_for(groups, std::max<Index>(1, 65536 / std::max<Index>(1, elements)), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      pack_all_rows(weights.group(i), 0, rows, depth, 0, depth.blocks, out + i * elements);
  });
}

/// The weights as the left factor of the forward product: row o, element (c, tap) of the sum.
template <class T>
struct ForwardWeights {
  const T* w;
  Index outputs, taps;  ///< of one group

  ForwardWeights group(Index i) const noexcept { return {w + i * outputs * taps, outputs, taps}; }
  void pack(Index k0, Index k, Index row, Index rows, T* panel) const {
    pack_transposed(w + row * taps + k0, taps, rows, k, panel, rows);
  }
};

/// For each image and group, dst (rows x pixels) = epilogue(weights times patches of src). weights.group(i) is the left
/// factor of group i, write_offsets(to) writes the offsets of its `taps` columns.
template <class T, class Weights, class Offsets>
void patch_product(const PatchGeometry& g, Index images, Index groups, Index out_rows, Index taps, const T* src, T* dst,
                   const Epilogue<T>& epilogue, const Weights& weights, const Offsets& write_offsets) {
  const Index pixels = g.pixels();
  if (images <= 0 || groups <= 0 || out_rows <= 0 || pixels <= 0) return;
  const TileSet<T>& tiles = tile_set<T>();
  const RowSplit rows(out_rows, tiles.rows);
  const DepthSplit depth(taps, epilogue.relu && epilogue.write == Write::add);
  constexpr Index size = static_cast<Index>(sizeof(T));
  // Few images are cut into parts, many small ones are handled several at a time: both by size alone. The parts of an
  // image read one padded copy.
  const double work = static_cast<double>(out_rows) * static_cast<double>(pixels) * static_cast<double>(taps + 16);
  const Index items = images * groups, parts = std::min(ceil_div(16, items), 1 + static_cast<Index>(work / 1e6));
  const TaskGrid grid(rows.tiles, ceil_div(pixels, tiles.cols), parts);
  const bool shared_images = grid.tasks() > 1 && !g.in_place();

  const Index offset_bytes = Workspace::round_up(taps * static_cast<Index>(sizeof(Index)));
  const Index weight_bytes = Workspace::round_up(groups * out_rows * taps * size);
  const Index image_bytes = Workspace::round_up(g.scratch() * size);
  Workspace workspace(offset_bytes + weight_bytes + (shared_images ? items * image_bytes : 0),
                      (shared_images ? 0 : image_bytes) + panel_elements(tiles, depth, pixels) * size);
  Index* const offsets = reinterpret_cast<Index*>(workspace.shared());
  T* const packed = reinterpret_cast<T*>(workspace.shared() + offset_bytes);
  unsigned char* const padded = workspace.shared() + offset_bytes + weight_bytes;
  const auto source = [&](Index item) { return src + item * g.channels * g.src_h * g.src_w; };
  write_offsets(offsets);
  pack_groups(weights, groups, rows, depth, packed);
  if (shared_images) {
    const Index grain = std::max<Index>(1, 32768 / g.plane());
    parallel_for(g.channels, grain, [&](Index begin, Index end) {
      for (Index i = 0; i < items; ++i)
        pad_channels(g, source(i), begin, end, reinterpret_cast<T*>(padded + i * image_bytes));
    });
  }
  parallel_for(items * grid.tasks(), std::max<Index>(1, static_cast<Index>(5e5 / work)), [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    const T* image = nullptr;
    for (Index t = begin; t < end; ++t) {
      const Index item = t / grid.tasks(), part = t % grid.tasks(), group = item % groups;
      if (shared_images) image = reinterpret_cast<T*>(padded + item * image_bytes) + PatchGeometry::margin;
      else if (t == begin || part == 0) image = padded_image(g, source(item), reinterpret_cast<T*>(task.data()));
      const Index row = part % grid.row_tasks * grid.row_tiles;
      const Index col = part / grid.row_tasks * grid.col_panels * tiles.cols;
      Epilogue<T> e = epilogue;
      if (e.bias_row) e.bias_row += group * out_rows;
      multiply_columns(tiles, PackedRows<T>{packed + group * out_rows * taps, rows, depth, 0, depth.blocks}, row,
                       std::min(rows.tiles, row + grid.row_tiles), PatchColumns<T>{g, offsets, image}, col,
                       std::min(pixels, col + grid.col_panels * tiles.cols), dst + item * out_rows * pixels, pixels, e,
                       reinterpret_cast<T*>(task.data() + (shared_images ? 0 : image_bytes)));
    }
  });
}

}  // namespace detail

/// y (N, O, out_h, out_w) = x (N, C, H, W) convolved with w (O, C / groups, KH, KW), plus bias (O) if not null, then
/// max(y, 0) where `relu`.
template <class T>
void conv2d_forward(Cpu, const Conv2dShape& s, const T* x, const T* w, const T* bias, T* y, bool relu = false) {
  using namespace detail;
  const Index outputs = s.O / s.groups, taps = s.C / s.groups * s.KH * s.KW;
  const PatchGeometry g = forward_patches(s);
  patch_product(g, s.N, s.groups, outputs, taps, x, y, Epilogue<T>{bias, nullptr, relu, Write::set},
                ForwardWeights<T>{w, outputs, taps}, [&](Index* to) { forward_offsets(s, g, to); });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
