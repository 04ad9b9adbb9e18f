/// A network and its tensors as they are really stored: what a packed file holds. Reading and writing are in
/// io/packed.hpp.
#pragma once

#include <map>
#include <string>

#include "qdistill/encoding/encoding.hpp"
#include "qdistill/encoding/ledger.hpp"
#include "qdistill/encoding/network.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

struct PackedModel {
  Network network;                          ///< its tensor names are keys of `tensors`
  std::map<std::string, Encoding> tensors;  ///< by full name; may hold more than the network uses
  std::map<std::string, std::string> info;  ///< free fields: where the model comes from, its accuracy
};

struct PackOptions {
  bool huffman = true;  ///< Huffman-code the codes of each bit width where that makes the file smaller
};

/// Throws Error if the network or a tensor is not well formed, or the network names a tensor that is not there.
inline void validate(const PackedModel& model) {
  qdistill::validate(model.network);
  for (const auto& [name, encoding] : model.tensors) qdistill::validate(encoding, name);
  for (const auto& op : model.network.ops)
    for (const auto& [role, tensor] : op.tensors)
      check(model.tensors.count(tensor) != 0, "packed model", "got no tensor '", tensor, "', which the ", role, " of ",
            op.op, " names");
}

}  // namespace qdistill::inline QDISTILL_ABI::io
