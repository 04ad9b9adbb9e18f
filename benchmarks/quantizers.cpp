/// What a quantizer adds to a training step of the CIFAR-10 teacher with batch normalisation (5.3 million weights),
/// batch 128, cross entropy. Each case takes steps of the network with the quantizer and without it in turn; its time
/// is that of the one with. Counter: cost_percent, the median of the pairs. Of `none`, two equal networks, it is noise.
///
///   qd         uniform, 4 bits, buckets of 256, every tensor; SGD for all (Polino, Pascanu, Alistarh 2018, section 3)
///   dq         16 points per tensor, buckets of 256, every tensor; SGD for the points alone (section 4)
///   diffq_gG   groups of G in the tensors above 0.01 MB that it divides; SGD, Adam for the bits, the size as penalty
///              (Defossez, Adi, Synnaeve 2022)
///   pq         the codewords of small blocks are finetuned, nothing else (Stock et al. 2020, section 3.3)
///
///   kmeans_512x512x3x3   no step: the codebook of such a layer, k = 256, d = 9, 100 iterations, each weighted by the
///              inputs that it draws, which are made beforehand
///
/// Steps are those of the methods: where only points or codewords are trained, the optimizer has less to do than in the
/// plain step, and the percentage contains that.
#include <functional>
#include <optional>

#include "qdistill/distill/fit.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/points.hpp"
#include "qdistill/quant/product.hpp"
#include "qdistill/quant/uniform.hpp"
#include "training.hpp"

namespace qdistill_bench {

using Teacher = models::PolinoCnn<float>;
using Attach = std::function<void(Teacher&)>;

/// The network, with or without a quantizer, and its optimizer.
class Trained {
 public:
  Trained(const Attach& attach, optim::SgdOptions sgd) : net_(models::polino_teacher()) {
    if (attach) attach(net_);
    optimizer_ = distill::detail::make_optimizer(net_, {.sgd = sgd, .bits_lr = 1e-3});
    if (!net_.parameters("bits").empty()) size_.emplace(net_);
  }
  void step(const Images& images) {
    optimizer_->zero_grad();
    Tensor<float> loss = cross_entropy(net_(images.x), images.labels);
    if (size_) loss = add(std::move(loss), mul((*size_)(), 0.05));
    loss.backward();
    optimizer_->step();
  }

 private:
  Teacher net_;
  std::optional<quant::SizePenalty<float>> size_;
  std::unique_ptr<optim::Optimizer<float>> optimizer_;
};

void quantizer_case(const char* name, Attach attach, optim::SgdOptions sgd = sgd_options) {
  add_case(
      text("quantizer/", name),
      [=](benchmark::State& state) {
        const Images images(128);
        Trained with(attach, sgd), without(nullptr, sgd_options);
        const Pairs pairs = alternate(
            state, warm_up, [&] { with.step(images); }, [&] { without.step(images); });
        state.counters["images_per_second"] = static_cast<double>(images.size()) / pairs.ours;
        state.counters["cost_percent"] = 100 * (1 / pairs.ratio - 1);
      },
      benchmark::kMillisecond, Clock::manual);
}

/// Codebooks of few k-means iterations: which block has which codeword does not change the work.
void product(Teacher& net) {
  const quant::Select classifier = quant::named("out_layer.weight");
  quant::attach(net, quant::Product{.codewords = 2048, .iterations = 2}, classifier);
  quant::attach(net, quant::Product{.iterations = 2},
                quant::excluding({"out_layer.weight", "conv_layers.0.weight"}, quant::weights_only()));
  for (const auto& [name, p] : net.named_parameters()) p->freeze(!p->parametrization());
}

Attach diffq(Index group_size) {
  return [group_size](Teacher& net) {
    quant::attach(net, quant::DiffQ{.group_size = group_size},
                  quant::divisible_by(group_size, quant::larger_than_mb(0.01)));
  };
}

void kmeans(benchmark::State& state) {
  constexpr Index d = 9, iterations = 100, rows = 1000;
  const Tensor<float> weight = Tensor<float>::normal({512, 512, 3, 3}, {1, 1});
  quant::InputGrams inputs{d, std::vector<double>(static_cast<std::size_t>(iterations * d * d)), {}};
  const Tensor<float> x = Tensor<float>::normal({iterations, rows, d}, {1, 2});
  for (Index t = 0; t < iterations; ++t)
    kernels::add_gram(Cpu{}, rows, d, x.data() + t * rows * d, inputs.each.data() + t * d * d);
  timed(state, 0, [&] {
    benchmark::DoNotOptimize(quant::fit_product(quant::Product{}, weight, inputs, RandomStream{1, 3}).codes.data());
  });
}

void add_cases() {
  add_case("quantizer/kmeans_512x512x3x3", kmeans);
  quantizer_case("none", nullptr);
  quantizer_case("qd", [](Teacher& net) { quant::attach(net, quant::Uniform{.bits = 4, .bucket_size = 256}); });
  quantizer_case("diffq_g8", diffq(8));
  quantizer_case("diffq_g4", diffq(4));
  quantizer_case("dq", [](Teacher& net) { quant::attach(net, quant::Points{.bits = 4, .bucket_size = 256}); },
                 {.lr = 1e-5, .momentum = 0.9, .weight_decay = 0, .nesterov = true});
  quantizer_case("pq", product, {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4});
}

}  // namespace qdistill_bench

int main(int argc, char** argv) {
  qdistill_bench::add_cases();
  return qdistill_bench::run(argc, argv);
}
