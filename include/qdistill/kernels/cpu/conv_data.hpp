/// Convolution backward to the data: again an implicit matrix product over image patches, those of dy.
///
///   dx[n] (C x pixels) = weight^T (C x taps)  patches of dy[n] (taps x pixels)
///
/// A stride splits the pixels (h, w) of dx into phases, (h mod stride_h, w mod stride_w): all pixels of a phase are
/// reached by the same few taps, so each phase is a product of its own, with the patches of stride 1 over dy. Nothing
/// is multiplied with zeros between pixels.
#pragma once

#include "qdistill/core/compiled.hpp"
#include "qdistill/kernels/cpu/conv.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// One dimension of a convolution seen from its input.
struct ReverseAxis {
  Index size, taps, stride, pad, dil;
  Index low = 0, high = 0;  ///< least and greatest shift

  ReverseAxis(Index size_, Index taps_, Index stride_, Index pad_, Index dil_) noexcept
      : size(size_), taps(taps_), stride(stride_), pad(pad_), dil(dil_) {
    for (Index p = 0; p < phases(); ++p)
      for (Index k = 0; k < taps; ++k)
        if (reaches(p, k)) low = std::min(low, shift(p, k)), high = std::max(high, shift(p, k));
  }
  /// Phases that occur, and positions of one of them: phase, phase + stride, ...
  Index phases() const noexcept { return std::min(stride, size); }
  Index count(Index phase) const noexcept { return (size - phase + stride - 1) / stride; }
  /// True if tap k contributes to `phase`; its position i then takes it from output i + shift.
  bool reaches(Index phase, Index k) const noexcept { return (phase + pad - k * dil) % stride == 0; }
  Index shift(Index phase, Index k) const noexcept { return (phase + pad - k * dil) / stride; }
  /// Length of the padded dy that all phases read.
  Index length() const noexcept { return count(0) + high - low; }
};

/// The weights of one phase as left factor: row c, element (o, tap) of the sum, for the taps listed.
template <class T>
struct BackwardWeights {
  const T* w;
  Index outputs, channels, window;  ///< of one group; taps of the whole kernel
  const Index* taps;                ///< the phase's taps, as kh KW + kw; null: all, in order
  Index count;                      ///< how many

  BackwardWeights group(Index i) const noexcept {
    return {w + i * outputs * channels * window, outputs, channels, window, taps, count};
  }
  void pack(Index k0, Index k, Index row, Index rows, T* panel) const {
    if (k <= 0) return;
    Index o = k0 / count, t = k0 % count;
    for (Index i = 0; i < k; ++i, panel += rows) {
      const T* const column = w + (o * channels + row) * window + (taps ? taps[t] : t);
      for (Index c = 0; c < rows; ++c) panel[c] = column[c * window];
      if (++t == count) t = 0, ++o;
    }
  }
};

/// The phases of a strided convolution: each is multiplied into a part of its own and scattered into dx.
template <class T>
void backward_phases(const Conv2dShape& s, const ReverseAxis& down, const ReverseAxis& across, const PatchGeometry& all,
                     const T* dy, const T* w, T* dx, Write write) {
  const Index channels = s.C / s.groups, outputs = all.channels, window = s.KH * s.KW, items = s.N * s.groups;
  const Index across_phases = across.phases(), phases = down.phases() * across_phases;
  const TileSet<T>& tiles = tile_set<T>();
  const RowSplit rows(channels, tiles.rows);
  constexpr Index size = static_cast<Index>(sizeof(T)), index_size = static_cast<Index>(sizeof(Index));
  const Index table_bytes = Workspace::round_up((phases + 1 + window + outputs * window) * index_size);
  const Index image_bytes = Workspace::round_up(all.scratch() * size);
  const Index part_bytes = Workspace::round_up(channels * all.pixels() * size);
  Index panel_size = 0;
  for (Index count = 0; count <= window; ++count)
    panel_size = std::max(panel_size, panel_elements(tiles, DepthSplit(outputs * count, false), all.pixels()));
  const double work = static_cast<double>(channels * outputs) * static_cast<double>(all.pixels() * window) /
                      static_cast<double>(phases);
  const Index grain = std::max<Index>(1, static_cast<Index>(5e5 / (work + 1)));
  Workspace workspace(table_bytes + s.groups * channels * outputs * window * size,
                      image_bytes + part_bytes + panel_size * size, ceil_div(items * phases, grain));

  // Taps of phase p, a tap being of one phase only: taps[start[p] .. start[p + 1]), with offsets for each output
  // channel.
  Index* const start = reinterpret_cast<Index*>(workspace.shared());
  Index* const taps = start + phases + 1;
  Index* const offsets = taps + window;
  T* const packed = reinterpret_cast<T*>(workspace.shared() + table_bytes);
  start[0] = 0;
  for (Index p = 0; p < phases; ++p) {
    Index end = start[p];
    for (Index kh = 0; kh < s.KH; ++kh)
      for (Index kw = 0; kw < s.KW; ++kw)
        if (down.reaches(p / across_phases, kh) && across.reaches(p % across_phases, kw)) taps[end++] = kh * s.KW + kw;
    start[p + 1] = end;
    const Index count = end - start[p];
    for (Index o = 0; o < outputs; ++o)
      for (Index t = 0; t < count; ++t) {
        const Index tap = taps[start[p] + t];
        offsets[outputs * start[p] + o * count + t] =
            all.offset(o, down.shift(p / across_phases, tap / s.KW) - down.low,
                       across.shift(p % across_phases, tap % s.KW) - across.low);
      }
    pack_groups(BackwardWeights<T>{w, outputs, channels, window, taps + start[p], count}, s.groups, rows,
                DepthSplit(outputs * count, false), packed + s.groups * channels * outputs * start[p]);
  }

  parallel_for(items * phases, grain, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const part = reinterpret_cast<T*>(task.data() + image_bytes);
    const T* image = nullptr;
    for (Index t = begin; t < end; ++t) {
      const Index item = t / phases, p = t % phases, count = start[p + 1] - start[p];
      if (t == begin || p == 0)
        image = padded_image(all, dy + item * outputs * all.src_h * all.src_w, reinterpret_cast<T*>(task.data()));
      PatchGeometry g = all;
      g.out_h = down.count(p / across_phases), g.out_w = across.count(p % across_phases);
      const Index pixels = g.pixels(), depth = outputs * count;
      const DepthSplit sum(depth, false);
      const PackedRows<T> left{packed + s.groups * channels * outputs * start[p] + item % s.groups * channels * depth,
                               rows, sum, 0, sum.blocks};
      multiply_columns(tiles, left, 0, rows.tiles, PatchColumns<T>{g, offsets + outputs * start[p], image}, 0, pixels,
                       part, pixels, Epilogue<T>{}, reinterpret_cast<T*>(task.data() + image_bytes + part_bytes));
      const T* from = part;
      for (Index c = 0; c < channels; ++c)
        for (Index i = 0; i < g.out_h; ++i, from += g.out_w) {
          const Index h = p / across_phases + i * s.stride_h;
          T* const to = dx + ((item * channels + c) * s.H + h) * s.W + p % across_phases;
          if (write == Write::add) {
            for (Index j = 0; j < g.out_w; ++j) to[j * s.stride_w] += from[j];
          } else {
            for (Index j = 0; j < g.out_w; ++j) to[j * s.stride_w] = from[j];
          }
        }
    }
  });
}

}  // namespace detail

/// dx (N, C, H, W) = gradient of the convolution to its input, from dy (N, O, out_h, out_w) and w (O, C / groups, KH,
/// KW).
template <class T>
void conv2d_backward_data(Cpu, const Conv2dShape& s, const T* dy, const T* w, T* dx, Write write) {
  using namespace detail;
  const Index channels = s.C / s.groups, outputs = s.O / s.groups, window = s.KH * s.KW;
  if (s.N <= 0 || channels <= 0 || s.H <= 0 || s.W <= 0) return;
  const Epilogue<T> epilogue{nullptr, nullptr, false, write};
  const BackwardWeights<T> weights{w, outputs, channels, window, nullptr, window};
  if constexpr (winograd_scalar<T>) {
    if (conv_algorithm<T>(s, ConvPass::data) == ConvAlgorithm::winograd)
      return winograd(s.KH, s.N, s.O, s.out_h(), s.out_w(), s.KH - 1 - s.pad_h, s.KW - 1 - s.pad_w, s.C, s.H, s.W, dy,
                      dx, epilogue, weights, true);
  }
  const ReverseAxis down(s.H, s.KH, s.stride_h, s.pad_h, s.dil_h), across(s.W, s.KW, s.stride_w, s.pad_w, s.dil_w);
  const PatchGeometry g{outputs, s.out_h(), s.out_w(), -down.low, -across.low,   down.length(),  across.length(),
                        1,       1,         1,         1,         down.count(0), across.count(0)};
  if (down.phases() * across.phases() > 1) return backward_phases(s, down, across, g, dy, w, dx, write);
  patch_product(g, s.N, s.groups, channels, outputs * window, dy, dx, epilogue, weights, [&](Index* to) {
    for (Index o = 0; o < outputs; ++o)
      for (Index kh = 0; kh < s.KH; ++kh)
        for (Index kw = 0; kw < s.KW; ++kw)
          *to++ = g.offset(o, down.shift(0, kh) - down.low, across.shift(0, kw) - across.low);
  });
}

#if QDISTILL_COMPILED
QDISTILL_EXTERN template void conv2d_backward_data<float>(Cpu, const Conv2dShape&, const float*, const float*, float*,
                                                          Write);
#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels
