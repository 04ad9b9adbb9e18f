/// What is really stored of a tensor: plain data of a small closed set of kinds. Quantizers produce it, and the packed
/// file, the ledger, the low-bit runtime and the reports read nothing else. `decode_ref` defines its meaning; every
/// fast decoder is tested against it.
///
///   DenseEncoding     encoding/dense.hpp    the values, float32 or float16
///   UniformEncoding   encoding/uniform.hpp  uniform levels, a scale and an offset per bucket
///   TableEncoding     encoding/table.hpp    codes into a table of points
///   GroupedEncoding   encoding/grouped.hpp  uniform levels, a bit width per group
///   ProductEncoding   encoding/product.hpp  codes into a codebook of blocks
#pragma once

#include <utility>
#include <variant>

#include "qdistill/encoding/dense.hpp"
#include "qdistill/encoding/grouped.hpp"
#include "qdistill/encoding/product.hpp"
#include "qdistill/encoding/table.hpp"
#include "qdistill/encoding/uniform.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// An encoded tensor.
struct Encoding {
  std::vector<Index> shape;
  std::variant<DenseEncoding, UniformEncoding, TableEncoding, GroupedEncoding, ProductEncoding> data;

  bool operator==(const Encoding&) const = default;
};

/// Throws ShapeError or ValueError if the parts of `e` do not fit together. `op` is the name in the error's text.
inline void validate(const Encoding& e, std::string_view op = "encoding") {
  const Index n = checked_numel(op, e.shape);
  std::visit([&](const auto& data) { detail::check_encoding(op, n, data); }, e.data);
}

/// The tensor that `e` stands for, row-major. The definition that every other decoder must reproduce bit for bit.
/// Throws as `validate` does.
inline std::vector<float> decode_ref(const Encoding& e) {
  validate(e, "decode_ref");
  return std::visit([](const auto& data) { return detail::decode(data); }, e.data);
}

/// What `e` takes without entropy coding, names and padding, in bits: codes at their width, numbers of a bucket or a
/// tensor as float32. The real bytes are the ledger's.
inline Index plain_bits(const Encoding& e) {
  return std::visit([](const auto& data) { return detail::plain_bits(data); }, e.data);
}

}  // namespace qdistill::inline QDISTILL_ABI
