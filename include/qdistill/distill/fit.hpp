/// Training a student with or without teachers, and quantized distillation.
///
/// Quantized distillation (Polino, Pascanu, Alistarh 2018, Algorithm 1) is `quant::attach(student,
/// quant::Uniform{...})` followed by `fit` below. Where the algorithm's lines are:
///   1  w_q <- Q(w) for every tensor              nn::Parameter::effective, once per step
///   2  forward and distillation loss at w_q      the student's forward; distillation_loss
///   3  g <- gradient of the loss at w_q          backward; the quantizer passes g straight through to w
///   4  w <- optimizer step from w with g         optimizer.step(), which knows nothing of quantizers
///   5  after the last step quantize once more    encode(), when the student is packed; or quant::bake
#pragma once

#include "qdistill/distill/teacher.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/train/fit.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

/// What a student is trained with. The optimizer is the first paper's: SGD with Nesterov momentum.
struct Options {
  DistillationOptions loss = {};  ///< temperature, weight and average; of no use without a teacher
  optim::SgdOptions sgd = {.lr = 0.001, .momentum = 0.9, .weight_decay = 2.2e-4, .nesterov = true};
  bool cache_teacher = false;  ///< compute each sample's teacher logits once; refused where images are augmented
  train::FitOptions fit = {};
};

/// Trains `student` on `loader`: with the distillation loss where `teachers` names one or several networks, else with
/// cross entropy on the labels. The student ends with the weights of its best validation accuracy.
inline train::FitResult fit(nn::Module<float>& student, const std::vector<nn::Module<float>*>& teachers,
                            data::DataLoader& loader, data::DataLoader& validation, const Options& options = {}) {
  optim::SGD<float> sgd(student.parameters(), options.sgd);
  if (teachers.empty()) {
    return train::fit(
        student, sgd, loader, validation,
        [](const Tensor<float>& logits, const Tensor<float>&, const Tensor<Index>& labels, const data::Batch&) {
          return cross_entropy(logits, labels);
        },
        options.fit);
  }
  Teacher teacher(teachers, options.loss.temperature);
  if (options.cache_teacher) teacher.use_cache(loader);
  return train::fit(
      student, sgd, loader, validation,
      [&](const Tensor<float>& logits, const Tensor<float>& images, const Tensor<Index>& labels,
          const data::Batch& batch) {
        return distillation_loss(logits, teacher(images, batch.indices), labels, options.loss);
      },
      options.fit);
}

/// The same without a teacher: cross entropy on the labels.
inline train::FitResult fit(nn::Module<float>& student, data::DataLoader& loader, data::DataLoader& validation,
                            const Options& options = {}) {
  return fit(student, {}, loader, validation, options);
}

}  // namespace qdistill::inline QDISTILL_ABI::distill
