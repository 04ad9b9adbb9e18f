/// The model that the packed files of this folder hold. It is fixed for ever, as those files are: a new format version
/// gets its own files beside them.
#pragma once

#include "qdistill/io/packed_model.hpp"

inline qdistill::io::PackedModel formats_model() {
  using namespace qdistill;
  io::PackedModel model;
  model.network.input_shape = {2, 4, 4};
  int x = model.network.add("conv2d", {0},
                            {{"stride", std::vector<Index>{1, 1}},
                             {"padding", std::vector<Index>{1, 1}},
                             {"dilation", std::vector<Index>{1, 1}},
                             {"groups", 1}},
                            {{"weight", "conv.weight"}, {"bias", "conv.bias"}});
  x = model.network.add("batch_norm", {x}, {{"eps", 1e-5}},
                        {{"weight", "norm.weight"},
                         {"bias", "norm.bias"},
                         {"running_mean", "norm.running_mean"},
                         {"running_var", "norm.running_var"}});
  x = model.network.add("relu", {x}, {{"a text", "naïve"}, {"a flag", true}});
  x = model.network.add("flatten", {x});
  model.network.add("linear", {x}, {}, {{"weight", "fc.weight"}});

  std::uint32_t state = 1;
  const auto next = [&state] { return (state = state * 1664525u + 1013904223u) >> 16; };
  const auto uniform = [&](std::vector<Index> shape, int bits, Index bucket_size, Scaling scaling) {
    UniformEncoding u;
    u.bits = bits;
    u.bucket_size = bucket_size;
    u.scaling = scaling;
    const Index n = checked_numel("formats", shape);
    for (Index i = 0; i < n; ++i) {
      const std::uint32_t a = next(), b = next();
      u.codes.push_back(static_cast<std::uint16_t>((a & b) & ((1u << bits) - 1)));  // uneven: small codes are frequent
    }
    for (Index b = 0; b < bucket_count(n, bucket_size); ++b) {
      u.scale.push_back(0.25f * static_cast<float>(1 + next() % 16));
      if (scaling == Scaling::linear) u.offset.push_back(-0.125f * static_cast<float>(next() % 16));
    }
    return Encoding{std::move(shape), std::move(u)};
  };
  model.tensors["conv.weight"] = uniform({4, 2, 3, 3}, 4, 32, Scaling::linear);
  model.tensors["conv.bias"] = {{4}, DenseEncoding{{0.5f, -0.25f, 0.0f, 1.5f}}};
  for (const char* name : {"norm.weight", "norm.running_mean", "norm.running_var"})
    model.tensors[name] = {{4}, DenseEncoding{{1, 0.5f, 0.25f, 2}}};
  model.tensors["norm.bias"] = uniform({4}, 4, 256, Scaling::linear);
  model.tensors["fc.weight"] = uniform({60, 64}, 4, 256, Scaling::linear);
  model.tensors["other.absmax"] = uniform({5, 3}, 3, 4, Scaling::absmax);
  model.tensors["other.absnorm"] = uniform({7}, 8, 0, Scaling::absnorm);
  std::get<UniformEncoding>(model.tensors["conv.weight"].data).mean = 0.0625f;
  model.info = {{"note", "format version 1"}};
  return model;
}
