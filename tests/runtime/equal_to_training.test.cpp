/// The runtime gives the bits of the trained model's forward in evaluation.
#include <catch2/catch.hpp>

#include "../io/temporary_folder.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/models/wide_resnet.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/pool1d.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/runtime/model.hpp"
#include "runtime/trained.hpp"
#include "threads.hpp"

using namespace qdistill;
using namespace qdistill_test;

namespace {

/// Through the memory form and through the file, with and without Huffman codes.
void check_equal(nn::Module<float>& model, const Tensor<float>& x) {
  const Tensor<float> expected = eval_forward(model, x);
  const Tensor<float> before = x.clone();
  const io::PackedModel packed = quant::pack(model, sample_shape(x), {{"note", "test"}});
  const runtime::Model direct = runtime::Model::from(packed);
  CHECK(direct.info().at("note") == "test");
  CHECK(direct.network() == packed.network);
  CHECK(same_bits(direct.run(x), expected));
  CHECK(same_bits(direct.run(x), expected));
  const TemporaryFolder folder;
  for (const bool huffman : {false, true}) {
    io::save_packed(folder / "m", packed, {.huffman = huffman});
    CHECK(same_bits(runtime::load(folder / "m").run(x), expected));
  }
  CHECK(same_bits(x, before));
}

}  // namespace

TEST_CASE("runtime: the CIFAR networks, quantized and not, to the last bit", "[runtime]") {
  default_generator() = Generator(7);
  models::PolinoSpec spec = models::polino_student_3();
  spec.convs = {13, 10, 6}, spec.pool_after = {0, 2}, spec.linear = {37}, spec.height = 12, spec.width = 16;
  models::PolinoSpec flat = models::polino_teacher();
  flat.convs = {8, 9}, flat.pool_after = {1}, flat.linear = {}, flat.dropout = {{0, 0.5}}, flat.height = flat.width = 9;
  for (const auto& s : {spec, flat})
    for (const int bits : {0, 2, 4, 8}) {
      CAPTURE(bits, s.kernel);
      auto model = models::polino_cnn<float>(s);
      randomise(model, static_cast<std::uint64_t>(bits) + 1);
      if (bits) quant::attach(model, quant::Uniform{.bits = bits, .bucket_size = 256});
      check_equal(model, Tensor<float>::normal({3, 3, s.height, s.width}, {1, 2}));
    }
}

TEST_CASE("runtime: the paper's third student at its own size", "[runtime]") {
  auto model = models::polino_cnn<float>(models::polino_student_3());
  randomise(model, 3);
  quant::attach(model, quant::Uniform{.bits = 4, .bucket_size = 256});
  const Tensor<float> x = Tensor<float>::normal({2, 3, 32, 32}, {1, 3});
  const runtime::Model net = runtime::Model::from(quant::pack(model, {3, 32, 32}));
  CHECK(same_bits(net.run(x), eval_forward(model, x)));
  CHECK(net.input_shape() == Shape{3, 32, 32});
  CHECK(net.output_shape() == Shape{10});
}

TEST_CASE("runtime: residual networks of both families, to the last bit", "[runtime]") {
  default_generator() = Generator(17);
  for (const int bits : {0, 4}) {
    CAPTURE(bits);
    const auto check = [bits](nn::Module<float>&& model, const Tensor<float>& x) {
      randomise(model, static_cast<std::uint64_t>(bits) + 20);
      if (bits) quant::attach(model, quant::Uniform{.bits = bits, .bucket_size = 256});
      check_equal(model, x);
    };
    check(models::wide_resnet<float>({.depth = 16, .widen_factor = 2, .classes = 7}),
          Tensor<float>::normal({2, 3, 14, 18}, {4, 1}));
    for (const bool bottleneck : {false, true})
      for (const auto stem : {models::ResNetStem::imagenet, models::ResNetStem::cifar})
        check(models::resnet<float>(
                  {.blocks = {2, 1, 2}, .bottleneck = bottleneck, .width = 0.125, .stem = stem, .classes = 7}),
              Tensor<float>::normal({2, 3, 21, 18}, {4, 2}));
  }
}

TEST_CASE("runtime: a residual network holds no more values than it needs", "[runtime]") {
  // At the widest, where the second group begins: the block's input, its normalised form, and a convolution of twice
  // as many channels. Beside them the convolution's working memory, of less than half a value for one thread.
  const Threads one(1);
  auto model = models::wide_resnet<float>({.depth = 28, .widen_factor = 1});
  const runtime::Model net = runtime::Model::from(quant::pack(model, {3, 16, 16}));
  const Tensor<float> x = Tensor<float>::ones({128, 3, 16, 16});
  net.run(x);
  const std::size_t before = memory_stats().in_use, plane = 128 * 16 * 16 * 16 * sizeof(float);
  reset_peak_memory();
  net.run(x);
  CHECK(memory_stats().peak - before <= 9 * plane / 2);
  CHECK(memory_stats().in_use == before);
}

TEST_CASE("runtime: every scaling and the mean", "[runtime]") {
  for (const Scaling scaling : {Scaling::linear, Scaling::absmax, Scaling::absnorm})
    for (const bool mean : {false, true}) {
      nn::Sequential<float> model(nn::Linear<float>(19, 11), nn::Tanh<float>(), nn::Linear<float>(11, 5));
      quant::attach(model, quant::Uniform{.bits = 3, .bucket_size = 32, .scaling = scaling, .subtract_mean = mean});
      check_equal(model, Tensor<float>::normal({4, 19}, {1, 4}));
    }
}

TEST_CASE("runtime: every layer of a Sequential", "[runtime]") {
  const auto run = [](nn::Sequential<float> model, const Shape& shape) {
    randomise(model, 5);
    check_equal(model, Tensor<float>::normal(shape, {2, 1}, 0.0f, 2.0f));
  };
  SECTION("convolutions") {
    run(nn::Sequential<float>(nn::Conv2d<float>(4, 6, {3, 5}, {.stride = {2, 1}, .padding = {1, 2}, .groups = 2}),
                              nn::ReLU<float>(), nn::Conv2d<float>(6, 5, 3, {.dilation = {1, 2}, .bias = false}),
                              nn::ReLU6<float>()),
        {2, 4, 11, 13});
    run(nn::Sequential<float>(nn::Conv1d<float>(4, 6, 5, {.stride = 2, .padding = 2, .groups = 2}), nn::ReLU<float>(),
                              nn::BatchNorm1d<float>(6), nn::Conv1d<float>(6, 3, 3, {.dilation = 2})),
        {3, 4, 29});
  }
  SECTION("pools") {
    run(nn::Sequential<float>(nn::MaxPool2d<float>(2), nn::Flatten<float>()), {2, 3, 7, 9});
    run(nn::Sequential<float>(
            nn::MaxPool2d<float>({3, 2}, {.stride = {2, 1}, .padding = 1, .dilation = {1, 2}, .ceil_mode = true})),
        {2, 3, 8, 9});
    run(nn::Sequential<float>(nn::MaxPool2d<float>(17, {.stride = 3, .padding = 8})), {1, 2, 20, 21});
    run(nn::Sequential<float>(nn::AvgPool2d<float>(
            {3, 2}, {.stride = {2, 1}, .padding = 1, .ceil_mode = true, .count_include_pad = false})),
        {2, 3, 8, 9});
    run(nn::Sequential<float>(nn::AvgPool2d<float>(2), nn::AvgPool2d<float>(3, {.stride = 1, .divisor_override = 5}),
                              nn::AdaptiveAvgPool2d<float>({2, 3}), nn::Flatten<float>()),
        {2, 3, 13, 12});
    run(nn::Sequential<float>(nn::AdaptiveMaxPool2d<float>({4, 5}), nn::AdaptiveMaxPool2d<float>(1)), {2, 3, 13, 12});
  }
  SECTION("pools over one dim") {
    run(nn::Sequential<float>(nn::Conv1d<float>(3, 5, 3), nn::ReLU<float>(), nn::MaxPool1d<float>(2),
                              nn::Flatten<float>()),
        {2, 3, 19});
    run(nn::Sequential<float>(nn::MaxPool1d<float>(3, {.stride = 2, .padding = 1, .dilation = 2, .ceil_mode = true})),
        {2, 3, 20});
    run(nn::Sequential<float>(nn::MaxPool1d<float>(300, {.stride = 7, .padding = 150})), {1, 2, 310});
    run(nn::Sequential<float>(
            nn::AvgPool1d<float>(3, {.stride = 2, .padding = 1, .ceil_mode = true, .count_include_pad = false})),
        {2, 3, 8});
    run(nn::Sequential<float>(nn::AvgPool1d<float>(2), nn::AdaptiveMaxPool1d<float>(5),
                              nn::AdaptiveAvgPool1d<float>(3)),
        {2, 3, 23});
  }
  SECTION("normalisation") {
    run(nn::Sequential<float>(nn::BatchNorm2d<float>(5, {.eps = 1e-3}), nn::Identity<float>(),
                              nn::BatchNorm2d<float>(5, {.affine = false})),
        {2, 5, 6, 7});
    run(nn::Sequential<float>(nn::Linear<float>(9, 70), nn::BatchNorm1d<float>(70), nn::Dropout<float>(0.5)), {4, 9});
    run(nn::Sequential<float>(nn::BatchNorm2d<float>(5), nn::ReLU<float>(), nn::BatchNorm2d<float>(5)), {2, 5, 6, 7});
  }
  SECTION("activations") {
    run(nn::Sequential<float>(nn::ReLU<float>()), {3, 101});
    run(nn::Sequential<float>(nn::ReLU6<float>()), {3, 101});
    run(nn::Sequential<float>(nn::LeakyReLU<float>(0.2)), {3, 101});
    run(nn::Sequential<float>(nn::ELU<float>(0.7)), {3, 101});
    run(nn::Sequential<float>(nn::GELU<float>()), {3, 101});
    run(nn::Sequential<float>(nn::SiLU<float>()), {3, 101});
    run(nn::Sequential<float>(nn::Hardswish<float>()), {3, 101});
    run(nn::Sequential<float>(nn::Sigmoid<float>()), {3, 101});
    run(nn::Sequential<float>(nn::Tanh<float>()), {3, 101});
    run(nn::Sequential<float>(nn::Softplus<float>()), {3, 101});
    run(nn::Sequential<float>(nn::Linear<float>(7, 9), nn::GELU<float>(), nn::Tanh<float>(), nn::Linear<float>(9, 4),
                              nn::ReLU<float>(), nn::ReLU<float>()),
        {2, 5, 7});
  }
}

namespace {

/// x + relu(conv(x)), then a relu whose input is read twice: nothing may move into that convolution.
struct Residual final : nn::Module<float> {
  nn::Conv2d<float>& first = add("first", nn::Conv2d<float>(3, 3, 3, {.padding = 1}));
  nn::Conv2d<float>& second = add("second", nn::Conv2d<float>(3, 3, 3, {.padding = 1}));
  Tensor<float> forward(const Tensor<float>& x) override {
    const Tensor<float> a = qdistill::add(x, relu(first(x))), b = second(a);
    return qdistill::add(qdistill::add(relu(b), b), a);
  }
  const char* type() const noexcept override { return "Residual"; }
  int describe(Network& net, int x, const std::string& prefix) const override {
    const int a = net.add("add", {x, net.add("relu", {first.describe(net, x, prefix + "first.")})});
    const int b = second.describe(net, a, prefix + "second.");
    return net.add("add", {net.add("add", {net.add("relu", {b}), b}), a});
  }
};

}  // namespace

TEST_CASE("runtime: residual networks, values that are read several times", "[runtime]") {
  Residual model;
  quant::attach(model, quant::Uniform{.bits = 4});
  check_equal(model, Tensor<float>::normal({2, 3, 6, 5}, {3, 1}));
}

TEST_CASE("runtime: strided and empty batches", "[runtime]") {
  nn::Sequential<float> model(nn::Conv2d<float>(2, 4, 3), nn::ReLU<float>(), nn::BatchNorm2d<float>(4),
                              nn::MaxPool2d<float>(2), nn::Flatten<float>(), nn::Linear<float>(16, 3));
  const runtime::Model net = runtime::Model::from(quant::pack(model, {2, 6, 6}));
  const Tensor<float> wide = Tensor<float>::normal({6, 2, 6, 6}, {3, 2});
  const Tensor<float> every_other = wide.window({3, 2, 6, 6}, {144, 36, 6, 1}, 0);
  CHECK(same_bits(net.run(every_other), eval_forward(model, every_other.clone())));
  const Tensor<float> none = net.run(Tensor<float>::zeros({0, 2, 6, 6}));
  CHECK(none.shape() == Shape{0, 3});
}
