/// Every quantizer on every kind of layer: packed, written, loaded, the same logits to the last bit.
#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <utility>

#include "../io/temporary_folder.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/binary_connect.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/dorefa.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/lsq.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/points.hpp"
#include "qdistill/quant/product.hpp"
#include "qdistill/quant/projected.hpp"
#include "qdistill/quant/quant_noise.hpp"
#include "qdistill/quant/ternary.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/quant/weight_sharing.hpp"
#include "qdistill/runtime/model.hpp"
#include "runtime/trained.hpp"

using namespace qdistill;
using qdistill_test::eval_forward;
using qdistill_test::same_bits;

namespace {

using Net = nn::Module<float>;
using Attach = std::function<void(Net&)>;

template <class Q>
std::pair<std::string, Attach> on_weights(std::string name, Q quantizer) {
  return {std::move(name), [quantizer](Net& net) { quant::attach(net, quantizer, quant::weights_only()); }};
}

std::vector<std::pair<std::string, Attach>> quantizers() {
  const quant::Product blocks{.codewords = 8, .linear = 2, .iterations = 3};
  return {{"none", [](Net&) {}},
          {"uniform, all tensors", [](Net& net) { quant::attach(net, quant::Uniform{.bits = 3, .bucket_size = 32}); }},
          on_weights("uniform, one bucket, absmax",
                     quant::Uniform{.bits = 5, .bucket_size = 0, .scaling = Scaling::absmax}),
          on_weights("points", quant::Points{.bits = 3, .bucket_size = 64}),
          on_weights("diffq", quant::DiffQ{.group_size = 4}),
          on_weights("product", blocks),
          on_weights("lsq", quant::Lsq{.bits = 3}),
          on_weights("weight sharing", quant::WeightSharing{.bits = 3}),
          on_weights("ternary", quant::Ternary{}),
          on_weights("binary connect", quant::BinaryConnect{}),
          on_weights("dorefa", quant::DoReFa{.bits = 3}),
          on_weights("projected", quant::Projected{.quantizer = quant::Uniform{.bits = 4}}),
          on_weights("quant-noise, uniform", quant::QuantNoise<quant::Uniform>{.inner = {.bits = 4}}),
          on_weights("quant-noise, product", quant::QuantNoise<quant::Product>{.inner = blocks}),
          {"half", [](Net& net) { quant::attach(net, quant::Half{}); }}};
}

struct LayerKind {
  std::string name;
  Shape input;  ///< with the batch
  std::function<std::unique_ptr<Net>()> make;
};

std::function<std::unique_ptr<Net>()> in_a_row(std::function<nn::Sequential<float>()> make) {
  return [make] { return std::make_unique<nn::Sequential<float>>(make()); };
}

std::vector<LayerKind> layer_kinds() {
  using S = nn::Sequential<float>;
  return {{"linear", {3, 24}, in_a_row([] {
             return S(nn::Linear<float>(24, 20), nn::ReLU<float>(), nn::Linear<float>(20, 6, {.bias = false}));
           })},
          {"conv 3 x 3", {2, 4, 9, 7}, in_a_row([] { return S(nn::Conv2d<float>(4, 8, 3, {.padding = 1})); })},
          {"conv 5 x 5, strided", {2, 4, 9, 8}, in_a_row([] {
             return S(nn::Conv2d<float>(4, 8, 5, {.stride = 2, .padding = 2, .bias = false}));
           })},
          {"conv 1 x 1", {2, 8, 5, 5}, in_a_row([] { return S(nn::Conv2d<float>(8, 12, 1)); })},
          {"conv, grouped", {2, 8, 7, 7}, in_a_row([] { return S(nn::Conv2d<float>(8, 12, 3, {.groups = 4})); })},
          {"conv, depthwise", {2, 8, 7, 7}, in_a_row([] {
             return S(nn::Conv2d<float>(8, 8, 3, {.padding = 1, .groups = 8}));
           })},
          {"conv 1d", {2, 4, 21}, in_a_row([] { return S(nn::Conv1d<float>(4, 8, 4, {.stride = 2})); })},
          {"residual network", {2, 3, 32, 32}, [] {
             return std::make_unique<models::ResNet<float>>(models::for_cifar(models::resnet18(0.125)));
           }}};
}

}  // namespace

TEST_CASE("runtime: every quantizer on every kind of layer, through a file", "[runtime]") {
  const TemporaryFolder folder;
  for (const LayerKind& kind : layer_kinds())
    for (const auto& [name, attach] : quantizers()) {
      CAPTURE(kind.name, name);
      manual_seed(3);
      const auto net = kind.make();
      qdistill_test::randomise(*net, 7);
      attach(*net);
      const Tensor<float> x = Tensor<float>::normal(kind.input, {8, 1});
      const Tensor<float> expected = eval_forward(*net, x);
      for (const bool huffman : {false, true}) {
        const io::PackedModel packed = quant::pack(*net, qdistill_test::sample_shape(x));
        const Ledger bytes = io::save_packed(folder / "m", packed, {.huffman = huffman});
        CHECK(bytes.total() == static_cast<Index>(std::filesystem::file_size(folder / "m")));
        CHECK(same_bits(runtime::load(folder / "m").run(x), expected));
      }
    }
}
