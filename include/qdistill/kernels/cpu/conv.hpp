/// Convolution forward: an implicit matrix product over image patches, NCHW.
///
///   y[n] (O x pixels) = weight (O x taps)  patches of x[n] (taps x pixels)
///
/// Weights come as they are, or packed once for many calls (ConvFilters), with the same bits. conv_data.hpp and
/// conv_weights.hpp hold the gradients.
#pragma once

#include "qdistill/core/compiled.hpp"
#include "qdistill/core/device.hpp"
#include "qdistill/kernels/cpu/conv_patches.hpp"
#include "qdistill/kernels/cpu/conv_shape.hpp"
#include "qdistill/kernels/cpu/conv_short.hpp"
#include "qdistill/kernels/cpu/conv_winograd.hpp"
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

/// ForwardWeights of all groups as pack_groups wrote them.
template <class T>
struct PackedWeights {
  const T* data;
  Index outputs, taps;  ///< of one group

  /// As ForwardWeights, for the rows of one tile.
  void pack(Index k0, Index k, Index row, Index rows, T* panel) const {
    const DepthSplit depth(taps, false);
    while (k > 0) {
      const Index block = k0 / depth.block, begin = depth.begin(block), end = depth.begin(block + 1);
      const Index count = std::min(k, end - k0);
      std::memcpy(panel, data + begin * outputs + row * (end - begin) + (k0 - begin) * rows,
                  static_cast<std::size_t>(count * rows) * sizeof(T));
      panel += count * rows, k0 += count, k -= count;
    }
  }
};

/// Images whose pixels form the columns of one product: several where one image leaves part of its panels empty.
inline Index images_at_once(Index images, Index pixels, Index panel) noexcept {
  return pixels % panel == 0 || pixels >= 8 * panel ? 1 : std::min(images, ceil_div(8 * panel, pixels));
}

/// dst[n] (rows [r0, r1) x pixels) = or += columns [c0, c1) of part (rows x stride), which run over images of `next`
/// elements.
template <class T>
void copy_to_images(const T* part, Index stride, Index r0, Index r1, Index c0, Index c1, Index pixels, T* dst,
                    Index next, Write write) {
  for (Index begin = c0; begin < c1;) {
    const Index image = begin / pixels, end = std::min(c1, (image + 1) * pixels);
    for (Index r = r0; r < r1; ++r) {
      const T* const from = part + r * stride + begin;
      T* const to = dst + image * next + r * pixels + begin - image * pixels;
      for (Index i = 0; i < end - begin; ++i) to[i] = write == Write::add ? to[i] + from[i] : from[i];
    }
    begin = end;
  }
}

/// For each image and group, dst (rows x pixels) = epilogue(weights times patches of src). weights.group(i) is the left
/// factor of group i, write_offsets(to) writes the offsets of its `taps` columns.
template <class T, class Weights, class Offsets>
void patch_product(PatchGeometry g, Index images, Index groups, Index out_rows, Index taps, const T* src, T* dst,
                   const Epilogue<T>& epilogue, const Weights& weights, const Offsets& write_offsets) {
  const Index pixels = g.pixels();
  if (images <= 0 || groups <= 0 || out_rows <= 0 || pixels <= 0) return;
  const TileSet<T>& tiles = tile_set<T>();
  const RowSplit rows(out_rows, tiles.rows);
  const DepthSplit depth(taps, epilogue.relu && epilogue.write == Write::add);
  constexpr Index size = static_cast<Index>(sizeof(T));
  // Few products are cut into parts, many small ones are handled several at a time: both by size alone. The parts of a
  // product read one padded copy of its images.
  const bool direct = is_short<T>(g, taps, epilogue.write);
  const Index bundle = direct ? 1 : images_at_once(images, pixels, tiles.cols), columns = bundle * pixels;
  const double work = static_cast<double>(out_rows) * static_cast<double>(columns) * static_cast<double>(taps + 16);
  const Index items = ceil_div(images, bundle) * groups;
  const Index parts = std::min(ceil_div(16, items), 1 + static_cast<Index>(work / 1e6));
  const Index strip = direct ? g.out_w : tiles.cols;  // a task has whole ones
  const TaskGrid grid(rows.tiles, ceil_div(columns, strip), parts);
  const Index tasks = items * grid.tasks(), grain = std::max<Index>(1, static_cast<Index>(5e5 / work));
  const bool shared_images = grid.tasks() > 1 && !g.in_place();

  const Index offset_bytes = Workspace::round_up(taps * static_cast<Index>(sizeof(Index)));
  constexpr bool is_packed = std::is_same_v<Weights, PackedWeights<T>>;
  const Index weight_bytes = is_packed ? 0 : Workspace::round_up(groups * out_rows * taps * size);
  const Index image_bytes = Workspace::round_up(g.scratch() * size), bundle_bytes = bundle * image_bytes;
  const Index part_bytes = bundle > 1 ? Workspace::round_up(out_rows * columns * size) : 0;
  const Index source_step = g.channels * g.src_h * g.src_w;
  g.step = g.in_place() ? groups * source_step : image_bytes / size;
  Workspace workspace(
      offset_bytes + weight_bytes + (shared_images ? items * bundle_bytes : 0),
      part_bytes + (shared_images ? 0 : bundle_bytes) + (direct ? 0 : panel_elements(tiles, depth, columns) * size),
      ceil_div(tasks, grain));
  Index* const offsets = reinterpret_cast<Index*>(workspace.shared());
  unsigned char* const padded = workspace.shared() + offset_bytes + weight_bytes;
  write_offsets(offsets);
  const T* packed;
  if constexpr (is_packed) {
    packed = weights.data;
  } else {
    T* const room = reinterpret_cast<T*>(workspace.shared() + offset_bytes);
    pack_groups(weights, groups, rows, depth, room);
    packed = room;
  }
  // Item i is group i % groups of the images from i / groups * bundle on.
  const auto pad = [&](Index item, Index c0, Index c1, unsigned char* to) {
    const Index first = item / groups * bundle, count = std::min(bundle, images - first);
    for (Index i = 0; i < count; ++i)
      pad_channels(g, src + ((first + i) * groups + item % groups) * source_step, c0, c1,
                   reinterpret_cast<T*>(to + i * image_bytes));
  };
  if (shared_images) {
    parallel_for(g.channels, std::max<Index>(1, 32768 / std::max<Index>(1, g.plane())), [&](Index begin, Index end) {
      for (Index i = 0; i < items; ++i) pad(i, begin, end, padded + i * bundle_bytes);
    });
  }
  parallel_for(tasks, grain, [&](Index begin, Index end) {
    const Workspace::Task task(workspace);
    T* const part = reinterpret_cast<T*>(task.data());
    unsigned char* const private_images = task.data() + part_bytes;
    T* const panels = reinterpret_cast<T*>(private_images + (shared_images ? 0 : bundle_bytes));
    for (Index t = begin; t < end; ++t) {
      const Index item = t / grid.tasks(), cell = t % grid.tasks(), group = item % groups;
      const Index first = item / groups * bundle, count = std::min(bundle, images - first);
      const T* image = src + (first * groups + group) * source_step;
      if (!g.in_place()) {
        unsigned char* const to = shared_images ? padded + item * bundle_bytes : private_images;
        if (!shared_images) pad(item, 0, g.channels, to);
        image = reinterpret_cast<T*>(to) + PatchGeometry::margin;
      }
      const Index row = cell % grid.row_tasks * grid.row_tiles, row_end = std::min(rows.tiles, row + grid.row_tiles);
      const Index col = cell / grid.row_tasks * grid.col_panels * strip;
      const Index col_end = std::min(count * pixels, col + grid.col_panels * strip);
      Epilogue<T> e = epilogue;
      if (e.bias_row) e.bias_row += group * out_rows;
      T* const out = dst + (first * groups + group) * out_rows * pixels;
      if (bundle > 1) e.write = Write::set;
      const PackedRows<T> left{packed + group * out_rows * taps, rows, depth, 0, depth.blocks};
      if constexpr (std::is_same_v<T, float>) {
        if (direct) {
          multiply_short(left, row, row_end, g, offsets, image, col / g.out_w, col_end / g.out_w, out, e);
          continue;
        }
      }
      multiply_columns(tiles, left, row, row_end, PatchColumns<T>{g, offsets, image}, col, col_end,
                       bundle > 1 ? part : out, bundle > 1 ? columns : pixels, e, panels);
      if (bundle > 1)
        copy_to_images(part, columns, rows.begin(row), rows.begin(row_end), col, col_end, pixels, out,
                       groups * out_rows * pixels, epilogue.write);
    }
  });
}

/// y = epilogue(x convolved with `weights`), by the algorithm for `s`; `filters`, if not null, are their transform.
template <class T, class Weights>
void conv2d_forward(const Conv2dShape& s, const T* x, const Weights& weights, const T* filters, const T* bias, T* y,
                    bool relu) {
  const Epilogue<T> epilogue{bias, nullptr, relu, Write::set};
  if constexpr (winograd_scalar<T>) {
    if (conv_algorithm<T>(s) == ConvAlgorithm::winograd) {
      const auto run = [&](const auto& factor) {
        winograd(s.KH, s.N, s.C, s.H, s.W, s.pad_h, s.pad_w, s.O, s.out_h(), s.out_w(), x, y, epilogue, factor, false);
      };
      return filters ? run(TransformedFilters{filters}) : run(weights);
    }
  }
  const PatchGeometry g = forward_patches(s);
  patch_product(g, s.N, s.groups, weights.outputs, weights.taps, x, y, epilogue, weights,
                [&](Index* to) { forward_offsets(s, g, to); });
}

}  // namespace detail

/// y (N, O, out_h, out_w) = x (N, C, H, W) convolved with w (O, C / groups, KH, KW), plus bias (O) if not null, then
/// max(y, 0) where `relu`.
template <class T>
void conv2d_forward(Cpu, const Conv2dShape& s, const T* x, const T* w, const T* bias, T* y, bool relu = false) {
  const detail::ForwardWeights<T> weights{w, s.O / s.groups, s.C / s.groups * s.KH * s.KW};
  detail::conv2d_forward(s, x, weights, static_cast<const T*>(nullptr), bias, y, relu);
}

/// Weights prepared for many forward calls, of any number and size of images.
template <class T>
struct ConvFilters {
  const T* packed;              ///< what conv2d_pack wrote
  const T* winograd = nullptr;  ///< what conv2d_transform wrote, or null: transformed in each call that needs it
};

/// Packs w (O, C / groups, KH, KW) into as many elements.
template <class T>
void conv2d_pack(Cpu, const Conv2dShape& s, const T* w, T* packed) {
  using namespace detail;
  const Index outputs = s.O / s.groups, taps = s.C / s.groups * s.KH * s.KW;
  pack_groups(ForwardWeights<T>{w, outputs, taps}, s.groups, RowSplit(outputs, tile_set<T>().rows),
              DepthSplit(taps, false), packed);
}

/// Whether a call for `s` gains from transformed filters: it runs with Winograd, on so few tiles that transforming them
/// takes more than a few per cent of its time.
template <class T>
bool conv2d_wants_transform(const Conv2dShape& s) noexcept {
  return conv_algorithm<T>(s) == ConvAlgorithm::winograd && winograd_tiles(s) < 512;
}

/// Elements of transformed filters.
inline Index conv2d_transform_size(const Conv2dShape& s) noexcept { return 36 * detail::filter_stride(s.O, s.C); }

/// Transforms packed weights for Winograd.
template <class T>
void conv2d_transform(Cpu, const Conv2dShape& s, const T* packed, T* filters) {
  using namespace detail;
  if constexpr (winograd_scalar<T>) {
    const PackedWeights<T> weights{packed, s.O, s.C * s.KH * s.KW};
    const RowSplit rows(s.O, tile_set<T>().rows);
    const DepthSplit depth(s.C, false);
    if (s.KH == 3) transform_filters<3>(weights, rows, depth, false, filters);
    else transform_filters<5>(weights, rows, depth, false, filters);
  }
}

/// The same convolution with prepared weights: the same bits.
template <class T>
void conv2d_forward(Cpu, const Conv2dShape& s, const T* x, const ConvFilters<T>& w, const T* bias, T* y,
                    bool relu = false) {
  const detail::PackedWeights<T> weights{w.packed, s.O / s.groups, s.C / s.groups * s.KH * s.KW};
  detail::conv2d_forward(s, x, weights, w.winograd, bias, y, relu);
}

#if QDISTILL_COMPILED
QDISTILL_EXTERN template void conv2d_forward<float>(Cpu, const Conv2dShape&, const float*, const float*, const float*,
                                                    float*, bool);
QDISTILL_EXTERN template void conv2d_pack<float>(Cpu, const Conv2dShape&, const float*, float*);
QDISTILL_EXTERN template void conv2d_transform<float>(Cpu, const Conv2dShape&, const float*, float*);
QDISTILL_EXTERN template void conv2d_forward<float>(Cpu, const Conv2dShape&, const float*, const ConvFilters<float>&,
                                                    const float*, float*, bool);
#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels
