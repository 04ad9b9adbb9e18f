/// From a model to its packed file: the network as plain data, and what its parameters really store.
#pragma once

#include "qdistill/io/packed.hpp"
#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// Everything that a packed file holds. `input_shape` is that of one sample, (C, H, W) for images. Parameters encode
/// themselves; running statistics stay float32; counts are left out, inference does not need them. Throws ValueError
/// naming the module that cannot be packed, or a weight that is not finite.
template <class T>
io::PackedModel pack(const nn::Module<T>& model, std::vector<Index> input_shape,
                     std::map<std::string, std::string> info = {}) {
  io::PackedModel packed;
  packed.network.input_shape = std::move(input_shape);
  model.describe(packed.network, 0, "");
  for (const auto& [name, parameter] : model.named_parameters()) packed.tensors.emplace(name, parameter->encode());
  for (const auto& buffer : model.named_buffers())
    if (buffer.values) packed.tensors.emplace(buffer.name, nn::dense_encoding(*buffer.values));
  packed.info = std::move(info);
  return packed;
}

/// Writes the packed file and returns the ledger of its bytes, whose sum is the file's size on disk.
template <class T>
Ledger save_packed(const nn::Module<T>& model, const std::string& path, std::vector<Index> input_shape,
                   std::map<std::string, std::string> info = {}, const io::PackOptions& options = {}) {
  return io::save_packed(path, pack(model, std::move(input_shape), std::move(info)), options);
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
