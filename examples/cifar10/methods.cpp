#include "methods.hpp"

#include <chrono>

#include "qdistill/distill/differentiable_quantization.hpp"
#include "qdistill/distill/product_quantization.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/binary_connect.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/dorefa.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/lsq.hpp"
#include "qdistill/quant/projected.hpp"
#include "qdistill/quant/quant_noise.hpp"
#include "qdistill/quant/ternary.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/quant/weight_sharing.hpp"

namespace cifar10 {

namespace {

train::FitResult train_as_it_is(Compression& c) {
  std::vector<Net*> teachers;
  if (c.teacher) teachers.push_back(c.teacher);
  return distill::fit(c.net, teachers, c.loader, c.validation, c.options);
}

/// All parameters, as the first paper's published runs do.
template <class Q>
train::FitResult all_quantized(Compression& c, const Q& quantizer) {
  quant::attach(c.net, quantizer, c.all);
  return train_as_it_is(c);
}

/// Weights of convolutions and linear layers; what is left is stored as float16.
template <class Q>
train::FitResult weights_quantized(Compression& c, const Q& quantizer, const quant::Select& select) {
  quant::attach(c.net, quantizer, select);
  quant::attach(c.net, quant::Half{}, quant::not_quantized());
  return train_as_it_is(c);
}

/// Without the output layer: no batch norm follows it, and weights of size 1 would make its logits large.
quant::Select hidden_weights() {
  return [inner = quant::weights_only()](const quant::Candidate& c) {
    return inner(c) && !(c.shape.rank() == 2 && c.shape[0] == 10);
  };
}

train::FitResult points(Compression& c, quant::Redistribution redistribution) {
  distill::DifferentiableQuantization dq;
  dq.points.bits = c.bits;
  dq.select = c.all;
  dq.redistribution = redistribution;
  dq.training = c.options;
  dq.training.sgd.weight_decay = 0;  // it would pull the points together
  return distill::differentiable_quantization(c.net, c.teacher, c.loader, c.validation, dq);
}

/// Half of the budget's minibatches for the layers one by one, half for all codewords together; towards the student's
/// own outputs, as in the paper.
train::FitResult product(Compression& c, bool large) {
  const auto start = std::chrono::steady_clock::now();
  const Index epochs = c.options.fit.epochs;
  const auto layers = static_cast<Index>(quant::selected(c.net, quant::weights_only()).size()) - 1;
  distill::ProductOptions pq;
  pq.layers = large ? distill::large_blocks : distill::small_blocks;
  pq.fit = c.options.fit;
  pq.fit.epochs = (epochs + 1) / 2;
  pq.fit.schedule = nullptr;
  pq.steps = std::max<Index>(1, epochs / 2 * c.loader.batches_per_epoch() / std::max<Index>(1, layers));
  pq.cache_teacher = c.options.cache_teacher;
  distill::ProductResult done = distill::product_quantization(c.net, c.original, c.loader, c.validation, pq);
  done.global.interrupted = done.interrupted;
  done.global.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!done.interrupted) quant::attach(c.net, quant::Half{}, quant::not_quantized());
  return std::move(done.global);
}

std::vector<Method> make_methods() {
  using C = Compression;
  constexpr BitRange level_bits{1, 16}, point_bits{1, 8};
  const auto uniform = [](const C& c) { return quant::Uniform{.bits = c.bits}; };
  std::vector<Method> all;
  all.push_back({.name = "pm", .label = "PM", .about = "post-mortem quantization", .bits = level_bits});
  all.push_back({.name = "labels",
                 .label = "quantized, labels",
                 .about = "as qd, without a teacher",
                 .bits = level_bits,
                 .from_labels = true,
                 .train = [uniform](C& c) { return all_quantized(c, uniform(c)); }});
  all.push_back(
      {.name = "qd", .label = "QD", .about = "quantized distillation", .bits = level_bits, .train = [uniform](C& c) {
         return all_quantized(c, uniform(c));
       }});
  all.push_back({.name = "qd-stochastic",
                 .label = "QD, stochastic",
                 .about = "qd with stochastic rounding in training",
                 .bits = level_bits,
                 .train = [](C& c) {
                   return all_quantized(c, quant::Uniform{.bits = c.bits, .rounding = quant::Rounding::stochastic});
                 }});
  all.push_back({.name = "projected",
                 .label = "projected gradient",
                 .about = "weights rounded after every step, nothing kept",
                 .bits = level_bits,
                 .needs_trained = true,
                 .train = [uniform](C& c) { return all_quantized(c, quant::Projected{.quantizer = uniform(c)}); }});
  all.push_back({.name = "dq",
                 .label = "DQ",
                 .about = "differentiable quantization, points redistributed",
                 .bits = point_bits,
                 .needs_trained = true,
                 .shows_layers = true,
                 .rate = 0.01,
                 .train = [](C& c) { return points(c, quant::Redistribution::authors); }});
  all.push_back({.name = "dq-equal",
                 .label = "DQ, equal counts",
                 .about = "dq without redistribution",
                 .bits = point_bits,
                 .needs_trained = true,
                 .shows_layers = true,
                 .rate = 0.01,
                 .train = [](C& c) { return points(c, quant::Redistribution::none); }});
  all.push_back({.name = "diffq",
                 .label = "DiffQ",
                 .about = "pseudo quantization noise, learnt bits for groups of 8 weights",
                 .shows_layers = true,
                 .train = [](C& c) {
                   c.options.penalty_weight = c.lambda;
                   c.options.fit.keep_best = false;  // the model shrinks while it trains
                   return weights_quantized(c, quant::DiffQ{.group_size = 8},
                                            quant::divisible_by(8, quant::larger_than_mb(0.01, quant::weights_only())));
                 }});
  all.push_back({.name = "lsq", .label = "LSQ", .about = "learned step size", .bits = {2, 16}, .train = [](C& c) {
                   return weights_quantized(c, quant::Lsq{.bits = c.bits}, quant::weights_only());
                 }});
  all.push_back(
      {.name = "quant-noise",
       .label = "Quant-Noise",
       .about = "a tenth of the weights quantized at a time",
       .bits = level_bits,
       .train = [uniform](C& c) { return all_quantized(c, quant::QuantNoise<quant::Uniform>{.inner = uniform(c)}); }});
  all.push_back(
      {.name = "dorefa", .label = "DoReFa", .about = "weights of DoReFa-Net", .bits = level_bits, .train = [](C& c) {
         return weights_quantized(c, quant::DoReFa{.bits = c.bits}, hidden_weights());
       }});
  all.push_back({.name = "sharing",
                 .label = "weight sharing",
                 .about = "k-means, the shared values trained",
                 .bits = point_bits,
                 .needs_trained = true,
                 .rate = 0.01,
                 .train = [](C& c) {
                   return weights_quantized(c, quant::WeightSharing{.bits = c.bits}, quant::weights_only());
                 }});
  all.push_back(
      {.name = "ternary", .label = "ternary", .about = "trained ternary quantization", .rate = 0.01, .train = [](C& c) {
         return weights_quantized(c, quant::Ternary{}, hidden_weights());
       }});
  all.push_back({.name = "binary", .label = "BinaryConnect", .about = "weights of -1 and 1", .train = [](C& c) {
                   return weights_quantized(c, quant::BinaryConnect{}, hidden_weights());
                 }});
  all.push_back({.name = "pq",
                 .label = "PQ",
                 .about = "product quantization, small blocks",
                 .needs_trained = true,
                 .shows_layers = true,
                 .keeps_weights = false,
                 .train = [](C& c) { return product(c, false); }});
  all.push_back({.name = "pq-large",
                 .label = "PQ, large blocks",
                 .about = "product quantization, large blocks",
                 .needs_trained = true,
                 .shows_layers = true,
                 .keeps_weights = false,
                 .train = [](C& c) { return product(c, true); }});
  return all;
}

}  // namespace

const std::vector<Method>& methods() {
  static const std::vector<Method> all = make_methods();
  return all;
}

const Method& method(const std::string& name) {
  std::string names;
  for (const Method& m : methods()) {
    if (m.name == name) return m;
    names += (names.empty() ? "" : ", ") + m.name;
  }
  fail("cifar10", "got method '", name, "', expected one of ", names);
}

}  // namespace cifar10
