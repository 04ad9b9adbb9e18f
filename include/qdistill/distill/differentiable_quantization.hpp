/// Differentiable quantization (Polino, Pascanu, Alistarh 2018, section 4, Algorithm 2): the points of a trained
/// network are trained, its weights are not. Heuristics of the paper, each of which can be switched: points
/// redistributed by gradient norm, quantile start (Points::start), the unquantized network as teacher.
///
/// The algorithm's lines:
///   1  counts of points by gradient norm                     quant/redistribute.hpp
///   2  initial points; scale the weights                     quant::Points, when it is attached
///   3  q <- nearest point of each scaled weight              nn::Parameter::effective, once per step
///   4  forward and loss at q; g <- dL/dq                     distill::fit
///   5  dL/dp_j = sum of alpha g over the weights of p_j      kernels::points_gradient
///   6  p <- optimizer step from p; sort                      optim::SGD; PointsParametrization::refresh
#pragma once

#include "qdistill/distill/fit.hpp"
#include "qdistill/distill/self_teacher.hpp"
#include "qdistill/quant/points.hpp"
#include "qdistill/quant/redistribute.hpp"
#include "qdistill/quant/select.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

/// Settings. Defaults are those of the published experiments, but for the rate: 1e-6 for their CIFAR-10 students, 1e-4
/// on CIFAR-100 and for translation.
struct DifferentiableQuantization {
  quant::Points points = {};  ///< bits or count: of each tensor before redistribution
  quant::Select select = quant::all_parameters();
  quant::Redistribution redistribution = quant::Redistribution::authors;
  Index norm_batches = 5;                   ///< minibatches for the gradient norms
  nn::Phase norm_phase = nn::Phase::train;  ///< as the published scripts: these batches move running statistics too
  bool distillation = true;                 ///< else cross entropy on the labels
  Options training = {.sgd = {.lr = 1e-5, .momentum = 0.9, .weight_decay = 0, .nesterov = true}};
};

namespace detail {

/// Keeps parameters out of the graph while it lives.
struct Frozen {
  std::vector<nn::ParameterPtr<float>> parameters = {};
  Frozen() = default;
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;
  ~Frozen() {
    for (const auto& p : parameters) p->freeze(false);
  }
};

}  // namespace detail

/// Quantizes `network`, which is trained and carries no quantizers, with `teacher` or, where that is null, itself
/// unquantized as teacher. What changes is its points and its running statistics; it ends quantized, in the state of
/// the best validation accuracy. To resume, give the trained network again: the checkpoint holds the counts of points.
/// Throws ValueError for bad settings or a network that is quantized already.
inline train::FitResult differentiable_quantization(nn::Module<float>& network, nn::Module<float>* teacher,
                                                    data::DataLoader& loader, data::DataLoader& validation,
                                                    const DifferentiableQuantization& options = {}) {
  const char* const op = "differentiable_quantization";
  options.points.validate();
  check(!options.points.train_weights, op, "trains points only. HINT: attach quant::Points and call distill::fit");
  check(options.norm_batches >= 1, op, "got ", options.norm_batches, " batches for the norms, expected at least 1");
  const auto tensors = quant::selected(network, options.select);
  check(!tensors.empty(), op, "the selection chose none of the network's parameters");
  for (const auto& [name, p] : network.named_parameters())
    check(!p->parametrization(), op, "'", name, "' is quantized already. HINT: quant::detach or quant::bake");
  SelfTeacher unquantized(network);
  Options training = options.training;

  // 1. How many points each tensor gets.
  std::vector<Index> counts(tensors.size(), options.points.points());
  if (training.fit.resume) {
    const train::Json& saved = training.fit.resume->numbers;
    const train::Json::json_pointer place("/context/points_per_tensor");
    check<FileError>(saved.contains(place) && saved.at(place).size() == counts.size(), op,
                     "got a checkpoint without the counts of points of ", counts.size(), " tensors");
    counts = saved.at(place).get<std::vector<Index>>();
  } else if (options.redistribution != quant::Redistribution::none) {
    loader.seek({0, 0});
    network.train(options.norm_phase == nn::Phase::train);
    network.zero_grad();
    for (Index b = 0; b < options.norm_batches; ++b) {
      const data::TensorBatch batch = data::to_tensors(loader.next());
      cross_entropy(network(batch.images), batch.labels).backward();
    }
    counts = quant::redistribute(counts, quant::gradient_norms(tensors, options.norm_batches), options.redistribution);
    network.zero_grad();
  }
  training.fit.context["points_per_tensor"] = counts;

  // 2. Initial points; the weights' scales. What is not quantized stays as it is.
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    quant::Points points = options.points;
    points.count = counts[t];
    tensors[t].parameter->set_parametrization(points.make<float>(*tensors[t].parameter));
  }
  detail::Frozen frozen;
  for (const auto& [name, p] : network.named_parameters())
    if (!p->parametrization() && !p->frozen()) p->freeze(), frozen.parameters.push_back(p);

  // 3 to 6, until the budget is used up.
  std::vector<nn::Module<float>*> teachers;
  if (options.distillation) teachers.push_back(teacher ? teacher : &unquantized);
  return fit(network, teachers, loader, validation, training);
}

}  // namespace qdistill::inline QDISTILL_ABI::distill
