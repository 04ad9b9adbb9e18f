/// Weights that the runtime prepares once: the bits of training's evaluation, in every algorithm that they may run
/// with.
#include "qdistill/runtime/prepared.hpp"

#include <catch2/catch.hpp>
#include <thread>

#include "conv_mode.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pool.hpp"
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

/// Convolutions wide enough for Winograd with one image (3 x 3 and 5 x 5), with several only, and never.
nn::Sequential<float> network() {
  nn::Sequential<float> net(
      nn::Conv2d<float>(3, 33, 3, {.padding = 1}), nn::ReLU<float>(), nn::Conv2d<float>(33, 34, 3, {.padding = 1}),
      nn::BatchNorm2d<float>(34), nn::ReLU<float>(), nn::Conv2d<float>(34, 36, 5, {.padding = 2}),
      nn::MaxPool2d<float>(2), nn::Conv2d<float>(36, 36, 3, {.padding = 1, .bias = false}),
      nn::Conv2d<float>(36, 36, 3, {.padding = 1, .groups = 36}), nn::Conv2d<float>(36, 20, 1, {.stride = 2}),
      nn::Flatten<float>(), nn::Linear<float>(320, 50), nn::ReLU<float>(), nn::Linear<float>(50, 7));
  randomise(net, 41);
  return net;
}

}  // namespace

TEST_CASE("runtime: prepared weights give training's bits for any batch, mode and number of threads", "[runtime]") {
  nn::Sequential<float> net = network();
  quant::attach(net, quant::Uniform{.bits = 4, .bucket_size = 256});
  const runtime::Model model = runtime::Model::from(quant::pack(net, {3, 16, 16})), copy = model;
  const int threads = num_threads();
  for (const Index n : {1, 2, 9, 1, 33})
    for (const ConvMode mode : {ConvMode::fast, ConvMode::exact}) {
      const Tensor<float> x = Tensor<float>::normal({n, 3, 16, 16}, {5, static_cast<std::uint64_t>(n)});
      const qdistill_test::WithConvMode with(mode);
      set_num_threads(1);
      const Tensor<float> expected = eval_forward(net, x);
      CHECK(same_bits(model.run(x), expected));
      set_num_threads(4);
      CHECK(same_bits(copy.run(x), expected));
    }
  set_num_threads(threads);
}

TEST_CASE("runtime: several threads may make the first call", "[runtime]") {
  nn::Sequential<float> net = network();
  const Tensor<float> x = Tensor<float>::normal({1, 3, 16, 16}, {5, 1});
  const Tensor<float> expected = eval_forward(net, x);
  const runtime::Model model = runtime::Model::from(quant::pack(net, {3, 16, 16}));
  Tensor<float> results[4];
  std::vector<std::thread> callers;
  for (Tensor<float>& y : results) callers.emplace_back([&model, &x, &y] { y = model.run(x); });
  for (std::thread& t : callers) t.join();
  for (const Tensor<float>& y : results) CHECK(same_bits(y, expected));
}

TEST_CASE("runtime: a loaded network holds its weights once, shared ones too", "[runtime]") {
  io::PackedModel packed;
  packed.network.input_shape = {64, 8, 8};
  int x = 0;
  for (int i = 0; i < 3; ++i) x = packed.network.add("conv2d", {x}, {}, {{"weight", "conv"}});
  x = packed.network.add("flatten", {x});
  for (int i = 0; i < 3; ++i) x = packed.network.add("linear", {x}, {}, {{"weight", "fc"}});
  const auto dense = [](const Shape& shape, std::uint64_t seed) {
    return Encoding{{shape.begin(), shape.end()},
                    DenseEncoding{Tensor<float>::uniform(shape, {seed, 0}, -0.1f, 0.1f).to_vector()}};
  };
  packed.tensors["conv"] = dense({64, 64, 1, 1}, 1);
  packed.tensors["fc"] = dense({4096, 4096}, 2);
  const std::size_t before = memory_stats().in_use;
  const runtime::Model model = runtime::Model::from(packed);
  const std::size_t weights = (64 * 64 + 4096 * 4096) * sizeof(float);
  CHECK(memory_stats().in_use - before <= weights / 8 * 9);
  CHECK(model.run(Tensor<float>::ones({1, 64, 8, 8})).shape() == Shape{1, 4096});
}
