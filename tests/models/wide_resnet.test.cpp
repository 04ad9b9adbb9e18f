/// The wide residual networks: forward and backward against the authors' module, initialisation, threads.
#include "qdistill/models/wide_resnet.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "model_golden.hpp"
#include "qdistill/ops/cross_entropy.hpp"

namespace qdistill_test {

namespace {

const bool wide_golden = golden("wide_resnet_forward_backward", [](auto g) {
  using T = typename decltype(g)::Scalar;
  models::WideResNet<T> net({.depth = g->template param<Index>("depth", 0),
                             .widen_factor = g->template param<Index>("widen_factor", 0),
                             .dropout = g->template param<double>("dropout", 0),
                             .classes = g->template param<Index>("num_classes", 0),
                             .batch_norm_momentum = g->template param<double>("block_bn_momentum", 0),
                             .final_batch_norm_momentum = g->template param<double>("final_bn_momentum", 0)});
  net.train(g->params().at("mode") == "train");
  load_golden_state(*g, "", net);
  std::size_t tensors = net.named_parameters().size();
  for (const auto& b : net.named_buffers()) tensors += b.values ? 1 : 0;
  if (tensors + 2 != g->json().at("inputs").size()) g->fail_with("the network has other tensors than the case");
  const Tensor<T> logits = net(g.input("input"));
  g.compare("logits", logits);
  const Tensor<T> loss = cross_entropy(logits, g.indices("labels"));
  g.compare("loss", loss);
  loss.backward();
  for (const auto& [name, p] : net.named_parameters())
    if (g->has("grad." + name)) g.compare("grad." + name, p->data().grad());
  for (const auto& b : net.named_buffers())
    if (b.values) g.compare("after." + b.name, *b.values);
});

models::WideResNetSpec small() { return {.depth = 10, .widen_factor = 2, .classes = 5}; }

}  // namespace

TEST_CASE("wide residual networks refuse other inputs and specifications", "[models]") {
  for (const Index depth : {4, 9, 12, 30}) {
    models::WideResNetSpec spec = small();
    spec.depth = depth;
    CHECK_THROWS_WITH(models::wide_resnet<float>(spec), Catch::Contains("[WideResNet] got depth"));
  }
  models::WideResNetSpec spec = small();
  spec.widen_factor = 0;
  CHECK_THROWS_AS(models::wide_resnet<float>(spec), ValueError);
  spec = small(), spec.dropout = 1.5;
  CHECK_THROWS_AS(models::wide_resnet<float>(spec), ValueError);
  auto net = models::wide_resnet<float>(small());
  CHECK_THROWS_AS(net(Tensor<float>::zeros({2, 1, 32, 32})), ShapeError);
  CHECK(net(Tensor<float>::zeros({2, 3, 12, 20})).shape() == Shape{2, 5});
}

TEST_CASE("wide residual networks begin with Xavier weights of gain sqrt 2 and biases of 0", "[models]") {
  default_generator() = Generator(3);
  const auto net = models::wide_resnet<double>({.depth = 10, .widen_factor = 4});
  int convolutions = 0;
  for (const auto& [name, p] : net.named_parameters()) {
    if (name == "linear.weight" || name == "linear.bias") continue;
    INFO(name);
    const std::vector<double> v = p->data().to_vector();
    double largest = 0, squares = 0;
    for (const double x : v) largest = std::max(largest, std::fabs(x)), squares += x * x;
    if (p->kind() == nn::Kind::bias || p->kind() == nn::Kind::norm_bias) CHECK(largest == 0);
    if (p->kind() != nn::Kind::weight) continue;
    ++convolutions;
    const Shape& s = p->shape();
    const double bound = std::sqrt(2.0) * std::sqrt(6.0 / static_cast<double>((s[0] + s[1]) * s[2] * s[3]));
    CHECK(largest <= bound);
    CHECK(std::sqrt(squares / static_cast<double>(v.size())) == Approx(bound / std::sqrt(3.0)).epsilon(0.08));
  }
  CHECK(convolutions == 1 + 3 * 2 + 3);  // the stem, two a block, a shortcut where the channels change
}

TEST_CASE("wide residual networks: one training step, the same bits with 1, 2 and 4 threads", "[models]") {
  const int before = num_threads();
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    default_generator() = Generator(5);
    auto net = models::wide_resnet<float>(small());
    const Tensor<float> x = Tensor<float>::normal({4, 3, 16, 16}, {5, 1});
    const Tensor<float> loss = cross_entropy(net(x), Tensor<Index>::from({0, 4, 2, 2}));
    loss.backward();
    std::vector<std::vector<float>> got{loss.to_vector()};
    for (const auto& [name, p] : net.named_parameters()) got.push_back(p->data().grad().to_vector());
    for (const auto& b : net.named_buffers())
      if (b.values) got.push_back(b.values->to_vector());
    if (first.empty()) first = got;
    CHECK(got == first);
  }
  set_num_threads(before);
}

}  // namespace qdistill_test
