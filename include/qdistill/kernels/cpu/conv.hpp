/// Convolution forward and backward to the data: an implicit matrix product over image patches, NCHW.
///
///   forward         y[n] (O x pixels)  = weight (O x taps)     patches of x[n]  (taps x pixels)
///   backward data   dx[n] (C x pixels) = weight^T (C x taps')  patches of dy[n] (taps' x pixels)
///
/// The gradient to the data is a convolution of stride 1 with flipped taps over dy, stretched by the stride. The
/// gradient to the weights is in conv_weights.hpp.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/conv_patches.hpp"
#include "qdistill/kernels/cpu/conv_shape.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// For each image and group, dst (rows x pixels) = epilogue(packed rows times patches of src).
/// `pack(group, rows, depth, out)` packs the weights of one group.
template <class T, class Pack>
void patch_product(const PatchGeometry& g, bool flipped, Index images, Index groups, Index out_rows, const T* src,
                   T* dst, const Epilogue<T>& epilogue, const Pack& pack) {
  const Index pixels = g.pixels(), taps = g.taps();
  if (images <= 0 || groups <= 0 || out_rows <= 0 || pixels <= 0) return;
  const TileSet<T>& tiles = tile_set<T>();
  const RowSplit rows(out_rows, tiles.rows);
  const DepthSplit depth(taps, epilogue.relu && epilogue.write == Write::add);
  constexpr Index size = static_cast<Index>(sizeof(T));
  const Index offset_bytes = Workspace::round_up(taps * static_cast<Index>(sizeof(Index)));
  const Index image_bytes = Workspace::round_up(g.scratch() * size);
  Workspace workspace(offset_bytes + groups * out_rows * taps * size,
                      image_bytes + panel_elements(tiles, depth, pixels) * size);
  Index* const offsets = reinterpret_cast<Index*>(workspace.shared());
  T* const packed = reinterpret_cast<T*>(workspace.shared() + offset_bytes);
  patch_offsets(g, flipped, offsets);
  if (groups == 1) {
    pack(Index{0}, rows, depth, packed);
  } else {
    parallel_for(groups, std::max<Index>(1, 65536 / std::max<Index>(1, out_rows * taps)), [&](Index begin, Index end) {
      for (Index group = begin; group < end; ++group) pack(group, rows, depth, packed + group * out_rows * taps);
    });
  }
  // Few images are cut into parts; many small ones are handled several at a time. Both by size alone.
  const double work = static_cast<double>(out_rows) * static_cast<double>(pixels) * static_cast<double>(taps + 16);
  const Index parts = std::min(ceil_div(16, images * groups), 1 + static_cast<Index>(work / 1e6));
  const TaskGrid grid(rows.tiles, ceil_div(pixels, tiles.cols), parts);
  const Index grain = std::max<Index>(1, static_cast<Index>(5e5 / work));
  parallel_for(images * groups * grid.tasks(), grain, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const scratch = reinterpret_cast<T*>(task.data());
    const T* image = nullptr;
    for (Index t = begin; t < end; ++t) {
      const Index item = t / grid.tasks(), part = t % grid.tasks(), group = item % groups;
      if (t == begin || part == 0) image = padded_image(g, src + item * g.channels * g.src_h * g.src_w, scratch);
      const Index row = part % grid.row_tasks * grid.row_tiles;
      const Index col = part / grid.row_tasks * grid.col_panels * tiles.cols;
      Epilogue<T> e = epilogue;
      if (e.bias_row) e.bias_row += group * out_rows;
      multiply_columns(tiles, PackedRows<T>{packed + group * out_rows * taps, rows, depth}, row,
                       std::min(rows.tiles, row + grid.row_tiles), PatchColumns<T>{g, offsets, image}, col,
                       std::min(pixels, col + grid.col_panels * tiles.cols), dst + item * out_rows * pixels, pixels, e,
                       reinterpret_cast<T*>(task.data() + image_bytes));
    }
  });
}

}  // namespace detail

/// y (N, O, out_h, out_w) = x (N, C, H, W) convolved with w (O, C / groups, KH, KW), plus bias (O) if not null, then
/// max(y, 0) where `relu`.
template <class T>
void conv2d_forward(Cpu, const Conv2dShape& s, const T* x, const T* w, const T* bias, T* y, bool relu = false) {
  using namespace detail;
  const Index channels = s.C / s.groups, outputs = s.O / s.groups, taps = channels * s.KH * s.KW;
  const PatchGeometry g{channels, s.H,     s.W,     1,          1,          s.pad_h,   s.pad_w,  s.KH,
                        s.KW,     s.dil_h, s.dil_w, s.stride_h, s.stride_w, s.out_h(), s.out_w()};
  patch_product(g, false, s.N, s.groups, outputs, x, y, Epilogue<T>{bias, nullptr, relu, Write::set},
                [&](Index group, const RowSplit& rows, const DepthSplit& depth, T* out) {
                  pack_matrix_rows(w + group * outputs * taps, taps, false, rows, depth, out);
                });
}

/// dx (N, C, H, W) = gradient of the convolution to its input, from dy (N, O, out_h, out_w) and w (O, C / groups, KH,
/// KW).
template <class T>
void conv2d_backward_data(Cpu, const Conv2dShape& s, const T* dy, const T* w, T* dx, Write write) {
  using namespace detail;
  const Index channels = s.C / s.groups, outputs = s.O / s.groups, window = s.KH * s.KW;
  const PatchGeometry g{outputs,
                        s.out_h(),
                        s.out_w(),
                        s.stride_h,
                        s.stride_w,
                        s.dil_h * (s.KH - 1) - s.pad_h,
                        s.dil_w * (s.KW - 1) - s.pad_w,
                        s.KH,
                        s.KW,
                        s.dil_h,
                        s.dil_w,
                        1,
                        1,
                        s.H,
                        s.W};
  patch_product(g, true, s.N, s.groups, channels, dy, dx, Epilogue<T>{nullptr, nullptr, false, write},
                [&](Index group, const RowSplit& rows, const DepthSplit& depth, T* out) {
                  // Element (c, (o, tap)) of the transposed weights.
                  const T* const from = w + group * outputs * channels * window;
                  parallel_for(rows.tiles, std::max<Index>(1, 65536 / std::max<Index>(1, outputs * window * 14)),
                               [&](Index begin, Index end) {
                                 for (Index kb = 0; kb < depth.blocks; ++kb)
                                   for (Index i = begin; i < end; ++i) {
                                     const Index k0 = depth.begin(kb), k1 = depth.begin(kb + 1);
                                     const Index c0 = rows.begin(i), c1 = rows.begin(i + 1);
                                     T* to = out + k0 * rows.rows + c0 * (k1 - k0);
                                     Index o = k0 / window, tap = k0 % window;
                                     for (Index k = k0; k < k1; ++k) {
                                       const T* const column = from + o * channels * window + tap;
                                       for (Index c = c0; c < c1; ++c) *to++ = column[c * window];
                                       if (++tap == window) tap = 0, ++o;
                                     }
                                   }
                               });
                });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
