/// Optimizers against recorded runs, and what they promise besides their formulas.
#include <catch2/catch.hpp>
#include <cstring>

#include "error_of.hpp"
#include "golden.hpp"
#include "qdistill/optim/adagrad.hpp"
#include "qdistill/optim/adam.hpp"
#include "qdistill/optim/rmsprop.hpp"
#include "qdistill/optim/sgd.hpp"

namespace qdistill_test {

namespace {

using namespace qdistill::optim;

/// Runs the recorded gradients through the optimizer that `make` builds on the recorded parameter. Halfway, the state
/// moves to a fresh optimizer, so that every recorded run also tests state() and load_state().
template <class G, class Make>
void replay(const G& g, Make make) {
  using T = typename G::Scalar;
  const Tensor<T> grads = g.input("grads");
  const Index steps = grads.shape()[0], n = grads.numel() / steps;
  Tensor<T> w = requires_grad(g.input("param").clone());
  auto optimizer = make(std::vector<Tensor<T>>{w});
  std::vector<T> after;
  for (Index t = 0; t < steps; ++t) {
    if (t == steps / 2) {
      const OptimizerState<T> state = optimizer->state();
      optimizer = make(std::vector<Tensor<T>>{w});
      optimizer->load_state(state);
    }
    w.grad() = Tensor<T>::from(std::span<const T>(grads.data() + t * n, static_cast<std::size_t>(n)), w.shape());
    const std::uint64_t version = w.version();
    optimizer->step();
    CHECK(w.version() > version);
    after.insert(after.end(), w.data(), w.data() + n);
  }
  g->compare_values("params_after", after);
}

template <class G>
double number(const G& g, const char* key, double otherwise) {
  return g->template param<double>(key, otherwise);
}

const bool sgd_golden = golden("optimizer_sgd", [](auto g) {
  using T = typename decltype(g)::Scalar;
  SgdOptions o;
  o.lr = number(g, "lr", 0), o.momentum = number(g, "momentum", 0), o.weight_decay = number(g, "weight_decay", 0);
  o.dampening = number(g, "dampening", 0), o.nesterov = g->template param<bool>("nesterov", false);
  replay(g, [&](std::vector<Tensor<T>> p) { return std::make_unique<SGD<T>>(std::move(p), o); });
});
template <class G>
AdamOptions adam_options_of(const G& g, double weight_decay) {
  AdamOptions o;
  o.lr = number(g, "lr", 0), o.eps = number(g, "eps", 1e-8), o.weight_decay = number(g, "weight_decay", weight_decay);
  o.amsgrad = g->template param<bool>("amsgrad", false);
  const auto betas = g->template param<std::vector<double>>("betas", {0.9, 0.999});
  o.beta1 = betas[0], o.beta2 = betas[1];
  return o;
}
const bool adam_golden = golden("optimizer_adam", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const AdamOptions o = adam_options_of(g, 0);
  replay(g, [&](std::vector<Tensor<T>> p) { return std::make_unique<Adam<T>>(std::move(p), o); });
});
const bool adamw_golden = golden("optimizer_adamw", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const AdamOptions o = adam_options_of(g, 0.01);
  replay(g, [&](std::vector<Tensor<T>> p) { return std::make_unique<AdamW<T>>(std::move(p), o); });
});
const bool rmsprop_golden = golden("optimizer_rmsprop", [](auto g) {
  using T = typename decltype(g)::Scalar;
  RmspropOptions o;
  o.lr = number(g, "lr", 0), o.alpha = number(g, "alpha", 0.99), o.eps = number(g, "eps", 1e-8);
  o.weight_decay = number(g, "weight_decay", 0), o.momentum = number(g, "momentum", 0);
  replay(g, [&](std::vector<Tensor<T>> p) { return std::make_unique<RMSprop<T>>(std::move(p), o); });
});
const bool adagrad_golden = golden("optimizer_adagrad", [](auto g) {
  using T = typename decltype(g)::Scalar;
  AdagradOptions o;
  o.lr = number(g, "lr", 0), o.lr_decay = number(g, "lr_decay", 0), o.eps = number(g, "eps", 1e-10);
  o.weight_decay = number(g, "weight_decay", 0);
  replay(g, [&](std::vector<Tensor<T>> p) { return std::make_unique<Adagrad<T>>(std::move(p), o); });
});

/// Leaves of the given sizes with gradients set.
std::vector<Tensor<float>> leaves(std::initializer_list<Index> sizes) {
  std::vector<Tensor<float>> out;
  std::uint64_t stream = 0;
  for (const Index n : sizes) {
    out.push_back(requires_grad(Tensor<float>::uniform({n}, {5, stream++}, -1, 1)));
    out.back().grad() = Tensor<float>::uniform({n}, {6, stream++}, -1, 1);
  }
  return out;
}

}  // namespace

TEST_CASE("a group's own settings stand in place of the optimizer's", "[optim]") {
  const auto p = leaves({3, 3});
  for (const auto& t : p) {
    std::fill_n(const_cast<float*>(t.data()), 3, 1.0f);
    t.grad().fill(1.0f);
  }
  ParameterGroup<float> plain, own;
  plain.parameters = {p[0]};
  own.parameters = {p[1]}, own.lr = 0.25, own.weight_decay = 1.0;
  SgdOptions options;
  options.lr = 0.5;
  SGD<float> sgd(std::vector<ParameterGroup<float>>{plain, own}, options);
  sgd.step();
  CHECK(p[0].data()[0] == 0.5f);  // 1 - 0.5
  CHECK(p[1].data()[0] == 0.5f);  // 1 - 0.25 (1 + 1)
  sgd.set_lr(0.25);               // halves the group's own rate too
  sgd.step();
  CHECK(p[0].data()[0] == 0.25f);
  CHECK(p[1].data()[0] == 0.5f - 0.125f * 1.5f);
}

TEST_CASE("a parameter without a gradient is left alone", "[optim]") {
  const auto p = leaves({3, 4});
  AdamOptions options;
  options.weight_decay = 0.1;
  Adam<float> adam(p, options);
  const std::vector<float> before = p[1].to_vector();
  const std::uint64_t version = p[1].version();
  p[1].zero_grad();
  adam.step();
  CHECK(p[1].to_vector() == before);
  CHECK(p[1].version() == version);
  CHECK(p[0].version() > 0);
  const auto state = adam.state();
  CHECK(state.tensors.size() == 2);  // those of parameter 0
  adam.zero_grad();
  CHECK(!p[0].grad().defined());
}

TEST_CASE("optimizer steps have the same bits with any number of threads", "[optim]") {
  const int before = num_threads();
  const auto run = [](int threads, int which) {
    set_num_threads(threads);
    const auto p = leaves({200003, 17, 70001, 1});
    std::unique_ptr<Optimizer<float>> optimizer;
    SgdOptions sgd;
    sgd.momentum = 0.9, sgd.nesterov = true, sgd.weight_decay = 1e-3;
    RmspropOptions rms;
    rms.momentum = 0.5;
    if (which == 0) optimizer = std::make_unique<SGD<float>>(p, sgd);
    if (which == 1) optimizer = std::make_unique<AdamW<float>>(p, AdamOptions{});
    if (which == 2) optimizer = std::make_unique<RMSprop<float>>(p, rms);
    if (which == 3) optimizer = std::make_unique<Adagrad<float>>(p, AdagradOptions{});
    for (int i = 0; i < 3; ++i) optimizer->step();
    std::vector<float> all;
    for (const auto& t : p) all.insert(all.end(), t.data(), t.data() + t.numel());
    return all;
  };
  for (int which = 0; which < 4; ++which) {
    const auto one = run(1, which);
    for (const int threads : {2, 4}) {
      const auto many = run(threads, which);
      CHECK(std::memcmp(one.data(), many.data(), one.size() * sizeof(float)) == 0);
    }
  }
  set_num_threads(before);
}

TEST_CASE("float steps agree with double ones", "[optim]") {
  const Tensor<double> w = Tensor<double>::uniform({1003}, {1, 1}, -1, 1), g = Tensor<double>::uniform({1003}, {1, 2});
  Tensor<float> wf = Tensor<float>::empty({1003}), gf = wf.clone();
  for (Index i = 0; i < 1003; ++i) {
    wf.data()[i] = static_cast<float>(w.data()[i]);
    gf.data()[i] = static_cast<float>(g.data()[i]) * (i % 7 == 0 ? 1e-12f : 1.0f);
  }
  const auto a = requires_grad(wf);
  Tensor<double> wide = Tensor<double>::empty({1003}), grad = wide.clone();
  for (Index i = 0; i < 1003; ++i)
    wide.data()[i] = static_cast<double>(wf.data()[i]), grad.data()[i] = static_cast<double>(gf.data()[i]);
  const auto b = requires_grad(wide);
  Adam<float> narrow(std::vector<Tensor<float>>{a}, AdamOptions{});
  Adam<double> reference(std::vector<Tensor<double>>{b}, AdamOptions{});
  for (int t = 0; t < 5; ++t) {
    a.grad() = gf, b.grad() = grad;
    narrow.step();
    reference.step();
  }
  for (Index i = 0; i < 1003; ++i) REQUIRE(std::fabs(static_cast<double>(a.data()[i]) - b.data()[i]) <= 1e-6);
}

TEST_CASE("optimizers refuse bad settings, parameters, gradients and states", "[optim]") {
  const auto p = leaves({3});
  const auto sgd = [&](SgdOptions o) { return error_of([&] { SGD<float>(p, o); }); };
  CHECK(sgd({}) == "no error");
  SgdOptions bad;
  bad.lr = -1;
  CHECK(sgd(bad) == "[SGD] got lr -1, expected at least 0");
  bad = {}, bad.lr = std::nan("");
  CHECK(sgd(bad) == "[SGD] got lr nan, expected at least 0");
  bad = {}, bad.weight_decay = -2;
  CHECK(sgd(bad) == "[SGD] got weight_decay -2, expected at least 0");
  bad = {}, bad.nesterov = true;
  CHECK(sgd(bad).find("[SGD] got nesterov with momentum 0") == 0);
  AdamOptions adam;
  adam.beta2 = 1;
  CHECK(error_of([&] { Adam<float>(p, adam); }) == "[Adam] got beta2 1, expected it in [0, 1)");
  CHECK(error_of([&] {
          AdamW<float>(std::vector<Tensor<float>>{p[0], p[0]}, AdamOptions{});
        }) == "[AdamW] got a parameter of shape [3] twice");
  CHECK(error_of([&] {
          SGD<float>(std::vector<Tensor<float>>{Tensor<float>::zeros({2})}, SgdOptions{});
        }).find("[SGD] got a parameter that is not a leaf") == 0);

  SgdOptions momentum;
  momentum.momentum = 0.9;
  SGD<float> optimizer(p, momentum);
  p[0].grad() = Tensor<float>::zeros({4});
  CHECK(error_of([&] { optimizer.step(); }).find("[SGD] got a gradient of shape [4]") == 0);
  p[0].grad() = Tensor<float>::zeros({3});
  optimizer.step();
  const OptimizerState<float> good = optimizer.state();
  const auto load = [&](auto change) {
    OptimizerState<float> s = good;
    change(s);
    return error_of([&] { optimizer.load_state(s); });
  };
  CHECK(load([](auto&) {}) == "no error");
  CHECK(load([](auto& s) { s.tensors[0].first = "momentum.1"; }).find("[SGD] got state 'momentum.1'") == 0);
  CHECK(load([](auto& s) { s.tensors[0].first = "exp_avg.0"; }).find("[SGD] got state 'exp_avg.0'") == 0);
  CHECK(load([](auto& s) { s.tensors[0].second = Tensor<float>::zeros({9}); }).find("of shape [9]") !=
        std::string::npos);
  CHECK(load([](auto& s) { s.tensors.clear(); }).find("do not go together") != std::string::npos);
  CHECK(load([](auto& s) { s.scalars.clear(); }) == "[SGD] got a state without lr and initial_lr");
  CHECK(load([](auto& s) { s.scalars.pop_back(); }) == "[SGD] got a state without 'steps.0'");
}

TEST_CASE("after the first step, optimizer steps take no memory", "[optim]") {
  const auto p = leaves({1000, 17});
  Adam<float> adam(p, AdamOptions{});
  adam.step();
  const std::size_t before = memory_stats().in_use, cached = memory_stats().cached;
  adam.step();
  CHECK(memory_stats().in_use == before);
  CHECK(memory_stats().cached == cached);
}

}  // namespace qdistill_test
