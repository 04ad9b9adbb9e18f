/// Effective weights: computed once per step, right under accumulation, evaluation inside a step, sharing.
#include <catch2/catch.hpp>

#include "qdistill/nn/linear.hpp"
#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Counts how often its weight is computed: effective = 2 w in training, 3 w in evaluation.
template <class T>
class Counting final : public nn::Parametrization<T> {
 public:
  explicit Counting(Tensor<T> w) { stored_[0] = {"", std::move(w), true, ""}; }
  void refresh() override { ++refreshed; }
  Tensor<T> effective(nn::Phase phase) override {
    ++computed;
    const T factor = phase == nn::Phase::train ? T(2) : T(3);
    const Tensor<T>& w = stored_[0].tensor;
    Tensor<T> y = w.clone();
    for (T& v : y.span()) v *= factor;
    return record("counting", y, inputs(w), [factor](const Tensor<T>& dy, Gradients<T>& dx) {
      Tensor<T> g = dy.clone();
      for (T& v : g.span()) v *= factor;
      dx[0].accumulate(g);
    });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override { return nn::dense_encoding(stored_[0].tensor); }
  bool exact_gradient() const noexcept override { return true; }
  std::string description() const override { return "counting"; }
  int computed = 0, refreshed = 0;

 private:
  nn::StoredTensor<T> stored_[1];
};

struct Fixture {
  nn::Linear<double> layer{3, 2, {.bias = false}};
  std::shared_ptr<Counting<double>> counting = std::make_shared<Counting<double>>(layer.weight->data());
  Tensor<double> x = Tensor<double>::uniform({4, 3}, {1, 1}, -1.0, 1.0);
  Fixture() { layer.weight->set_parametrization(counting); }
  Tensor<double> loss() { return sum(layer(x)); }
};

}  // namespace

TEST_CASE("the effective weight is computed once per step, however often it is used", "[nn]") {
  Fixture f;
  optim::SGD<double> sgd(f.layer.parameters(), {.lr = 0.1});
  for (int step = 0; step < 3; ++step) {
    sgd.zero_grad();
    const Tensor<double> y = f.layer(f.x), z = f.layer(f.x);
    sum(y).backward(true);
    sum(z).backward();
    sgd.step();
    CHECK(f.counting->computed == step + 1);
    CHECK(f.counting->refreshed == step + 1);
  }
}

TEST_CASE("gradient accumulation, and evaluation inside a step", "[nn]") {
  Fixture f;
  f.loss().backward();
  const std::vector<double> once = f.layer.weight->data().grad().to_vector();
  CHECK(f.counting->computed == 1);
  // The first sweep freed the graph that the cached weight was part of: a second forward builds a new one.
  f.loss().backward();
  CHECK(f.counting->computed == 2);
  std::vector<double> twice = f.layer.weight->data().grad().to_vector();
  for (std::size_t i = 0; i < twice.size(); ++i) CHECK(twice[i] == 2 * once[i]);
  // Evaluation between forward and backward leaves the training graph alone.
  const Tensor<double> loss = f.loss();
  f.layer.eval();
  Tensor<double> evaluated;
  {
    const NoGrad no_grad;
    evaluated = f.layer(f.x);
  }
  f.layer.train();
  loss.backward();
  const auto third = f.layer.weight->data().grad().to_vector();
  for (std::size_t i = 0; i < third.size(); ++i) CHECK(third[i] == Approx(3 * once[i]));
  const NoGrad no_grad;
  const auto trained = f.layer(f.x).to_vector();
  for (std::size_t i = 0; i < trained.size(); ++i) CHECK(evaluated.to_vector()[i] == Approx(1.5 * trained[i]));
}

TEST_CASE("a weight shared by two layers is computed, counted and encoded once", "[nn]") {
  struct Tied : nn::Module<double> {
    nn::Linear<double>& a = add("a", nn::Linear<double>(3, 3, {.bias = false}));
    nn::Linear<double>& b = add("b", nn::Linear<double>(a.weight));
    Tensor<double> forward(const Tensor<double>& x) override { return b(relu(a(x))); }
    int describe(Network& net, int x, const std::string& prefix) const override {
      x = net.add("relu", {a.describe(net, x, prefix + "a.")});
      return net.add("linear", {x}, {}, {{"weight", prefix + "a.weight"}});
    }
    const char* type() const noexcept override { return "Tied"; }
  } net;
  CHECK(net.named_parameters().size() == 1);
  CHECK(net.parameter_count() == 9);
  auto counting = std::make_shared<Counting<double>>(net.a.weight->data());
  net.a.weight->set_parametrization(counting);
  sum(net(Tensor<double>::ones({2, 3}))).backward();
  CHECK(counting->computed == 1);
  CHECK(quant::pack(net, {3}).tensors.size() == 1);
}

TEST_CASE("the order of optimizer and quantizer does not matter", "[nn]") {
  const auto run = [](bool optimizer_first) {
    manual_seed(3);
    nn::Linear<float> layer(8, 4);
    std::unique_ptr<optim::SGD<float>> sgd;
    const auto make = [&] {
      sgd = std::make_unique<optim::SGD<float>>(layer.parameters(),
                                                optim::SgdOptions{.lr = 0.05, .momentum = 0.9, .nesterov = true});
    };
    if (optimizer_first) make();
    quant::attach(layer, quant::Uniform{.bits = 2, .bucket_size = 8});
    if (!optimizer_first) make();
    const Tensor<float> x = Tensor<float>::uniform({16, 8}, {1, 2}, -1.0f, 1.0f);
    for (int step = 0; step < 5; ++step) {
      sgd->zero_grad();
      sum(square(layer(x))).backward();
      sgd->step();
    }
    return layer.weight->data().to_vector();
  };
  CHECK(run(true) == run(false));
}

}  // namespace qdistill_test
