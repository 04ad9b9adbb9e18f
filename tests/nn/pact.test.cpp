/// PACT: gradients by their definition, the module trained, packed and run.
#include "qdistill/nn/pact.hpp"

#include <catch2/catch.hpp>

#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/select.hpp"
#include "qdistill/runtime/model.hpp"

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("PACT passes the gradient on inside [0, alpha) and to alpha above", "[nn]") {
  const Tensor<double> x = requires_grad(Tensor<double>::from({-1, -0.1, 0, 0.3, 1.9, 2, 2.1, 50}));
  const Tensor<double> alpha = requires_grad(Tensor<double>::full({1}, 2));
  const std::vector<double> g{1, 2, 3, 4, 5, 6, 7, 8};
  for (int time = 1; time <= 2; ++time) {  // a second sweep adds
    const Tensor<double> y = pact_relu(x, alpha, 2);
    const std::vector<double> want{0, 0, 0, 0, 2, 2, 2, 2};  // levels 0, 2/3, 4/3, 2
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(y.to_vector()[i] == Approx(want[i]));
    y.backward(Tensor<double>::from(g, {8}));
    std::vector<double> dx{0, 0, 3, 4, 5, 0, 0, 0};
    for (double& v : dx) v *= time;
    CHECK(x.grad().to_vector() == dx);
    CHECK(alpha.grad().item() == 21.0 * time);
  }
  CHECK(std::isnan(pact_relu(Tensor<float>::full({1}, std::nanf("")), Tensor<float>::ones({1}), 4).item()));
}

TEST_CASE("a network with PACT trains its clipping, and runs packed with the same bits", "[nn]") {
  manual_seed(4);
  nn::Sequential<float> net(nn::Linear<float>(6, 16), nn::PactReLU<float>({.bits = 3, .alpha = 1.5}),
                            nn::Linear<float>(16, 4));
  const auto parameters = net.named_parameters();
  REQUIRE(parameters.size() == 5);
  CHECK(parameters[2].name == "1.alpha");
  CHECK(!quant::weights_only()({"1.alpha", parameters[2].parameter->kind(), {1}, 2, 5}));
  const Tensor<float> x = Tensor<float>::normal({32, 6}, {5, 6});
  optim::SGD<float> sgd(net.parameters(), {.lr = 0.05, .weight_decay = 1e-3});
  for (int step = 0; step < 3; ++step) {
    sgd.zero_grad();
    net(x).backward(Tensor<float>::normal({32, 4}, {5, 7}));
    sgd.step();
  }
  CHECK(parameters[2].parameter->data().item() != 1.5f);
  net.eval();
  const runtime::Model packed = runtime::Model::from(quant::pack(net, {6}));
  const NoGrad no_grad;
  CHECK(packed.run(x).to_vector() == net(x).to_vector());
  // A damaged file is refused by the operation's name.
  for (const float wrong : {0.0f, -2.0f, std::nanf("")}) {
    io::PackedModel broken = quant::pack(net, {6});
    broken.tensors["1.alpha"] = {{1}, DenseEncoding{{wrong}}};
    CHECK_THROWS_AS(runtime::Model::from(broken), Error);
  }
  for (const Index wrong : {0, 17, 40}) {
    io::PackedModel broken = quant::pack(net, {6});
    broken.network.ops[1].attributes["bits"] = wrong;
    CHECK_THROWS_AS(runtime::Model::from(broken), ValueError);
  }
}

TEST_CASE("PACT refuses settings that make no sense", "[nn]") {
  for (const int bits : {0, 17, 40}) CHECK_THROWS_AS(nn::PactReLU<float>({.bits = bits}), ValueError);
  for (const double alpha : {0.0, -1.0, std::nan("")})
    CHECK_THROWS_AS(nn::PactReLU<float>({.alpha = alpha}), ValueError);
}

}  // namespace qdistill_test
