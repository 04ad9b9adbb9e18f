/// Convolution backward to the weights: a matrix product whose sum runs over the pixels of all images.
///
///   dw (O x taps) = sum over images n of dy[n] (O x pixels) (patches of x[n])^T (pixels x taps)
///
/// The images are cut into a fixed number of parts, by size only; each part has its own sum, and the sums are added in
/// order: the same bits for any number of threads.
#pragma once

#include "qdistill/core/compiled.hpp"
#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/conv_patches.hpp"
#include "qdistill/kernels/cpu/conv_shape.hpp"
#include "qdistill/kernels/cpu/conv_short_weights.hpp"
#include "qdistill/kernels/cpu/conv_winograd_weights.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// How the images are cut into parts and the sum of a part into blocks.
struct PixelBlocks {
  static constexpr Index depth = 512;
  Index images = 1;  ///< whole images of a block, where several fit
  Index pieces = 1;  ///< blocks of one image, where it is larger
  Index piece = 0;   ///< pixels of such a block

  PixelBlocks(Index all_images, Index pixels) noexcept {
    if (pixels <= depth) {
      const Index most = std::max<Index>(1, depth / std::max<Index>(1, pixels));
      images = std::max<Index>(1, ceil_div(all_images, std::max<Index>(1, ceil_div(all_images, most))));
      piece = pixels;
    } else {
      piece = ceil_div(ceil_div(pixels, ceil_div(pixels, depth)), 16) * 16;
      pieces = ceil_div(pixels, piece);
    }
  }
  /// Most pixels of a block.
  Index rows() const noexcept { return images * piece; }
};

/// dst = sum over i < parts of src[i * n + .], in this order, or dst += it.
template <class T>
void add_parts(const T* src, Index parts, Index n, T* dst, Write write) {
  parallel_for(n, 16384, [&](Index begin, Index end) {
    constexpr Index width = 1024;
    for (Index i = begin; i < end; i += width) {
      const Index count = std::min(width, end - i);
      with_isa([&]() QDISTILL_ISA_BODY {
        T sum[width];
        const T* __restrict from = src + i;
        QDISTILL_SIMD
        for (Index j = 0; j < count; ++j) sum[j] = from[j];
        for (Index p = 1; p < parts; ++p) {
          const T* __restrict next = src + p * n + i;
          QDISTILL_SIMD
          for (Index j = 0; j < count; ++j) sum[j] += next[j];
        }
        T* __restrict to = dst + i;
        if (write == Write::add) {
          QDISTILL_SIMD
          for (Index j = 0; j < count; ++j) to[j] += sum[j];
        } else {
          QDISTILL_SIMD
          for (Index j = 0; j < count; ++j) to[j] = sum[j];
        }
      });
    }
  });
}

/// dbias (O) = sum of dy (N, O, pixels) over images and pixels.
template <class T>
void sum_pixels(const Conv2dShape& s, Index pixels, const T* dy, T* dbias, Write write) {
  parallel_for(s.O, std::max<Index>(1, 65536 / std::max<Index>(1, s.N * pixels)), [&](Index begin, Index end) {
    for (Index o = begin; o < end; ++o) {
      double sum = 0;
      for (Index n = 0; n < s.N; ++n) sum += row_sum(dy + (n * s.O + o) * pixels, pixels);
      dbias[o] = write == Write::add ? dbias[o] + static_cast<T>(sum) : static_cast<T>(sum);
    }
  });
}

}  // namespace detail

/// dw (O, C / groups, KH, KW) = gradient of the convolution to its weight, from x (N, C, H, W) and dy (N, O, out_h,
/// out_w); dbias (O) = sum of dy over images and pixels, unless null.
template <class T>
void conv2d_backward_weights(Cpu, const Conv2dShape& s, const T* x, const T* dy, T* dw, T* dbias, Write write) {
  using namespace detail;
  constexpr Index size = static_cast<Index>(sizeof(T));
  const Index channels = s.C / s.groups, outputs = s.O / s.groups, taps = channels * s.KH * s.KW;
  const PatchGeometry g = forward_patches(s);
  const Index pixels = g.pixels(), weights = s.O * taps;
  if (s.N <= 0 || pixels <= 0 || taps <= 0) {  // nothing to multiply
    if (dbias) sum_pixels(s, pixels, dy, dbias, write);
    if (write == Write::set) std::fill(dw, dw + weights, T(0));
    return;
  }
  if (s.O <= 0) return;
  if constexpr (winograd_scalar<T>) {
    if (conv_algorithm<T>(s, ConvPass::weights) == ConvAlgorithm::winograd) {
      winograd_weights(s, x, dy, dw, write);
      if (dbias) sum_pixels(s, pixels, dy, dbias, write);
      return;
    }
  }
  const TileSet<T>& tiles = tile_set<T>();
  const RowSplit rows(outputs, tiles.rows);
  const PixelBlocks blocks(s.N, pixels);
  const bool dots = is_dot<T>(g, taps);
  const Index all_blocks = ceil_div(s.N, blocks.images);
  const double work = static_cast<double>(s.N) * static_cast<double>(pixels) * static_cast<double>(weights);
  const Index parts = std::max<Index>(
      1, std::min({all_blocks, Index{8}, (Index{8} << 20) / (weights * size), static_cast<Index>(work / 2e6)}));
  const Index panels = ceil_div(taps, tiles.cols);
  const TaskGrid grid(1, panels, std::min(ceil_div(8, parts * s.groups), 1 + static_cast<Index>(work / 2e6)));

  const Index tasks = parts * s.groups * grid.col_tasks;
  const Index grain = std::max<Index>(1, static_cast<Index>(5e5 * static_cast<double>(tasks) / work));

  const Index offset_bytes = Workspace::round_up(taps * static_cast<Index>(sizeof(Index)));
  const Index image_bytes = Workspace::round_up(g.scratch() * size);
  const Index dy_bytes = Workspace::round_up(outputs * blocks.rows() * size);
  const Index bias_bytes = Workspace::round_up(parts * s.O * static_cast<Index>(sizeof(double)));
  Workspace workspace(offset_bytes + bias_bytes + (parts > 1 ? parts * weights * size : 0),
                      blocks.images * image_bytes + (dots ? 0 : dy_bytes + blocks.rows() * tiles.cols * size),
                      ceil_div(tasks, grain));
  Index* const offsets = reinterpret_cast<Index*>(workspace.shared());
  double* const bias_sums = reinterpret_cast<double*>(workspace.shared() + offset_bytes);
  T* const sums = parts > 1 ? reinterpret_cast<T*>(workspace.shared() + offset_bytes + bias_bytes) : dw;
  forward_offsets(s, g, offsets);

  // A task sums the images of one part, for one group and some panels of taps.
  parallel_for(tasks, grain, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const packed = reinterpret_cast<T*>(task.data() + blocks.images * image_bytes);
    T* const panel = reinterpret_cast<T*>(task.data() + blocks.images * image_bytes + dy_bytes);
    for (Index t = begin; t < end; ++t) {
      const Index part = t / (s.groups * grid.col_tasks), group = t / grid.col_tasks % s.groups;
      const Index j0 = t % grid.col_tasks * grid.col_panels * tiles.cols;
      const Index j1 = std::min(taps, j0 + grid.col_panels * tiles.cols);
      T* const c = sums + (parts > 1 ? part * weights : 0) + group * outputs * taps;
      bool load = parts == 1 && write == Write::add;
      double* const bias = dbias && j0 == 0 ? bias_sums + part * s.O + group * outputs : nullptr;
      if (bias) std::fill(bias, bias + outputs, 0.0);
      const Index last = std::min(s.N, (part + 1) * all_blocks / parts * blocks.images);
      for (Index n = part * all_blocks / parts * blocks.images; n < last; n += blocks.images) {
        const Index count = std::min(blocks.images, last - n);
        const auto image = [&](Index i) { return reinterpret_cast<T*>(task.data() + i * image_bytes); };
        const auto source = [&](Index i) { return x + ((n + i) * s.C + group * channels) * s.H * s.W; };
        for (Index i = 0; i < count; ++i) padded_image(g, source(i), image(i));
        if constexpr (std::is_same_v<T, float>) {
          if (dots) {
            for (Index o = 0; o < outputs && !load; ++o) std::fill(c + o * taps + j0, c + o * taps + j1, 0.0f);
            load = true;
            for (Index i = 0; i < count; ++i) {
              const T* const from = dy + ((n + i) * s.O + group * outputs) * pixels;
              add_dots(g, offsets + j0, j1 - j0, g.in_place() ? source(i) : image(i) + PatchGeometry::margin, from,
                       outputs, c + j0, taps, bias);
            }
            continue;
          }
        }
        for (Index p = 0; p < pixels; p += blocks.piece) {
          const Index length = std::min(blocks.piece, pixels - p);
          for (Index i = 0; i < rows.tiles; ++i) {
            const Index r0 = rows.begin(i), r = rows.begin(i + 1) - r0;
            for (Index m = 0; m < count; ++m) {
              const T* const from = dy + ((n + m) * s.O + group * outputs + r0) * pixels + p;
              pack_transposed(from, pixels, r, length, packed + r0 * count * length + m * length * r, r);
              for (Index l = 0; l < r && bias; ++l) bias[r0 + l] += row_sum(from + l * pixels, length);
            }
          }
          for (Index j = j0; j < j1; j += tiles.cols) {
            TileArgs<T> args;
            args.cols = std::min(tiles.cols, j1 - j);
            for (Index m = 0; m < count; ++m) {
              const T* const from = g.in_place() ? source(m) : image(m) + PatchGeometry::margin;
              PixelColumns<T>{g, offsets, from}.pack(p, length, j, args.cols, panel + m * length * tiles.cols,
                                                     tiles.cols);
            }
            args.k = count * length, args.b = panel, args.ldb = tiles.cols, args.c = c + j, args.ldc = taps;
            args.load = load;
            multiply_panel(tiles, rows, 0, rows.tiles, packed, args);
          }
          load = true;
        }
      }
    }
  });
  if (parts > 1) add_parts(sums, parts, weights, dw, write);
  for (Index o = 0; o < s.O && dbias; ++o) {
    double sum = 0;
    for (Index part = 0; part < parts; ++part) sum += bias_sums[part * s.O + o];
    dbias[o] = write == Write::add ? dbias[o] + static_cast<T>(sum) : static_cast<T>(sum);
  }
}

#if QDISTILL_COMPILED
QDISTILL_EXTERN template void conv2d_backward_weights<float>(Cpu, const Conv2dShape&, const float*, const float*,
                                                             float*, float*, Write);
#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels
