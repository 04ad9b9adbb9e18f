/// Batches as tensors, for the training loop.
#pragma once

#include "qdistill/core/tensor.hpp"
#include "qdistill/data/loader.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// images (B, C, H, W) and labels (B), in storage of their own: a graph may keep them after the loader moved on.
///
///   for (const data::Batch& batch : loader) {
///     const auto [x, target] = data::to_tensors(batch);
struct TensorBatch {
  Tensor<float> images;
  Tensor<Index> labels;
};

/// Copies a batch into tensors (from the recycling allocator; the copy costs far less than the step that follows).
inline TensorBatch to_tensors(const Batch& batch) {
  const ImageShape& s = batch.shape;
  return {Tensor<float>::from(batch.images, {batch.size, s.channels, s.height, s.width}),
          Tensor<Index>::from(batch.labels, {batch.size})};
}

}  // namespace qdistill::inline QDISTILL_ABI::data
