/// Training a student with or without teachers, and quantized distillation.
///
/// Quantized distillation (Polino, Pascanu, Alistarh 2018, Algorithm 1) is `quant::attach(student,
/// quant::Uniform{...})` followed by `fit` below. Where the algorithm's lines are:
///   1  w_q <- Q(w) for every tensor              nn::Parameter::effective, once per step
///   2  forward and distillation loss at w_q      the student's forward; distillation_loss
///   3  g <- gradient of the loss at w_q          backward; the quantizer passes g straight through to w
///   4  w <- optimizer step from w with g         optimizer.step(), which knows nothing of quantizers
///   5  after the last step quantize once more    encode(), when the student is packed; or quant::bake
///
/// DiffQ (Defossez, Adi, Synnaeve 2022) is `quant::attach(student, quant::DiffQ{...}, quant::larger_than_mb(0.01))` and
/// the same `fit` with a penalty_weight: the loss is then  loss + lambda size in MB, the weights are trained by SGD and
/// the bit widths by Adam. The model shrinks while it trains, so its last epoch is wanted, not its
/// best: fit.keep_best = false.
#pragma once

#include <optional>

#include "qdistill/distill/teacher.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/optim/adam.hpp"
#include "qdistill/optim/joint.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/size.hpp"
#include "qdistill/train/fit.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

/// What a student is trained with. The optimizer is the first paper's: SGD with Nesterov momentum.
struct Options {
  DistillationOptions loss = {};  ///< temperature, weight and average; of no use without a teacher
  optim::SgdOptions sgd = {.lr = 0.001, .momentum = 0.9, .weight_decay = 2.2e-4, .nesterov = true};
  double penalty_weight = 0;   ///< lambda: what a MB of the model's size (quant/size.hpp) adds to the loss
  double bits_lr = 1e-3;       ///< of the Adam that trains the optimizer group "bits", where quantizers have one
  bool cache_teacher = false;  ///< compute each sample's teacher logits once; refused where images are augmented
  train::FitOptions fit = {};
};

namespace detail {

/// SGD, and Adam without weight decay for the group "bits" if there is one.
inline std::unique_ptr<optim::Optimizer<float>> make_optimizer(const nn::Module<float>& student,
                                                               const Options& options) {
  const std::vector<Tensor<float>> bits = student.parameters("bits");
  auto sgd = std::make_unique<optim::SGD<float>>(
      student.parameters_if([](const std::string& group) { return group != "bits"; }), options.sgd);
  if (bits.empty()) return sgd;
  std::vector<std::unique_ptr<optim::Optimizer<float>>> parts;
  parts.push_back(std::move(sgd));
  parts.push_back(std::make_unique<optim::Adam<float>>(bits, optim::AdamOptions{.lr = options.bits_lr}));
  return std::make_unique<optim::Joint<float>>(std::move(parts));
}

}  // namespace detail

/// Trains `student` on `loader`: with the distillation loss where `teachers` names one or several networks, else with
/// cross entropy on the labels. The student ends with the weights of its best validation accuracy. Throws ValueError
/// for a negative penalty_weight.
inline train::FitResult fit(nn::Module<float>& student, const std::vector<nn::Module<float>*>& teachers,
                            data::DataLoader& loader, data::DataLoader& validation, const Options& options = {}) {
  check(options.penalty_weight >= 0, "distill::fit", "got penalty_weight ", options.penalty_weight,
        ", expected 0 or more");
  const std::unique_ptr<optim::Optimizer<float>> optimizer = detail::make_optimizer(student, options);
  std::optional<quant::SizePenalty<float>> size;
  if (options.penalty_weight > 0) size.emplace(student);
  const auto with_penalty = [&](Tensor<float> loss) {
    return size ? add(std::move(loss), mul((*size)(), options.penalty_weight)) : loss;
  };
  if (teachers.empty()) {
    return train::fit(
        student, *optimizer, loader, validation,
        [&](const Tensor<float>& logits, const Tensor<float>&, const Tensor<Index>& labels, const data::Batch&) {
          return with_penalty(cross_entropy(logits, labels));
        },
        options.fit);
  }
  Teacher teacher(teachers, options.loss.temperature);
  if (options.cache_teacher) teacher.use_cache(loader);
  return train::fit(
      student, *optimizer, loader, validation,
      [&](const Tensor<float>& logits, const Tensor<float>& images, const Tensor<Index>& labels,
          const data::Batch& batch) {
        return with_penalty(distillation_loss(logits, teacher(images, batch.indices), labels, options.loss));
      },
      options.fit);
}

/// The same without a teacher: cross entropy on the labels.
inline train::FitResult fit(nn::Module<float>& student, data::DataLoader& loader, data::DataLoader& validation,
                            const Options& options = {}) {
  return fit(student, {}, loader, validation, options);
}

}  // namespace qdistill::inline QDISTILL_ABI::distill
