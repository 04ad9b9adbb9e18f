/// What an encoded tensor takes without entropy coding, names and padding: codes at their width, numbers of a bucket or
/// a tensor as float32. The real bytes are the ledger's.
#pragma once

#include "qdistill/encoding/encoding.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

inline Index plain_bits(const DenseEncoding& e) { return static_cast<Index>(e.values.size()) * (e.half ? 16 : 32); }
inline Index plain_bits(const UniformEncoding& e) {
  return static_cast<Index>(e.codes.size()) * e.bits + static_cast<Index>(e.scale.size() + e.offset.size()) * 32;
}
inline Index plain_bits(const TableEncoding& e) {
  return static_cast<Index>(e.codes.size()) * e.bits() +
         static_cast<Index>(e.points.size() + e.scale.size() + e.offset.size()) * 32;
}

}  // namespace detail

/// Bits of all parts of `e`, none rounded up to bytes.
inline Index plain_bits(const Encoding& e) {
  return std::visit([](const auto& data) { return detail::plain_bits(data); }, e.data);
}

}  // namespace qdistill::inline QDISTILL_ABI
