/// Convolution backward to the data: again an implicit matrix product over image patches, those of dy.
///
///   dx[n] (C x pixels) = weight^T (C x taps)  patches of dy[n] (taps x pixels)
///
/// A stride splits the pixels (h, w) of dx into phases, (h mod stride_h, w mod stride_w): all pixels of a phase are
/// reached by the same few taps, so each phase is a product of its own, with the patches of stride 1 over dy. Nothing
/// is multiplied with zeros between pixels.
#pragma once

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
  const Index* taps;                ///< the phase's taps, as kh KW + kw
  Index count;                      ///< how many

  BackwardWeights group(Index i) const noexcept {
    return {w + i * outputs * channels * window, outputs, channels, window, taps, count};
  }
  void pack(Index k0, Index k, Index row, Index rows, T* panel) const {
    if (k <= 0) return;
    Index o = k0 / count, t = k0 % count;
    for (Index i = 0; i < k; ++i, panel += rows) {
      const T* const column = w + (o * channels + row) * window + taps[t];
      for (Index c = 0; c < rows; ++c) panel[c] = column[c * window];
      if (++t == count) t = 0, ++o;
    }
  }
};

}  // namespace detail

/// dx (N, C, H, W) = gradient of the convolution to its input, from dy (N, O, out_h, out_w) and w (O, C / groups, KH,
/// KW).
template <class T>
void conv2d_backward_data(Cpu, const Conv2dShape& s, const T* dy, const T* w, T* dx, Write write) {
  using namespace detail;
  const Index channels = s.C / s.groups, outputs = s.O / s.groups, window = s.KH * s.KW, items = s.N * s.groups;
  if (items <= 0 || channels <= 0 || s.H <= 0 || s.W <= 0) return;
  const ReverseAxis down(s.H, s.KH, s.stride_h, s.pad_h, s.dil_h), across(s.W, s.KW, s.stride_w, s.pad_w, s.dil_w);
  const Index phases_w = across.phases(), phases = down.phases() * phases_w;
  const PatchGeometry g{outputs, s.out_h(), s.out_w(), -down.low, -across.low, down.length(), across.length(), 1, 1,
                        1, 1, down.count(0), across.count(0)};
  const TileSet<T>& tiles = tile_set<T>();
  const RowSplit rows(channels, tiles.rows);
  constexpr Index size = static_cast<Index>(sizeof(T)), index_size = static_cast<Index>(sizeof(Index));

  // Of every phase, in shared memory: its taps and their offsets. A tap belongs to one phase.
  const Index table_bytes = Workspace::round_up((phases + 1 + window + outputs * window) * index_size);
  const Index image_bytes = Workspace::round_up(g.scratch() * size);
  const Index part_bytes = phases > 1 ? Workspace::round_up(channels * g.pixels() * size) : 0;
  const Index panel_bytes = panel_elements(tiles, DepthSplit(outputs * window, false), g.pixels()) * size;
  Workspace workspace(table_bytes + s.groups * channels * outputs * window * size,
                      image_bytes + part_bytes + panel_bytes);
