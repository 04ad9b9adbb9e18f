/// What a step of the benchmarks is: its images, its optimizer, and the arithmetic that it is held against.
#pragma once

#include "common.hpp"
#include "machine.hpp"
#include "qdistill/core/random.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/layer_inputs.hpp"

namespace qdistill_bench {

struct Images {
  explicit Images(Index n, Index side = 32, Index classes = 10)
      : x(Tensor<float>::normal({n, 3, side, side}, {1, 1})), labels(Tensor<Index>::empty({n})) {
    for (Index i = 0; i < n; ++i) labels.data()[i] = i * 7 % classes;
  }
  Index size() const { return labels.numel(); }
  Tensor<float> x;
  Tensor<Index> labels;
};

constexpr int warm_up = 2;
constexpr optim::SgdOptions sgd_options{.lr = 1e-3, .momentum = 0.9, .weight_decay = 2.2e-4, .nesterov = true};

/// Operations of a forward pass on one image: two for each multiply-add of the convolutions and linear layers, by the
/// direct algorithm. A training step has three times as many. To be called before quantizers are attached, whose
/// effective weights it would leave behind.
inline double operations(nn::Module<float>& net, const Shape& images) {
  const Tensor<float> one = Tensor<float>::zeros({1, images[1], images[2], images[3]});
  const bool training = net.training();
  net.eval();
  double sum = 0;
  std::vector<nn::Observing<float>> observing;
  for (const quant::WeightLayer& layer : quant::layers_in_forward_order(net, one))
    observing.emplace_back(*layer.module, [&sum, rows = layer.rows](const Tensor<float>& x) {
      sum += 2.0 * static_cast<double>(rows.per_image(x)) * static_cast<double>(rows.length() * rows.outputs());
    });
  const NoGrad no_grad;
  net(one);
  net.train(training);
  return sum;
}

/// Counters of a step on `images` of `work` operations each: images a second, memory, and the share of the measured
/// peak. Winograd counts as the direct algorithm, so the share can pass 1.
inline void finish(benchmark::State& state, const Images& images, double work, double seconds) {
  const double n = static_cast<double>(images.size());
  rate(state, "images_per_second", n, seconds);
  memory_counters(state);
  rate(state, "share_of_peak", n * work / machine().flops_per_second, seconds);
}

}  // namespace qdistill_bench
