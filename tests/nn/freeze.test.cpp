/// Frozen parameters, and observers of what a layer's weights meet.
#include <catch2/catch.hpp>

#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/uniform.hpp"

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("a frozen parameter is a constant, with a quantizer or without", "[nn]") {
  for (const bool quantized : {false, true}) {
    manual_seed(1);
    nn::Sequential<double> net(nn::Linear<double>(3, 4), nn::Linear<double>(4, 2));
    auto& first = dynamic_cast<nn::Linear<double>&>(*net.children()[0].module);
    auto& second = dynamic_cast<nn::Linear<double>&>(*net.children()[1].module);
    if (quantized) quant::attach(net, quant::Uniform{.bits = 4});
    const Tensor<double> x = Tensor<double>::normal({5, 3}, {1, 1});
    const std::vector<double> free = net(x).to_vector();
    for (auto* const p : {first.weight.get(), first.bias.get()}) p->freeze();
    CHECK(first.weight->frozen());
    CHECK(!first(x).requires_grad());  // nothing below the second layer is recorded
    CHECK(!first.weight->effective(nn::Phase::eval).requires_grad());
    optim::SGD<double> sgd(net.parameters(), {.lr = 0.1});
    const std::vector<double> kept = first.weight->data().to_vector(), moved = second.weight->data().to_vector();
    const Tensor<double> y = net(x);
    CHECK(y.to_vector() == free);
    sum(y).backward();
    CHECK(!first.weight->data().grad().defined());
    CHECK(!first.bias->data().grad().defined());
    CHECK(second.weight->data().grad().defined());
    sgd.step();
    CHECK(first.weight->data().to_vector() == kept);
    CHECK(second.weight->data().to_vector() != moved);
    // It follows its stored tensor all the same, and thaws.
    first.weight->data().fill(0.5);
    CHECK(first.weight->effective(nn::Phase::train).to_vector() == std::vector<double>(12, 0.5));
    first.weight->freeze(false);
    sum(net(x)).backward();
    CHECK(first.weight->data().grad().defined());
  }
}

TEST_CASE("an observer sees the input of a layer, whichever way it is called", "[nn]") {
  nn::Conv2d<float> conv2(2, 3, 3);
  nn::Conv1d<float> conv1(2, 3, 3);
  nn::Linear<float> linear(6, 4);
  std::vector<std::vector<float>> seen;
  const auto look = [&](const Tensor<float>& x) { seen.push_back(x.to_vector()); };
  for (nn::Module<float>* const layer : std::initializer_list<nn::Module<float>*>{&conv2, &conv1, &linear})
    layer->observe(look);
  const Tensor<float> image = Tensor<float>::normal({1, 2, 4, 4}, {1, 1}),
                      line = Tensor<float>::normal({1, 2, 6}, {1, 2});
  conv2(image), conv2.forward_relu(image), conv1(line), linear(line), linear.forward_relu(line);
  const auto a = image.to_vector(), b = line.to_vector();
  CHECK(seen == std::vector<std::vector<float>>{a, a, b, b, b});
  conv2.observe(nullptr);
  conv2(image);
  CHECK(seen.size() == 5);
  nn::Linear<float> moved = std::move(linear);
  moved(line);
  CHECK(seen.size() == 6);
}

}  // namespace qdistill_test
