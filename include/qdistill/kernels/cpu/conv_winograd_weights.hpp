/// Winograd convolution backward to the weights (winograd.hpp has the transforms).
///
///   dw (K x K) = A^T [ sum over tiles of (G dy G^T) * (B^T x B) ] A      dy: M x M, x: 6 x 6, M + K = 7
///
/// For each of the 36 points the sum over tiles is a product (outputs x tiles) (tiles x channels). The tiles come a
/// block at a time: all threads transform its panels, channels and outputs apart, then each takes points and adds the
/// block to their sums. Nothing is transformed twice, each sum has one owner, and blocks follow in order: the same bits
/// for any number of threads.
#pragma once

#include "qdistill/kernels/cpu/conv_winograd.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

/// Panels of a block. Each block reads and writes all sums, so it is as long as the packed columns of a product may be,
/// or half of that where the transformed tiles would fill more than 6 MB of the third cache; both measured.
inline Index winograd_block(Index channels, Index outputs) noexcept {
  constexpr Index most = block_depth / TilePanel::size;
  return 36 * (channels + outputs) * block_depth * static_cast<Index>(sizeof(float)) > 6 << 20 ? most / 2 : most;
}

/// Zeros for the lanes of a panel's tiles that do not exist: D[p][o], rows of `length`.
template <int M>
void clear_unused(Index used, float* d, Index stride, Index outputs, Index length) {
  const Index lanes = vector_lanes();
  for (Index tile = used; tile < TilePanel::size; ++tile) {
    const Index at = tile / lanes * lanes + tile_lane<M>(tile % lanes, lanes);
    for (Index i = 0; i < 36; ++i)
      for (Index o = 0; o < outputs; ++o) d[i * stride + o * length + at] = 0;
  }
}

/// dw (outputs x channels x K x K) = or += A^T S A, for S[p] (outputs x channels).
template <int K>
void winograd_weights_output(const float* sums, Index outputs, Index channels, float* dw, Write write) {
  const Index plane = outputs * channels;
  parallel_for(outputs, std::max<Index>(1, 512 / channels), [&](Index begin, Index end) {
    with_lanes([&](auto vector) QDISTILL_ISA_BODY {
      using V = typename decltype(vector)::Vector;
      constexpr Index lanes = lane_count<V>;
      alignas(64) float edge[36][lanes] = {};
      for (Index o = begin; o < end; ++o)
        for (Index c = 0; c < channels; c += lanes) {
          const float* from = sums + o * channels + c;
          const Index count = std::min(lanes, channels - c);
          Index stride = plane;
          if (count < lanes) {
            for (Index p = 0; p < 36; ++p)
              for (Index l = 0; l < count; ++l) edge[p][l] = from[p * plane + l];
            from = edge[0], stride = lanes;
          }
          V y[K][6];
          for (int j = 0; j < 6; ++j) {
            V column[6], out[K];
            for (int i = 0; i < 6; ++i) load_lanes(from + (6 * i + j) * stride, column[i]);
            winograd_output<K>(column, out);
            for (int a = 0; a < K; ++a) y[a][j] = out[a];
          }
          alignas(64) float taps[K * K][lanes];
          for (int a = 0; a < K; ++a) {
            V out[K];
            winograd_output<K>(y[a], out);
            for (int b = 0; b < K; ++b) store_lanes(taps[a * K + b], out[b]);
          }
          float* const to = dw + (o * channels + c) * K * K;
          for (Index l = 0; l < count; ++l)
            for (int t = 0; t < K * K; ++t)
              to[l * K * K + t] = write == Write::add ? to[l * K * K + t] + taps[t][l] : taps[t][l];
        }
    });
  });
}

/// dw for kernels of K x K taps. x: the images; dy: their tiles of M x M output pixels.
template <int K>
void winograd_weights(const TileGeometry& x_tiles, const TileGeometry& dy_tiles, const float* x, const float* dy,
                      float* dw, Write write) {
  constexpr int M = 7 - K;
  constexpr Index size = static_cast<Index>(sizeof(float)), width = TilePanel::size;
  const Index channels = x_tiles.channels, outputs = dy_tiles.channels, plane = outputs * channels;
  const TileSet<float>& tiles = tile_set<float>();
  const RowSplit rows(outputs, tiles.rows);
  const Index panels = ceil_div(x_tiles.count(), width), blocks = ceil_div(panels, winograd_block(channels, outputs));
  const Index length = ceil_div(panels, blocks) * width;
  const Index v_stride = channels * length + 16, d_stride = outputs * length + 16;
  const Index sum_bytes = Workspace::round_up(36 * plane * size), v_bytes = Workspace::round_up(36 * v_stride * size);
  const Index pad_bytes =
      Workspace::round_up(std::max(TilePanel::scratch(x_tiles), TilePanel::scratch(dy_tiles)) * size);
  const Index a_bytes = Workspace::round_up(outputs * length * size), b_bytes = length * tiles.cols * size;
  Workspace workspace(sum_bytes + v_bytes + 36 * d_stride * size, std::max(pad_bytes, a_bytes + b_bytes), 64);
  float* const sums = reinterpret_cast<float*>(workspace.shared());
  float* const v = reinterpret_cast<float*>(workspace.shared() + sum_bytes);
  float* const d = reinterpret_cast<float*>(workspace.shared() + sum_bytes + v_bytes);
  constexpr Index run = 32;  // channels or outputs of a task
  const Index x_tasks = ceil_div(channels, run), dy_tasks = ceil_div(outputs, run);
  for (Index block = 0; block < blocks; ++block) {
    const Index p0 = block * panels / blocks, p1 = (block + 1) * panels / blocks, depth = (p1 - p0) * width;
    parallel_for((p1 - p0) * (x_tasks + dy_tasks), 1, [&](Index begin, Index end) {
      const Workspace::Task task(workspace);
      float* const padded = reinterpret_cast<float*>(task.data());
      std::memset(padded, 0, static_cast<std::size_t>(pad_bytes));
      for (Index t = begin; t < end; ++t) {
        const Index p = p0 + t / (x_tasks + dy_tasks), i = t % (x_tasks + dy_tasks), column = (p - p0) * width;
        with_lanes([&](auto vector) QDISTILL_ISA_BODY {
          using V = typename decltype(vector)::Vector;
          if (i < x_tasks) {
            const TilePanel panel(x_tiles, p);
            TileRows<V, M, 6> transformed;
            for (Index c = i * run; c < std::min(channels, (i + 1) * run); ++c) {
              panel.pad(x, c, padded);
              transform_tiles<true>(panel, x_tiles.row(), padded, transformed, v + c * length + column, v_stride);
            }
          } else {
            const TilePanel panel(dy_tiles, p);
            TileRows<V, M, M> transformed;
            for (Index o = (i - x_tasks) * run; o < std::min(outputs, (i - x_tasks + 1) * run); ++o) {
              panel.pad(dy, o, padded);
              transform_tiles<false>(panel, dy_tiles.row(), padded, transformed, d + o * length + column, d_stride);
            }
          }
        });
      }
    });
    if (p1 == panels)
      clear_unused<M>(x_tiles.count() - (panels - 1) * width, d + depth - width, d_stride, outputs, length);
    parallel_for(36, 1, [&](Index begin, Index end) {
      const Workspace::Task task(workspace);
      float* const a = reinterpret_cast<float*>(task.data());
      float* const b = reinterpret_cast<float*>(task.data() + a_bytes);
      for (Index i = begin; i < end; ++i) {
        const MatrixRows<float> left{d + i * d_stride, length, false};
        for (Index r = 0; r < rows.tiles; ++r)
          left.pack(0, depth, rows.begin(r), rows.begin(r + 1) - rows.begin(r), a + rows.begin(r) * depth);
        for (Index j = 0; j < channels; j += tiles.cols) {
          TileArgs<float> args;
          args.cols = std::min(tiles.cols, channels - j);
          MatrixColumns<float>{v + i * v_stride, length, true}.pack(0, depth, j, args.cols, b, tiles.cols);
          args.k = depth, args.b = b, args.ldb = tiles.cols, args.c = sums + i * plane + j, args.ldc = channels;
          args.load = block > 0;
          multiply_panel(tiles, rows, 0, rows.tiles, a, args);
        }
      }
    });
  }
  winograd_weights_output<K>(sums, outputs, channels, dw, write);
}

inline void winograd_weights(const Conv2dShape& s, const float* x, const float* dy, float* dw, Write write) {
  const Index m = 7 - s.KH, down = ceil_div(s.out_h(), m), across = ceil_div(s.out_w(), m);
  const TileGeometry x_tiles{s.N, s.C, s.H, s.W, s.pad_h, s.pad_w, m, 6, down, across};
  const TileGeometry dy_tiles{s.N, s.O, s.out_h(), s.out_w(), 0, 0, m, m, down, across};
  if (s.KH == 3) winograd_weights<3>(x_tiles, dy_tiles, x, dy, dw, write);
  else winograd_weights<5>(x_tiles, dy_tiles, x, dy, dw, write);
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
