/// Random encodings of every kind.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "qdistill/core/random.hpp"
#include "qdistill/encoding/encoding.hpp"

namespace kinds {

using namespace qdistill;

/// A code of `bits` bits; those in the middle are frequent.
inline std::uint16_t level(const RandomStream& random, Index i, int bits) {
  const double most = std::ldexp(1.0, bits) - 1;
  const double z = most / 2 + most / 10 * random.normal(i);
  return static_cast<std::uint16_t>(std::clamp(z + 0.5, 0.0, most));
}
/// Below `count`, in the order of a level.
inline std::uint16_t index_below(const RandomStream& random, Index i, Index count) {
  return static_cast<std::uint16_t>(level(random, i, 16) * count / 65536);
}

inline Encoding dense(std::vector<Index> shape, std::uint64_t seed, bool half = false) {
  const RandomStream random{seed, 0};
  DenseEncoding e;
  e.half = half;
  for (Index i = 0; i < checked_numel("test", shape); ++i) {
    const auto v = static_cast<float>(random.normal(i)) / 4;
    e.values.push_back(half ? round_to_half(v) : v);
  }
  return {std::move(shape), std::move(e)};
}

inline Encoding uniform(std::vector<Index> shape, int bits, Index bucket_size, std::uint64_t seed) {
  const RandomStream random{seed, 0};
  UniformEncoding e;
  e.bits = bits;
  e.bucket_size = bucket_size;
  const Index n = checked_numel("test", shape);
  for (Index i = 0; i < n; ++i) e.codes.push_back(level(random, i, bits));
  for (Index b = 0; b < bucket_count(n, bucket_size); ++b) {
    e.scale.push_back(random.uniform(b) + 0.1f);
    e.offset.push_back(-random.uniform(b) / 2);
  }
  return {std::move(shape), std::move(e)};
}

/// bucket_size -1: without scales.
inline Encoding table(std::vector<Index> shape, Index points, Index bucket_size, std::uint64_t seed) {
  const RandomStream random{seed, 0};
  TableEncoding e;
  const Index n = checked_numel("test", shape);
  for (Index i = 0; i < n; ++i) e.codes.push_back(index_below(random, i, points));
  for (Index p = 0; p < points; ++p) e.points.push_back(static_cast<float>(random.normal(p)) / 4);
  if (bucket_size >= 0) {
    e.bucket_size = bucket_size;
    for (Index b = 0; b < bucket_count(n, bucket_size); ++b) {
      e.scale.push_back(random.uniform(b) + 0.1f);
      e.offset.push_back(random.uniform(b) / 8);
    }
  }
  return {std::move(shape), std::move(e)};
}

/// Widths from `least` to `most`.
inline Encoding grouped(std::vector<Index> shape, Index group_size, int least, int most, std::uint64_t seed) {
  const RandomStream random{seed, 0};
  GroupedEncoding e;
  e.group_size = group_size;
  const Index n = checked_numel("test", shape), size = group_size > 0 ? group_size : n;
  for (Index i = 0; i < n; ++i) {
    if (i % size == 0)
      e.widths.push_back(static_cast<std::uint8_t>(
          least + static_cast<int>(random.below(i, static_cast<std::uint32_t>(most - least + 1)))));
    e.codes.push_back(level(random, i, e.widths.back()));
  }
  e.scale = 0.1f + random.uniform(0);
  e.offset = -0.7f * random.uniform(1);
  return {std::move(shape), std::move(e)};
}

inline Encoding product(std::vector<Index> shape, Index block_size, Index codewords, std::uint64_t seed) {
  const RandomStream random{seed, 0};
  ProductEncoding e;
  e.block_size = block_size;
  const Index blocks = checked_numel("test", shape) / block_size;
  for (Index i = 0; i < blocks; ++i)  // no order in the numbers, half of the blocks on a few codewords
    e.codes.push_back(
        static_cast<std::uint16_t>((index_below(random, i, std::max<Index>(codewords / 2, 1)) * 37 + 11) % codewords));
  for (Index i = 0; i < codewords * block_size; ++i)
    e.codewords.push_back(round_to_half(static_cast<float>(random.normal(i)) / 4));
  return {std::move(shape), std::move(e)};
}

}  // namespace kinds
