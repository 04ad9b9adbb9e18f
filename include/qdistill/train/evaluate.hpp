/// Accuracy and loss over a dataset, in evaluation mode and without a graph.
#pragma once

#include "qdistill/data/tensors.hpp"
#include "qdistill/nn/module.hpp"
#include "qdistill/ops/cross_entropy.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// Sums over images; the ratios are derived. The sums are what a checkpoint keeps of an unfinished epoch.
struct Tally {
  Index images = 0;
  Index correct = 0;
  double loss_sum = 0;  ///< of the per-image loss

  double accuracy() const noexcept { return images ? static_cast<double>(correct) / static_cast<double>(images) : 0.0; }
  double loss() const noexcept { return images ? loss_sum / static_cast<double>(images) : 0.0; }
};

/// Rows of `logits` [N, C] whose largest entry is at the label; the first of equal ones counts.
inline Index count_correct(const Tensor<float>& logits, std::span<const Index> labels) {
  const Index classes = logits.shape()[1];
  const float* row = logits.data();
  Index correct = 0;
  for (const Index label : labels) {
    Index best = 0;
    for (Index c = 1; c < classes; ++c)
      if (row[c] > row[best]) best = c;
    correct += best == label;
    row += classes;
  }
  return correct;
}

/// Adds the images of one batch to `t`: `model(images) -> logits`, without a graph. Loss: cross entropy.
template <class Model>
void tally_batch(Tally& t, Model&& model, const data::Batch& batch) {
  const NoGrad no_grad;
  const data::TensorBatch tensors = data::to_tensors(batch);
  const Tensor<float> logits = model(tensors.images);
  check<ShapeError>(logits.rank() == 2 && logits.shape()[0] == batch.size, "evaluate", "got logits of shape ",
                    logits.shape(), ", expected [", batch.size, ", classes]");
  t.images += batch.size;
  t.correct += count_correct(logits, batch.labels);
  t.loss_sum += static_cast<double>(cross_entropy(logits, tensors.labels, {.reduction = Reduction::sum}).item());
}

/// Runs the model over one epoch of `loader`, from its first batch.
template <class Model>
Tally tally(Model&& model, data::DataLoader& loader) {
  Tally t;
  loader.seek({0, 0});
  for (const data::Batch& batch : loader) tally_batch(t, model, batch);
  return t;
}

/// The same for a module, which is put into evaluation mode and back.
inline Tally evaluate(nn::Module<float>& model, data::DataLoader& loader) {
  const bool training = model.training();
  model.eval();
  const Tally t = tally(model, loader);
  model.train(training);
  return t;
}

}  // namespace qdistill::inline QDISTILL_ABI::train
