/// Winograd convolution backward to the weights (winograd.hpp has the transforms).
///
///   dw (K x K) = A^T [ sum over tiles of (G dy G^T) * (B^T x B) ] A      dy: M x M, x: 6 x 6, M + K = 7
///
/// For each of the 36 points the sum over tiles is a product (outputs x tiles) (tiles x channels). What limits it is
/// the second cache: a task keeps the sums of a few points and output channels there while it takes the tiles through,
/// a block at a time. The tiles are cut into a fixed number of parts, by size only, and the sums of the parts are added
/// in order: the same bits for any number of threads.
#pragma once

#include "qdistill/kernels/cpu/conv_winograd.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

/// How the work is cut into tasks.
struct WinogradSums {
  static constexpr Index panels = 4;  ///< of a block, the length of one product
  Index cuts = 1;                     ///< of the 36 points, 1, 2, 3 or 6
  Index groups = 1;                   ///< of the output channels
  Index parts = 1;                    ///< of the tiles

  WinogradSums(Index tiles, Index channels, Index outputs) noexcept {
    constexpr Index room =
        Index{1} << 20;  // sums of a task, measured: what more cuts save there they lose in transforms
    const Index sums = 36 * channels * outputs;
    while (cuts < 6 && sums > room * cuts) cuts += cuts == 3 ? 3 : 1;
    groups = std::clamp<Index>(ceil_div(sums, room * cuts), 1, std::max<Index>(1, outputs / 32));
    parts = std::min(ceil_div(ceil_div(tiles, TilePanel::size), panels), ceil_div(8, cuts * groups));
  }
};

/// Zeros for the lanes of a panel's tiles that do not exist: D[p][o], rows of `length`.
template <int M>
void clear_unused(Index used, float* d, Index points, Index stride, Index outputs, Index length) {
  const Index lanes = vector_lanes();
  for (Index tile = used; tile < TilePanel::size; ++tile) {
    const Index at = tile / lanes * lanes + tile_lane<M>(tile % lanes, lanes);
    for (Index i = 0; i < points; ++i)
      for (Index o = 0; o < outputs; ++o) d[i * stride + o * length + at] = 0;
  }
}

/// dw (outputs x channels x K x K) = or += A^T S A, where S[p] (outputs x channels) is summed over `parts`.
template <int K>
void winograd_weights_output(const float* sums, Index parts, Index outputs, Index channels, float* dw, Write write) {
  const Index plane = outputs * channels, next = 36 * plane;
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
              for (Index l = 0; l < count; ++l) {
                float sum = from[p * plane + l];
                for (Index part = 1; part < parts; ++part) sum += from[part * next + p * plane + l];
                edge[p][l] = sum;
              }
            from = edge[0], stride = lanes;
          }
          V y[K][6];
          for (int j = 0; j < 6; ++j) {
            V column[6], out[K];
            for (int i = 0; i < 6; ++i) {
              load_lanes(from + (6 * i + j) * stride, column[i]);
              for (Index part = 1; part < parts && count == lanes; ++part) {
                V more;
                load_lanes(from + part * next + (6 * i + j) * stride, more);
                column[i] += more;
              }
            }
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
  const WinogradSums cut(x_tiles.count(), channels, outputs);
  const Index panels = ceil_div(x_tiles.count(), width), blocks = ceil_div(panels, cut.panels);
  const Index length = cut.panels * width, points = 36 / cut.cuts, most = ceil_div(outputs, cut.groups);
  const Index v_stride = channels * length + 16, d_stride = most * length + 16;
  const Index v_bytes = Workspace::round_up(points * v_stride * size);
  const Index d_bytes = Workspace::round_up(points * d_stride * size);
  const Index scratch_bytes =
      Workspace::round_up(std::max(TilePanel::scratch(x_tiles), TilePanel::scratch(dy_tiles)) * size);
  const Index a_bytes = Workspace::round_up(most * length * size), b_bytes = length * tiles.cols * size;
  const Index tasks = cut.parts * cut.cuts * cut.groups;
  Workspace workspace(cut.parts * 36 * plane * size, v_bytes + d_bytes + scratch_bytes + a_bytes + b_bytes, tasks);
  float* const sums = reinterpret_cast<float*>(workspace.shared());
  parallel_for(tasks, 1, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    float* const v = reinterpret_cast<float*>(task.data());
    float* const d = reinterpret_cast<float*>(task.data() + v_bytes);
    float* const a = reinterpret_cast<float*>(task.data() + v_bytes + d_bytes);
    float* const b = reinterpret_cast<float*>(task.data() + v_bytes + d_bytes + a_bytes);
    float* const padded = reinterpret_cast<float*>(task.data() + v_bytes + d_bytes + a_bytes + b_bytes);
    std::memset(padded, 0, static_cast<std::size_t>(scratch_bytes));
    for (Index t = begin; t < end; ++t) {
      const Index part = t / (cut.cuts * cut.groups), group = t % cut.groups, c = t / cut.groups % cut.cuts;
      const int i0 = static_cast<int>(c * 6 / cut.cuts), i1 = static_cast<int>((c + 1) * 6 / cut.cuts);
      const Index o0 = group * outputs / cut.groups, o1 = (group + 1) * outputs / cut.groups;
      const RowSplit rows(o1 - o0, tiles.rows);
      float* const sum = sums + (part * 36 + i0 * 6) * plane + o0 * channels;
      const Index first_block = part * blocks / cut.parts, last_block = (part + 1) * blocks / cut.parts;
      for (Index block = first_block; block < last_block; ++block) {
        const Index p0 = block * cut.panels, p1 = std::min(panels, p0 + cut.panels), depth = (p1 - p0) * width;
        for (Index p = p0; p < p1; ++p) {
          const TilePanel from_x(x_tiles, p), from_dy(dy_tiles, p);
          float* const v_panel = v + (p - p0) * width;
          float* const d_panel = d + (p - p0) * width;
          with_lanes([&](auto vector) QDISTILL_ISA_BODY {
            using V = typename decltype(vector)::Vector;
            TileRows<V, M, 6> x_rows;
            TileRows<V, M, M> dy_rows;
            for (Index i = 0; i < channels; ++i) {
              from_x.pad(x, i, padded);
              transform_tiles<true>(from_x, x_tiles.row(), padded, x_rows, v_panel + i * length, v_stride, i0, i1);
            }
            for (Index i = o0; i < o1; ++i) {
              from_dy.pad(dy, i, padded);
              transform_tiles<false>(from_dy, dy_tiles.row(), padded, dy_rows, d_panel + (i - o0) * length, d_stride,
                                     i0, i1);
            }
          });
          if (p + 1 == panels) clear_unused<M>(x_tiles.count() - p * width, d_panel, points, d_stride, o1 - o0, length);
        }
        for (Index i = 0; i < points; ++i) {
          const MatrixRows<float> left{d + i * d_stride, length, false};
          for (Index r = 0; r < rows.tiles; ++r)
            left.pack(0, depth, rows.begin(r), rows.begin(r + 1) - rows.begin(r), a + rows.begin(r) * depth);
          for (Index j = 0; j < channels; j += tiles.cols) {
            TileArgs<float> args;
            args.cols = std::min(tiles.cols, channels - j);
            MatrixColumns<float>{v + i * v_stride, length, true}.pack(0, depth, j, args.cols, b, tiles.cols);
            args.k = depth, args.b = b, args.ldb = tiles.cols, args.c = sum + i * plane + j, args.ldc = channels;
            args.load = block > first_block;
            multiply_panel(tiles, rows, 0, rows.tiles, a, args);
          }
        }
      }
    }
  });
  winograd_weights_output<K>(sums, cut.parts, outputs, channels, dw, write);
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
