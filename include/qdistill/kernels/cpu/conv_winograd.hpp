/// Winograd convolution, forward and backward to the data (winograd.hpp has the transforms).
///
///   M[i] (rows x tiles) = U[i] (rows x depth)  V[i] (depth x tiles)      for each of the 36 points i
///
/// U are the transformed filters, packed once as left factors; V the transformed tiles of the images, written as the
/// panels of 32 tiles that the register tile reads; M is transformed back into pixels. A task takes one panel through
/// all three steps, so V and M stay in the second cache; where there are few panels, each step is cut into tasks of its
/// own, by channels, points and rows. Tiles run over all images, so small images fill panels too.
#pragma once

#include "qdistill/kernels/cpu/conv_algorithm.hpp"
#include "qdistill/kernels/cpu/conv_patches.hpp"
#include "qdistill/kernels/cpu/gemm_block.hpp"
#include "qdistill/kernels/cpu/winograd.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

/// Images cut into tiles of `step` x `step` pixels, of which tile (i, j) reads the 6 x 6 (or step x step) pixels from
/// (i step - pad_h, j step - pad_w) on.
struct TileGeometry {
  Index images, channels, height, width;  ///< of the images that are read
  Index pad_h, pad_w;
  Index step, reach;  ///< reach: 6, or step where tiles do not overlap
  Index down, across;

  Index count() const noexcept { return images * down * across; }
  /// Pixels of a padded row, all tiles of it and what they reach.
  Index row() const noexcept { return across * step + reach - step; }
};

/// The tiles of one panel: runs of neighbours, and the rows of the images that they read.
class TilePanel {
 public:
  static constexpr Index size = 32, half = 16;

  struct Run {
    Index lane = 0, count = 0;  ///< tiles lane .. lane + count - 1 of the panel; within one vector
    Index image = 0, down = 0, across = 0;
    Index offset = 0;  ///< of the first tile's first pixel in the padded rows
  };

  TilePanel(const TileGeometry& g, Index panel) noexcept : geometry_(g) {
    const Index first = panel * size, last = std::min(g.count(), first + size), lanes = vector_lanes();
    Index rows_used = 0;
    for (Index t = first; t < last;) {
      const Index image = t / (g.down * g.across), i = t / g.across % g.down, j = t % g.across;
      const Index lane = t - first;
      const Index count = std::min({last - t, g.across - j, lanes - lane % lanes});
      if (images_ == 0 || image != image_[images_ - 1].image) {
        const Index until = std::min(last, (image + 1) * g.down * g.across) - 1;  // its last tile in this panel
        const Index bottom = until / g.across % g.down;
        image_[images_++] = {image, i, (bottom - i) * g.step + g.reach, rows_used};
        rows_used += (bottom - i) * g.step + g.reach;
      }
      const Image& at = image_[images_ - 1];
      run_[runs_++] = {lane, count, image, i, j, (at.offset + (i - at.down) * g.step) * g.row() + j * g.step};
      t += count;
    }
  }
  /// Floats that `pad` may write, for any panel.
  static Index scratch(const TileGeometry& g) noexcept {
    const Index per_image = g.down * g.step + g.reach - g.step;
    const Index in_one = std::min(per_image, ceil_div(size + g.across - 1, g.across) * g.step + g.reach);
    const Index images = std::min(g.images, ceil_div(size, g.down * g.across) + 1);
    return (images * std::min(per_image, in_one) + 2) * g.row() + 128;
  }
  /// The rows of channel c that the panel reads, padded with zeros, into `to`.
  void pad(const float* src, Index c, float* to) const noexcept {
    const TileGeometry& g = geometry_;
    for (int n = 0; n < images_; ++n) {
      const Image& image = image_[n];
      const Index top = image.down * g.step - g.pad_h, skip = std::max<Index>(0, top);
      const PatchGeometry patches{1,       std::max<Index>(0, g.height - skip),
                                  g.width, std::max<Index>(0, -top),
                                  g.pad_w, image.rows,
                                  g.row(), 1,
                                  1,       1,
                                  1,       1,
                                  1};
      copy_padded(patches, src + ((image.image * g.channels + c) * g.height + std::min(skip, g.height)) * g.width,
                  to + image.offset * g.row());
    }
  }
  /// Columns of the products that are needed: one half or both.
  Index columns() const noexcept { return runs_ > 0 && run_[runs_ - 1].lane >= half ? size : half; }
  const Run* begin() const noexcept { return run_; }
  const Run* end() const noexcept { return run_ + runs_; }

 private:
  struct Image {
    Index image = 0, down = 0, rows = 0, offset = 0;
  };
  void copy_padded(const PatchGeometry& g, const float* src, float* to) const noexcept {
    // The next channel's rows are far away in memory: fetched now, they are there when their turn comes.
    for (Index h = 0; h < std::min(g.src_h, g.rows); ++h)
      for (Index w = 0; w < g.src_w; w += 16) __builtin_prefetch(src + geometry_.height * g.src_w + h * g.src_w + w);
#if QDISTILL_X86
    if (g.cols <= 128 && active_isa() == Isa::avx512) return pad_channels_avx512(g, src, 0, 1, to);
    if (g.cols <= 128 && active_isa() == Isa::avx2) return pad_channels_avx2(g, src, 0, 1, to);
#endif
    for (Index r = 0; r < g.rows; ++r, to += g.cols) {
      std::memset(to, 0, static_cast<std::size_t>(g.cols) * sizeof(float));
      const Index h = r - g.pad_top, count = std::min(g.src_w, g.cols - g.pad_left);
      if (h < 0 || h >= g.src_h || count <= 0) continue;
      std::memcpy(to + g.pad_left, src + h * g.src_w, static_cast<std::size_t>(count) * sizeof(float));
    }
  }
  TileGeometry geometry_;
  Run run_[size];
  Image image_[size];
  int runs_ = 0, images_ = 0;
};

/// Where a panel's transformed tiles lie: point p, channel c at p * stride + c * 32. The stride is not a multiple of
/// 4 KiB, on which the 36 stores of a tile would fall into one set of the first cache.
constexpr Index winograd_stride(Index channels) noexcept { return channels * TilePanel::size + 16; }
/// The same for filters of `rows` x `depth`.
constexpr Index filter_stride(Index rows, Index depth) noexcept { return rows * depth + 16; }

/// Rows of one vector of tiles after the vertical transform, once for each shift by whole tiles that a tile reaches.
template <class V, int M, int Reach>
struct TileRows {
  static constexpr int lanes = lane_count<V>, shifts = (Reach + M - 1) / M;
  float row[6][shifts][lanes * M + lanes] = {};
};

/// V[p][c] <- tiles of one channel. `padded` is what TilePanel::pad wrote. Input: B^T d B for tiles of 6 x 6;
/// otherwise G d G^T for tiles of M x M.
/// Only points [6 first, 6 last), the first of which goes to v, and `columns`.
template <bool Input, class V, int M, int Reach>
QDISTILL_INLINE void transform_tiles(const TilePanel& panel, Index row, const float* padded, TileRows<V, M, Reach>& t,
                                     float* v, Index stride, int first = 0, int last = 6,
                                     Index columns = TilePanel::size) {
  static_assert(Reach == (Input ? 6 : M));
  constexpr int shifts = TileRows<V, M, Reach>::shifts;
  constexpr Index lanes = lane_count<V>;
  const TilePanel::Run* run = panel.begin();
  for (Index begin = 0; begin < columns; begin += lanes) {
    for (; run != panel.end() && run->lane < begin + lanes; ++run) {
      const Index at = (run->lane - begin) * M, length = run->count * M;
      for (int s = 0; s < shifts; ++s) {
        // A vector may reach past the run; what it spoils there is written later.
        for (Index x = 0; x < length; x += lanes) {
          const float* const from = padded + run->offset + s * M + x;
          V d[Reach], u[6];
          QDISTILL_UNROLL
          for (int i = 0; i < Reach; ++i) load_lanes(from + i * row, d[i]);
          if constexpr (Input) winograd_input(d, u);
          else winograd_filter<M>(d, u);
          QDISTILL_UNROLL
          for (int i = 0; i < 6; ++i) store_lanes(&t.row[i][s][at + x], u[i]);
        }
      }
    }
    float* const to = v + begin;
    for (int i = first; i < last; ++i) {
      V d[shifts * M], u[6];
      QDISTILL_UNROLL
      for (int s = 0; s < shifts; ++s) deinterleave<M>(t.row[i][s], d + s * M);
      if constexpr (Input) winograd_input(d, u);
      else winograd_filter<M>(d, u);
      QDISTILL_UNROLL
      for (int j = 0; j < 6; ++j) store_lanes(to + (6 * (i - first) + j) * stride, u[j]);
    }
  }
}

/// What happens to the pixels: as Epilogue.
struct PixelEpilogue {
  const float* bias;  ///< of the row, or null
  bool relu;
  Write write;
};

/// Pixels of one row of the product (one output channel) from M[p][row]; images of `height` x `width`, `dst` the
/// channel's plane of image 0, `next` elements to that of the next image.
template <int M, class V>
QDISTILL_INLINE void write_pixels(const TilePanel& panel, const float* m, Index stride, const PixelEpilogue& e,
                                  Index height, Index width, float* dst, Index next) {
  constexpr Index lanes = lane_count<V>;
  float strip[M][lanes * M];
  const TilePanel::Run* run = panel.begin();
  for (Index begin = 0; run != panel.end(); begin += lanes) {
    V y[M][6];
    const float* const from = m + begin;
    for (int j = 0; j < 6; ++j) {
      V column[6], out[M];
      QDISTILL_UNROLL
      for (int i = 0; i < 6; ++i) load_lanes(from + (6 * i + j) * stride, column[i]);
      winograd_output<M>(column, out);
      QDISTILL_UNROLL
      for (int a = 0; a < M; ++a) y[a][j] = out[a];
    }
    const float bias = e.bias ? *e.bias : 0.0f;
    for (int a = 0; a < M; ++a) {
      V out[M];
      winograd_output<M>(y[a], out);
      QDISTILL_UNROLL
      for (int b = 0; b < M; ++b) {
        out[b] += bias;
        if (e.relu) out[b] = out[b] < 0.0f ? V{} : out[b];
      }
      interleave<M>(out);
      QDISTILL_UNROLL
      for (int b = 0; b < M; ++b) store_lanes(&strip[a][lanes * b], out[b]);
    }
    for (; run != panel.end() && run->lane < begin + lanes; ++run) {
      const Index lane = run->lane - begin, x = run->across * M;
      const Index count = std::min(run->count * M, width - x), rows = std::min<Index>(M, height - run->down * M);
      float* to = dst + run->image * next + run->down * M * width + x;
      for (Index a = 0; a < rows; ++a, to += width) {
        const float* __restrict const line = &strip[a][lane * M];
        float* __restrict const out = to;
        if (e.write == Write::add) {
          QDISTILL_SIMD
          for (Index i = 0; i < count; ++i) out[i] += line[i];
        } else {
          QDISTILL_SIMD
          for (Index i = 0; i < count; ++i) out[i] = line[i];
        }
      }
    }
  }
}

/// U: for each of the 36 points the filters as packed left factor (PackedRows), `rows` x `depth`. `weights` packs
/// R x R taps of each element of the sum, in reverse order where `reverse`.
template <int R, class Weights>
void transform_filters(const Weights& weights, const RowSplit& rows, const DepthSplit& depth, bool reverse, float* u) {
  constexpr Index taps = R * R, chunk = 16;
  const Index next = filter_stride(rows.rows, depth.depth), chunks = ceil_div(depth.block, chunk);
  parallel_for(rows.tiles * depth.blocks * chunks, 4, [&](Index begin, Index end) {
    alignas(64) float packed[(chunk * taps + 2) * 16];
    for (Index t = begin; t < end; ++t) {
      const Index tile = t / (depth.blocks * chunks), kb = t / chunks % depth.blocks;
      const Index k0 = depth.begin(kb), length = depth.begin(kb + 1) - k0;
      const Index r0 = rows.begin(tile), r = rows.begin(tile + 1) - r0;
      const Index c0 = t % chunks * chunk, c1 = std::min(length, c0 + chunk);
      if (c0 >= c1) continue;
      weights.pack((k0 + c0) * taps, (c1 - c0) * taps, r0, r, packed);
      float* const out = u + k0 * rows.rows + r0 * length;
      with_lanes([&](auto vector) QDISTILL_ISA_BODY {
        using V = typename decltype(vector)::Vector;
        for (Index c = c0; c < c1; ++c) {
          V g[R][R], half[R][6], point[6];
          const float* const from = packed + (c - c0) * taps * r;
          for (int i = 0; i < R; ++i)
            for (int j = 0; j < R; ++j) {
              const Index tap = reverse ? taps - 1 - (i * R + j) : i * R + j;
              load_lanes(from + tap * r, g[j][i]);
            }
          for (int j = 0; j < R; ++j) winograd_filter<R>(g[j], half[j]);  // along i
          for (int i = 0; i < 6; ++i) {
            V line[R];
            for (int j = 0; j < R; ++j) line[j] = half[j][i];
            winograd_filter<R>(line, point);
            // A whole vector where what it spoils is written later.
            for (int j = 0; j < 6; ++j) {
              float* const to = out + (6 * i + j) * next + c * r;
              if ((c1 - c) * r >= lane_count<V>) store_lanes(to, point[j]);
              else std::memcpy(to, &point[j], static_cast<std::size_t>(r) * sizeof(float));
            }
          }
        }
      });
    }
  });
}

/// Filters that transform_filters wrote before.
struct TransformedFilters {
  const float* u;
};

/// The three steps of one product, each for a part of a panel.
template <int R>
struct WinogradSteps {
  static constexpr int M = 7 - R;
  const TileGeometry& g;
  const TileSet<float>& tiles;
  RowSplit rows;
  DepthSplit depth;
  Index u_stride, v_stride, m_stride;
  const float* u;

  /// V of channels [c0, c1). `padded`: TilePanel::scratch elements.
  void load(const TilePanel& panel, Index c0, Index c1, const float* src, float* padded, float* v) const {
    with_lanes([&](auto vector) QDISTILL_ISA_BODY {
      TileRows<typename decltype(vector)::Vector, M, 6> rows_of_tiles;
      for (Index c = c0; c < c1; ++c) {
        panel.pad(src, c, padded);
        transform_tiles<true>(panel, g.row(), padded, rows_of_tiles, v + c * TilePanel::size, v_stride, 0, 6,
                              panel.columns());
      }
    });
  }
  /// M of one point, `columns` of the panel.
  void multiply(Index point, Index columns, const float* v, float* m) const {
    for (Index kb = 0; kb < depth.blocks; ++kb)
      for (Index j = 0; j < columns; j += tiles.cols) {
        TileArgs<float> args;
        const Index k0 = depth.begin(kb);
        args.k = depth.begin(kb + 1) - k0, args.b = v + point * v_stride + k0 * TilePanel::size + j;
        args.ldb = TilePanel::size, args.c = m + point * m_stride + j, args.ldc = TilePanel::size;
        args.cols = std::min(tiles.cols, columns - j), args.load = kb > 0;
        multiply_panel(tiles, rows, 0, rows.tiles, u + point * u_stride + k0 * rows.rows, args);
      }
  }
  /// The pixels of rows [r0, r1).
  void store(const TilePanel& panel, Index r0, Index r1, const float* m, const Epilogue<float>& epilogue, Index out_h,
             Index out_w, float* dst) const {
    with_lanes([&](auto vector) QDISTILL_ISA_BODY {
      for (Index r = r0; r < r1; ++r) {
        const PixelEpilogue e{epilogue.bias_row ? epilogue.bias_row + r : nullptr, epilogue.relu, epilogue.write};
        write_pixels<M, typename decltype(vector)::Vector>(panel, m + r * TilePanel::size, m_stride, e, out_h, out_w,
                                                           dst + r * out_h * out_w, rows.rows * out_h * out_w);
      }
    });
  }
};

/// dst (images x rows x out_h x out_w) = epilogue of the product of `weights` with the tiles of src.
template <int R, class Weights>
void winograd_product(const TileGeometry& g, Index out_rows, Index out_h, Index out_w, const float* src, float* dst,
                      const Epilogue<float>& epilogue, const Weights& weights, bool reverse) {
  constexpr bool transformed = std::is_same_v<Weights, TransformedFilters>;
  constexpr Index size = static_cast<Index>(sizeof(float));
  WinogradSteps<R> steps{g,
                         tile_set<float>(),
                         RowSplit(out_rows, tile_set<float>().rows),
                         DepthSplit(g.channels, false),
                         filter_stride(out_rows, g.channels),
                         winograd_stride(g.channels),
                         winograd_stride(out_rows),
                         nullptr};
  const Index v_bytes = Workspace::round_up(36 * steps.v_stride * size);
  const Index m_bytes = Workspace::round_up(36 * steps.m_stride * size);
  const Index pad_bytes = Workspace::round_up(TilePanel::scratch(g) * size);
  const Index u_bytes = transformed ? 0 : Workspace::round_up(36 * steps.u_stride * size);
  const Index panels = ceil_div(g.count(), TilePanel::size);
  const bool few = panels < 8;
  Workspace workspace(u_bytes + (few ? panels * (v_bytes + m_bytes) : 0), pad_bytes + (few ? 0 : v_bytes + m_bytes),
                      few ? 64 : panels);
  if constexpr (transformed) {
    steps.u = weights.u;
  } else {
    float* const u = reinterpret_cast<float*>(workspace.shared());
    transform_filters<R>(weights, steps.rows, steps.depth, reverse, u);
    steps.u = u;
  }
  // Calls f(first, last, scratch) with cleared memory of its own.
  const auto with_scratch = [&](Index count, Index grain, auto f) {
    parallel_for(count, grain, [&](Index begin, Index end) {
      const Workspace::Task task(workspace);
      float* const padded = reinterpret_cast<float*>(task.data());
      std::memset(padded, 0, static_cast<std::size_t>(pad_bytes));
      f(begin, end, padded);
    });
  };
  if (!few) {
    with_scratch(panels, 1, [&](Index begin, Index end, float* padded) {
      float* const v = padded + pad_bytes / size;
      float* const m = v + v_bytes / size;
      for (Index p = begin; p < end; ++p) {
        const TilePanel panel(g, p);
        steps.load(panel, 0, g.channels, src, padded, v);
        for (Index i = 0; i < 36; ++i) steps.multiply(i, panel.columns(), v, m);
        steps.store(panel, 0, out_rows, m, epilogue, out_h, out_w, dst);
      }
    });
    return;
  }
  float* const vs = reinterpret_cast<float*>(workspace.shared() + u_bytes);
  float* const ms = vs + panels * v_bytes / size;
  constexpr Index run = 16;  // channels or rows of a task
  const Index loads = ceil_div(g.channels, run), stores = ceil_div(out_rows, run);
  with_scratch(panels * loads, 1, [&](Index begin, Index end, float* padded) {
    for (Index t = begin; t < end; ++t) {
      const Index p = t / loads, c = t % loads * run;
      steps.load(TilePanel(g, p), c, std::min(g.channels, c + run), src, padded, vs + p * v_bytes / size);
    }
  });
  const double work = static_cast<double>(out_rows * g.channels) * static_cast<double>(panels * TilePanel::size);
  parallel_for(36, std::max<Index>(1, static_cast<Index>(5e5 / work)), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      for (Index p = 0; p < panels; ++p)
        steps.multiply(i, TilePanel(g, p).columns(), vs + p * v_bytes / size, ms + p * m_bytes / size);
  });
  parallel_for(panels * stores, 1, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      const Index p = t / stores, r = t % stores * run;
      steps.store(TilePanel(g, p), r, std::min(out_rows, r + run), ms + p * m_bytes / size, epilogue, out_h, out_w,
                  dst);
    }
  });
}

/// dst (images x out_rows x out_h x out_w) = the correlation of src (images x channels x height x width, padded) with
/// kernels of `kernel` x `kernel` taps, 3 or 5.
template <class Weights>
void winograd(Index kernel, Index images, Index channels, Index height, Index width, Index pad_h, Index pad_w,
              Index out_rows, Index out_h, Index out_w, const float* src, float* dst, const Epilogue<float>& epilogue,
              const Weights& weights, bool reverse) {
  const Index m = 7 - kernel;
  const TileGeometry g{images, channels, height, width, pad_h, pad_w, m, 6, ceil_div(out_h, m), ceil_div(out_w, m)};
  if (kernel == 3) winograd_product<3>(g, out_rows, out_h, out_w, src, dst, epilogue, weights, reverse);
  else winograd_product<5>(g, out_rows, out_h, out_w, src, dst, epilogue, weights, reverse);
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
