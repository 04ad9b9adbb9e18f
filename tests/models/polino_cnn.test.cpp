/// The CIFAR family: forward and backward against the authors' module. Parameter counts: parameter_counts.test.cpp.
#include "qdistill/models/polino_cnn.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "model_golden.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/runtime/model.hpp"

namespace qdistill_test {

namespace {

const bool cnn_golden = golden("cnn_forward_backward", [](auto g) {
  using T = typename decltype(g)::Scalar;
  models::PolinoCnn<T> net(polino_spec_of(g->params(), g->template param<double>("batch_norm_momentum", 0.1)));
  net.train(g->params().at("mode") == "train");
  load_golden_state(*g, "", net);
  const Tensor<T> logits = net(g.input("input"));
  g.compare("logits", logits);
  const Tensor<T> loss = cross_entropy(logits, g.indices("labels"));
  g.compare("loss", loss);
  loss.backward();
  for (const auto& [name, p] : net.named_parameters()) g.compare("grad." + name, p->data().grad());
  if (net.training())
    for (const auto& b : net.named_buffers())
      if (b.values) g.compare("after." + b.name, *b.values);
});

}  // namespace

TEST_CASE("the CIFAR networks refuse other inputs and specifications", "[models]") {
  auto net = models::polino_cnn<float>(models::polino_student_3());
  CHECK_THROWS_AS(net(Tensor<float>::zeros({2, 3, 28, 28})), ShapeError);
  CHECK_THROWS_AS(net(Tensor<float>::zeros({2, 1, 32, 32})), ShapeError);
  auto spec = models::polino_student_3();
  spec.pool_after = {9};
  CHECK_THROWS_AS(models::polino_cnn<float>(spec), ValueError);
  spec = models::polino_student_3();
  spec.height = 2;
  CHECK_THROWS_AS(models::polino_cnn<float>(spec), ShapeError);
  spec = models::polino_student_3();
  spec.activation_bits = 17;
  CHECK_THROWS_AS(models::polino_cnn<float>(spec), ValueError);
}

TEST_CASE("the CIFAR networks with quantized activations", "[models]") {
  models::PolinoSpec spec{.name = "tiny", .convs = {4, 5}, .pool_after = {0, 1}, .linear = {12}};
  const Index plain = models::polino_cnn<float>(spec).parameter_count();
  spec.activation_bits = 2;
  auto net = models::polino_cnn<float>(spec);
  CHECK(net.parameter_count() == plain + 3);  // a bound for each hidden layer
  net.eval();
  const NoGrad no_grad;
  const Tensor<float> x = Tensor<float>::normal({3, 3, 32, 32}, {4, 1}), y = net(x);
  const runtime::Model packed = runtime::Model::from(quant::pack(net, {3, 32, 32}));
  CHECK(packed.run(x).to_vector() == y.to_vector());
}

}  // namespace qdistill_test
