/// Batch normalisations folded into the layer in front of them: equal up to rounding where that is valid, and left
/// alone, to the last bit, where it is not.
#include "qdistill/runtime/fold_batch_norm.hpp"

#include <catch2/catch.hpp>

#include "../io/temporary_folder.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/models/wide_resnet.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/dropout.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/runtime/model.hpp"
#include "runtime/trained.hpp"

using namespace qdistill;
using namespace qdistill_test;

namespace {

std::size_t batch_norms(const runtime::Plan& plan) {
  std::size_t n = 0;
  for (const runtime::Step& step : plan.steps) n += std::holds_alternative<runtime::BatchNormLayer>(step.layer);
  return n;
}

/// Runs `model` as it is and folded; `left` batch normalisations must remain. Returns the largest difference relative
/// to the largest output.
double difference(nn::Module<float>& model, const Tensor<float>& x, std::size_t left) {
  const io::PackedModel packed = quant::pack(model, sample_shape(x));
  CHECK(batch_norms(runtime::make_plan(packed, {.fold_batch_norm = true})) == left);
  const Tensor<float> expected = eval_forward(model, x);
  CHECK(same_bits(runtime::Model::from(packed).run(x), expected));
  const Tensor<float> y = runtime::Model::from(packed, {.fold_batch_norm = true}).run(x);
  REQUIRE(y.shape() == expected.shape());
  double worst = 0, largest = 0;
  for (Index i = 0; i < y.numel(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(y.data()[i]) - static_cast<double>(expected.data()[i])));
    largest = std::max(largest, std::fabs(static_cast<double>(expected.data()[i])));
  }
  REQUIRE(largest > 0);
  return worst / largest;
}

double difference(nn::Sequential<float> model, const Shape& x, std::size_t left) {
  randomise(model, 31);
  return difference(static_cast<nn::Module<float>&>(model), Tensor<float>::normal(x, {31, 1}), left);
}

}  // namespace

TEST_CASE("fold_batch_norm: each layer that can take one", "[runtime]") {
  using nn::Sequential;
  CHECK(difference(Sequential<float>(nn::Conv2d<float>(3, 5, 3), nn::BatchNorm2d<float>(5)), {2, 3, 7, 8}, 0) < 1e-6);
  CHECK(
      difference(Sequential<float>(nn::Conv2d<float>(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2, .bias = false}),
                                   nn::BatchNorm2d<float>(6, {.eps = 1e-3, .affine = false}), nn::ReLU<float>()),
                 {2, 4, 9, 8}, 0) < 1e-6);
  CHECK(difference(Sequential<float>(nn::Conv1d<float>(4, 6, 3), nn::BatchNorm1d<float>(6)), {2, 4, 9}, 0) < 1e-6);
  CHECK(difference(Sequential<float>(nn::Linear<float>(9, 6), nn::Dropout<float>(0.5), nn::BatchNorm1d<float>(6),
                                     nn::Tanh<float>(), nn::Linear<float>(6, 4, {.bias = false}),
                                     nn::BatchNorm1d<float>(4), nn::ReLU<float>()),
                   {5, 9}, 0) < 1e-6);
  // Two in a row fold one after the other.
  CHECK(difference(Sequential<float>(nn::Linear<float>(9, 6), nn::BatchNorm1d<float>(6), nn::BatchNorm1d<float>(6)),
                   {5, 9}, 0) < 1e-6);
}

TEST_CASE("fold_batch_norm: a ReLU goes into the folded layer", "[runtime]") {
  nn::Sequential<float> model(nn::Conv2d<float>(3, 5, 3), nn::BatchNorm2d<float>(5), nn::ReLU<float>(),
                              nn::BatchNorm2d<float>(5));
  const io::PackedModel packed = quant::pack(model, {3, 7, 8});
  CHECK(runtime::make_plan(packed).steps.size() == 3);  // conv, batch norm with ReLU, batch norm
  CHECK(runtime::make_plan(packed, {.fold_batch_norm = true}).steps.size() == 2);
  randomise(model, 32);
  CHECK(difference(static_cast<nn::Module<float>&>(model), Tensor<float>::normal({2, 3, 7, 8}, {32, 1}), 1) < 1e-6);
}

TEST_CASE("fold_batch_norm: left alone where it is not valid", "[runtime]") {
  using nn::Sequential;
  // Behind a ReLU, also one that has moved into the convolution, behind a pool, with nothing in front.
  CHECK(difference(Sequential<float>(nn::Conv2d<float>(3, 5, 3), nn::ReLU<float>(), nn::BatchNorm2d<float>(5)),
                   {2, 3, 7, 8}, 1) == 0);
  CHECK(difference(Sequential<float>(nn::Conv2d<float>(3, 5, 3), nn::MaxPool2d<float>(2), nn::BatchNorm2d<float>(5)),
                   {2, 3, 7, 8}, 1) == 0);
  CHECK(difference(Sequential<float>(nn::BatchNorm2d<float>(3), nn::Conv2d<float>(3, 5, 3)), {2, 3, 7, 8}, 1) == 0);
  CHECK(difference(Sequential<float>(nn::Conv2d<float>(3, 2, 3), nn::Flatten<float>(), nn::BatchNorm1d<float>(60)),
                   {2, 3, 7, 8}, 1) == 0);
  // Behind a linear layer on [N, C, L], where channels are not its outputs: fewer of them, and as many.
  CHECK(difference(Sequential<float>(nn::Linear<float>(9, 6), nn::BatchNorm1d<float>(4)), {5, 4, 9}, 1) == 0);
  CHECK(difference(Sequential<float>(nn::Linear<float>(9, 6), nn::BatchNorm1d<float>(6)), {5, 6, 9}, 1) == 0);
}

TEST_CASE("fold_batch_norm: not where the layer's result is read elsewhere", "[runtime]") {
  nn::Sequential<float> model(nn::Linear<float>(4, 4), nn::BatchNorm1d<float>(4));
  randomise(model, 33);
  io::PackedModel packed = quant::pack(model, {4});
  packed.network.add("add", {1, 2});  // the linear layer's result and the batch norm's
  CHECK(batch_norms(runtime::make_plan(packed, {.fold_batch_norm = true})) == 1);
  packed.network.ops.pop_back(), packed.network.output = 1;  // the batch norm is not needed
  const Tensor<float> x = Tensor<float>::normal({3, 4}, {33, 1});
  const runtime::Plan plan = runtime::make_plan(packed, {.fold_batch_norm = true});
  CHECK(plan.steps.size() == 1);
  CHECK(same_bits(runtime::Model::from(packed, {.fold_batch_norm = true}).run(x), runtime::Model::from(packed).run(x)));
  // Two layers of one weight: what is folded into the first must not reach the second.
  packed.network = {};
  packed.network.input_shape = {4};
  const TensorNames weights{{"weight", "0.weight"}, {"bias", "0.bias"}};
  const int first = packed.network.add("linear", {0}, {}, weights);
  const int norm = packed.network.add("batch_norm", {first}, {{"eps", 1e-5}},
                                      {{"running_mean", "1.running_mean"}, {"running_var", "1.running_var"}});
  packed.network.add("linear", {norm}, {}, weights);
  const Tensor<float> a = runtime::Model::from(packed, {.fold_batch_norm = true}).run(x);
  const Tensor<float> b = runtime::Model::from(packed).run(x);
  CHECK(batch_norms(runtime::make_plan(packed, {.fold_batch_norm = true})) == 0);
  for (Index i = 0; i < a.numel(); ++i) CHECK(a.data()[i] == Approx(b.data()[i]).epsilon(1e-5).margin(1e-6));
}

TEST_CASE("fold_batch_norm: factors that are not finite stay outside", "[runtime]") {
  nn::Sequential<float> model(nn::Linear<float>(4, 3), nn::BatchNorm1d<float>(3, {.eps = 0}));
  for (const auto& b : model.named_buffers())
    if (b.name == "1.running_var") b.values->copy_from(Tensor<float>::from({1, 0, 1}));
  CHECK(batch_norms(runtime::make_plan(quant::pack(model, {4}), {.fold_batch_norm = true})) == 1);
}

TEST_CASE("fold_batch_norm: the networks of the papers, quantized and not", "[runtime]") {
  default_generator() = Generator(19);
  for (const int bits : {0, 4}) {
    CAPTURE(bits);
    const auto folded = [bits](nn::Module<float>&& model, const Tensor<float>& x, std::size_t left) {
      randomise(model, 34);
      if (bits) quant::attach(model, quant::Uniform{.bits = bits, .bucket_size = 256});
      return difference(model, x, left);
    };
    const Tensor<float> x = Tensor<float>::normal({2, 3, 16, 16}, {34, 1});
    // ResNets: all of them, 1 + 2 for each of 5 blocks + 2 shortcuts.
    const models::ResNetSpec spec = {
        .blocks = {2, 1, 2}, .width = 0.125, .stem = models::ResNetStem::cifar, .classes = 7};
    CHECK(folded(models::resnet<float>(spec), x, 0) < 1e-5);
    // Wide ResNets: the second of each block; the first stands behind a sum, the last one too.
    CHECK(folded(models::wide_resnet<float>({.depth = 10, .widen_factor = 2}), x, 3 + 1) < 1e-5);
    // The first paper's CNNs have a ReLU in front of each: none.
    models::PolinoSpec cnn = models::polino_student_3();
    cnn.convs = {6, 5}, cnn.pool_after = {0}, cnn.linear = {11}, cnn.height = cnn.width = 16;
    CHECK(folded(models::polino_cnn<float>(cnn), x, 3) == 0);
  }
}

TEST_CASE("fold_batch_norm: through load", "[runtime]") {
  nn::Sequential<float> model(nn::Linear<float>(4, 3), nn::BatchNorm1d<float>(3));
  randomise(model, 35);
  const TemporaryFolder folder;
  quant::save_packed(model, folder / "m", {4});
  const Tensor<float> x = Tensor<float>::normal({3, 4}, {35, 1});
  const io::PackedModel packed = quant::pack(model, {4});
  CHECK(same_bits(runtime::load(folder / "m", {.fold_batch_norm = true}).run(x),
                  runtime::Model::from(packed, {.fold_batch_norm = true}).run(x)));
  CHECK(same_bits(runtime::load(folder / "m").run(x), eval_forward(model, x)));
}
