/// Module tree: names, modes, state, summary, describing, errors.
#include "qdistill/nn/module.hpp"

#include <catch2/catch.hpp>

#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/dropout.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/nn/summary.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

nn::Sequential<float> small_net() {
  return nn::Sequential<float>(nn::Conv2d<float>(3, 4, 3, {.padding = 1}), nn::BatchNorm2d<float>(4), nn::ReLU<float>(),
                               nn::MaxPool2d<float>(2), nn::Dropout2d<float>(0.5), nn::Flatten<float>(),
                               nn::Linear<float>(4 * 4 * 4, 10));
}

/// The ten-line network of the documentation.
struct Net : nn::Module<float> {
  nn::Conv2d<float>& conv = add("conv", nn::Conv2d<float>(3, 8, 3, {.padding = 1}));
  nn::Linear<float>& fc = add("fc", nn::Linear<float>(8 * 8 * 8, 10));
  Tensor<float> forward(const Tensor<float>& x) override { return fc(flatten(relu(conv(x)), 1)); }
  const char* type() const noexcept override { return "Net"; }
};

}  // namespace

TEST_CASE("parameters and buffers carry PyTorch's names in registration order", "[nn]") {
  const auto net = small_net();
  std::vector<std::string> names;
  for (const auto& e : nn::state_dict(net)) names.push_back(e.name);
  CHECK(names == std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "6.weight", "6.bias",
                                          "1.running_mean", "1.running_var", "1.num_batches_tracked"});
  CHECK(net.parameter_count() == 3 * 4 * 9 + 4 + 8 + 64 * 10 + 10);
}

TEST_CASE("train and eval reach every module; dropout and batch norm follow", "[nn]") {
  manual_seed(1);
  auto net = small_net();
  const Tensor<float> x = Tensor<float>::uniform({5, 3, 8, 8}, {4, 4}, -1.0f, 1.0f);
  const auto first = net(x).to_vector(), second = net(x).to_vector();
  CHECK(first != second);
  net.eval();
  for (const auto& child : net.children()) CHECK(!child.module->training());
  const auto a = net(x).to_vector(), b = net(x).to_vector();
  CHECK(a == b);
  for (const auto& e : nn::state_dict(net))
    if (e.count.defined()) CHECK(e.count.item() == 2);
}

TEST_CASE("a module may be moved: its children stay where they are", "[nn]") {
  Net first;
  const Tensor<float> x = Tensor<float>::uniform({2, 3, 8, 8}, {4, 4}, -1.0f, 1.0f);
  const auto before = first(x).to_vector();
  Net second = std::move(first);
  CHECK(second(x).to_vector() == before);
  CHECK(second.named_parameters().size() == 4);
}

TEST_CASE("a module that does not describe itself is refused by name when packed", "[nn]") {
  Net net;
  Network network;
  try {
    net.describe(network, 0, "body.");
    CHECK(false);
  } catch (const ValueError& e) {
    CHECK(std::string(e.what()).find("Net") != std::string::npos);
    CHECK(std::string(e.what()).find("body.") != std::string::npos);
  }
}

TEST_CASE("sequential describes its layers in order; dropout vanishes", "[nn]") {
  const auto net = small_net();
  Network network;
  net.describe(network, 0, "");
  std::vector<std::string> ops;
  for (const auto& op : network.ops) ops.push_back(op.op);
  CHECK(ops == std::vector<std::string>{"conv2d", "batch_norm", "relu", "max_pool2d", "flatten", "linear"});
  CHECK(network.ops[0].tensor("weight") == "0.weight");
}

TEST_CASE("the summary lists every layer and the totals", "[nn]") {
  const std::string s = nn::summary(small_net());
  for (const char* part : {"Conv2d", "BatchNorm2d", "[4, 3, 3, 3]", "total", "770", "3080"})
    CHECK(s.find(part) != std::string::npos);
}

TEST_CASE("layers refuse sizes and inputs that do not fit", "[nn]") {
  CHECK_THROWS_AS(nn::Linear<float>(0, 3), ShapeError);
  CHECK_THROWS_AS(nn::Conv2d<float>(3, 4, 0), ShapeError);
  CHECK_THROWS_AS(nn::Conv2d<float>(3, 4, 3, {.groups = 2}), ShapeError);
  CHECK_THROWS_AS(nn::BatchNorm2d<float>(0), ShapeError);
  CHECK_THROWS_AS(nn::BatchNorm2d<float>(3)(Tensor<float>::zeros({2, 3})), ShapeError);
  CHECK_THROWS_AS(nn::BatchNorm1d<float>(3)(Tensor<float>::zeros({2, 3, 4, 4})), ShapeError);
  CHECK_THROWS_AS(nn::Dropout<float>(1.5), ValueError);
  CHECK_THROWS_AS(nn::Linear<float>(3, 2)(Tensor<float>::zeros({2, 4})), ShapeError);
}

TEST_CASE("init::Skip leaves weights and the generator alone, and only while it lives", "[nn]") {
  default_generator() = Generator(1);
  const nn::Linear<float> first(3, 4);
  default_generator() = Generator(1);
  Tensor<float> w = Tensor<float>::full({4, 3}, 7.0f);
  {
    const nn::init::Skip skip;
    {
      const nn::init::Skip inner;
      nn::init::xavier_uniform(w);
    }
    nn::init::kaiming_normal(w);
    CHECK(nn::Linear<float>(3, 4).weight->shape() == Shape{4, 3});
  }
  CHECK(w.to_vector() == std::vector<float>(12, 7.0f));
  CHECK(nn::Linear<float>(3, 4).weight->data().to_vector() == first.weight->data().to_vector());
}

TEST_CASE("initialisers have the spread that their names promise", "[nn]") {
  Tensor<double> w = Tensor<double>::empty({64, 32, 3, 3});
  const auto spread = [&] {
    double sum = 0, sum_sq = 0;
    for (const double v : w.span()) sum += v, sum_sq += v * v;
    const double n = static_cast<double>(w.numel());
    CHECK(std::fabs(sum / n) < 0.01);
    return std::sqrt(sum_sq / n);
  };
  const double fan_in = 32 * 9, fan_out = 64 * 9;
  manual_seed(5);
  nn::init::xavier_uniform(w, 2);
  CHECK(spread() == Approx(2 * std::sqrt(2 / (fan_in + fan_out))).epsilon(0.02));
  nn::init::xavier_normal(w);
  CHECK(spread() == Approx(std::sqrt(2 / (fan_in + fan_out))).epsilon(0.02));
  nn::init::kaiming_uniform(w);
  CHECK(spread() == Approx(std::sqrt(2 / fan_in)).epsilon(0.02));
  nn::init::kaiming_normal(w, nn::init::gain("relu"), true);
  CHECK(spread() == Approx(std::sqrt(2 / fan_out)).epsilon(0.02));
  CHECK(nn::init::gain("tanh") == Approx(5.0 / 3));
  CHECK_THROWS_AS(nn::init::gain("swish"), ValueError);
  Tensor<double> v = Tensor<double>::empty({4});
  CHECK_THROWS_AS(nn::init::xavier_uniform(v), ShapeError);
}

}  // namespace qdistill_test
