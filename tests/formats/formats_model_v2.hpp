/// The model that the packed files of format version 2 hold: a tensor of each kind. It is fixed for ever, as those
/// files are.
#pragma once

#include <algorithm>

#include "qdistill/io/packed_model.hpp"

inline qdistill::io::PackedModel formats_model_v2() {
  using namespace qdistill;
  io::PackedModel model;
  model.network.input_shape = {2, 4, 4};
  int x = model.network.add("conv2d", {0}, {{"padding", std::vector<Index>{1, 1}}},
                            {{"weight", "conv.weight"}, {"bias", "conv.bias"}});
  x = model.network.add("relu", {x});
  x = model.network.add("conv2d", {x}, {}, {{"weight", "mix.weight"}, {"bias", "mix.bias"}});
  x = model.network.add("flatten", {x});
  x = model.network.add("linear", {x}, {}, {{"weight", "fc.weight"}, {"bias", "fc.bias"}});
  x = model.network.add("relu", {x});
  model.network.add("linear", {x}, {}, {{"weight", "out.weight"}});

  std::uint32_t state = 2;
  const auto next = [&state] { return (state = state * 1664525u + 1013904223u) >> 16; };
  const auto code = [&](std::uint32_t count) {  // uneven: small codes are frequent
    const std::uint32_t a = next() % count, b = next() % count, c = next() % count;
    return static_cast<std::uint16_t>(std::min(a, std::min(b, c)));
  };
  const auto quarter = [&] { return 0.25f * (static_cast<float>(next() % 16) - 7.5f); };
  const auto numel = [](const std::vector<Index>& shape) { return checked_numel("formats", shape); };

  const auto dense = [&](std::vector<Index> shape, bool half) {
    DenseEncoding e;
    e.half = half;
    for (Index i = 0; i < numel(shape); ++i) e.values.push_back(quarter());
    return Encoding{std::move(shape), std::move(e)};
  };
  const auto uniform = [&](std::vector<Index> shape, int bits, Index bucket_size) {
    UniformEncoding e;
    e.bits = bits;
    e.bucket_size = bucket_size;
    for (Index i = 0; i < numel(shape); ++i) e.codes.push_back(code(1u << bits));
    for (Index b = 0; b < bucket_count(numel(shape), bucket_size); ++b)
      e.scale.push_back(0.5f + 0.25f * static_cast<float>(next() % 4)), e.offset.push_back(quarter());
    return Encoding{std::move(shape), std::move(e)};
  };
  const auto table = [&](std::vector<Index> shape, std::uint32_t points, Index bucket_size, bool scaled) {
    TableEncoding e;
    for (Index i = 0; i < numel(shape); ++i) e.codes.push_back(code(points));
    for (std::uint32_t p = 0; p < points; ++p) e.points.push_back(quarter());
    if (!scaled) return Encoding{std::move(shape), std::move(e)};
    e.bucket_size = bucket_size;
    for (Index b = 0; b < bucket_count(numel(shape), bucket_size); ++b)
      e.scale.push_back(0.5f + 0.25f * static_cast<float>(next() % 4)), e.offset.push_back(quarter());
    return Encoding{std::move(shape), std::move(e)};
  };
  const auto grouped = [&](std::vector<Index> shape, Index group_size, std::uint32_t least, std::uint32_t most) {
    GroupedEncoding e;
    e.group_size = group_size;
    const Index n = numel(shape), size = group_size > 0 ? group_size : n;
    for (Index i = 0; i < n; ++i) {
      if (i % size == 0) e.widths.push_back(static_cast<std::uint8_t>(least + next() % (most - least + 1)));
      e.codes.push_back(code(1u << e.widths.back()));
    }
    e.scale = 1.75f, e.offset = -0.1f;
    return Encoding{std::move(shape), std::move(e)};
  };
  const auto product = [&](std::vector<Index> shape, Index block_size, std::uint32_t codewords) {
    ProductEncoding e;
    e.block_size = block_size;
    for (Index i = 0; i < numel(shape) / block_size; ++i) e.codes.push_back(code(codewords));
    for (Index i = 0; i < block_size * static_cast<Index>(codewords); ++i) e.codewords.push_back(quarter());
    return Encoding{std::move(shape), std::move(e)};
  };
  model.tensors["conv.weight"] = product({6, 2, 3, 3}, 9, 5);
  model.tensors["conv.bias"] = dense({6}, true);
  model.tensors["mix.weight"] = table({8, 6, 1, 1}, 5, 20, true);
  model.tensors["mix.bias"] = table({8}, 3, 0, false);
  model.tensors["fc.weight"] = grouped({40, 128}, 8, 2, 5);
  model.tensors["fc.bias"] = dense({40}, false);
  model.tensors["out.weight"] = uniform({10, 40}, 4, 64);
  model.tensors["other.product"] = product({100, 40}, 4, 6);
  model.tensors["other.table"] = table({7}, 1, 0, true);
  model.tensors["other.grouped"] = grouped({12}, 0, 3, 3);
  model.tensors["other.wide"] = grouped({2, 2}, 1, 16, 16);
  model.info = {{"note", "format version 2"}};
  return model;
}
