/// Packed files in memory: read back, and with a description that was changed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "qdistill/io/packed.hpp"

namespace qdistill_test {

using namespace qdistill;

inline io::PackedModel parse_packed(std::vector<std::byte> bytes) {
  return io::unpack(io::parse_safetensors(std::move(bytes), "test"));
}

/// The file of `model` after `change(json, entries)` on its description and its stored tensors.
template <class F>
std::vector<std::byte> described(const io::PackedModel& model, F&& change, bool huffman = false) {
  auto parts = io::detail::packed_parts(model, {.huffman = huffman});
  nlohmann::json description = nlohmann::json::parse(parts.metadata.at("qdistill"));
  change(description, parts.entries);
  parts.metadata.at("qdistill") = description.dump();
  return io::to_safetensors(parts.entries, parts.metadata);
}

/// What the reader says of that file.
template <class F>
std::string packed_message(const io::PackedModel& model, F&& change, bool huffman = false) {
  try {
    parse_packed(described(model, change, huffman));
  } catch (const FileError& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace qdistill_test
