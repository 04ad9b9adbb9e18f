/// The bytes of a packed file tensor by tensor, without the file.
#pragma once

#include "qdistill/io/packed.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// What each tensor adds to the ledger of save_packed. With `huffman_tables` these are all of its bytes but header and
/// padding.
struct TensorLedgers {
  std::map<std::string, Ledger> tensors;  ///< by full name
  Index huffman_tables = 0;               ///< bytes of the code lengths, which all tensors of one pool share
};

/// Needs no network. Throws Error as save_packed does for a model that is not well formed.
inline TensorLedgers tensor_ledgers(const PackedModel& model, const PackOptions& options = {}) {
  validate(model);
  detail::PackedWriter out;
  if (options.huffman) out.huffman = detail::huffman_codes(model);
  TensorLedgers ledgers;
  for (const auto& [name, encoding] : model.tensors) {
    detail::with_codec(encoding, [&, &name = name, &shape = encoding.shape](auto codec, const auto& data) {
      codec.write(out, name, shape, data);
    });
    ledgers.tensors.emplace(name, std::exchange(out.ledger, {}));
    out.entries.clear(), out.buffers.clear();
  }
  for (const auto& [table, code] : out.huffman) ledgers.huffman_tables += static_cast<Index>(code.to_bytes().size());
  return ledgers;
}

}  // namespace qdistill::inline QDISTILL_ABI::io
