/// Recomputation: the same bits as without it, in less memory; what may not change between forward and backward.
#include "qdistill/nn/checkpoint.hpp"

#include <catch2/catch.hpp>

#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/dropout.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/quant_noise.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/runtime/model.hpp"
#include "runtime/trained.hpp"

namespace qdistill_test {

using namespace qdistill;
using Catch::Matchers::Contains;

namespace {

using Net32 = nn::Sequential<float>;

Net32 block(Index in, Index out) {
  return Net32(nn::Conv2d<float>(in, out, 3, {.padding = 1}), nn::BatchNorm2d<float>(out), nn::ReLU<float>(),
               nn::Dropout2d<float>(0.3));
}

/// Checkpointed stages inside each other.
struct Nested : nn::Module<float> {
  explicit Nested(bool on_) : on(on_) {}
  bool on;
  Net32& first = add("first", block(6, 6));
  Net32& second = add("second", block(6, 6));
  Tensor<float> forward(const Tensor<float>& x) override {
    const Tensor<float> y = on ? nn::checkpoint(first, x) : first(x);
    return (on ? nn::checkpoint(second, y) : second(y)) + x;
  }
  const char* type() const noexcept override { return "Nested"; }
};

/// The head is registered first and used last; `a` is used twice, `y` also outside of the stage that takes it.
struct StagedNet : nn::Module<float> {
  explicit StagedNet(bool on_) : on(on_), nested(add("nested", Nested(on_))) {}
  bool on;
  nn::Linear<float>& head = add("head", nn::Linear<float>(6 * 4, 5));
  Net32& a = add("a", block(6, 6));
  Nested& nested;
  nn::Conv2d<float>& stem = add("stem", nn::Conv2d<float>(2, 6, 3, {.padding = 1}));
  Tensor<float> stage(nn::Module<float>& m, const Tensor<float>& x) { return on ? nn::checkpoint(m, x) : m(x); }
  Tensor<float> forward(const Tensor<float>& x) override {
    const Tensor<float> y = stage(stem, x);
    Tensor<float> z = stage(a, y) + y;
    z = stage(nested, z) + y;
    z = max_pool2d(stage(a, z), 4);
    return head(flatten(z, 1));
  }
  const char* type() const noexcept override { return "StagedNet"; }
};

/// Everything that three training steps leave: losses, all gradients, states, the generator.
std::vector<std::vector<float>> train(bool on, const std::function<void(nn::Module<float>&)>& prepare) {
  manual_seed(3);
  StagedNet net(on);
  prepare(net);
  optim::SGD<float> sgd(net.parameters(), {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3});
  const Tensor<float> x = requires_grad(Tensor<float>::normal({7, 2, 8, 8}, {1, 1}));
  const Tensor<Index> y = Tensor<Index>::from({0, 1, 2, 3, 4, 0, 1});
  std::vector<std::vector<float>> left;
  for (int step = 0; step < 3; ++step) {
    sgd.zero_grad();
    for (int part = 0; part < 2; ++part) {  // accumulated
      const Tensor<float> loss = cross_entropy(net(x), y);
      loss.backward();
      left.push_back(loss.to_vector());
      left.push_back({static_cast<float>(default_generator().counter())});
    }
    left.push_back(x.grad().to_vector());
    for (const Tensor<float>& p : net.parameters()) left.push_back(p.grad().to_vector());
    sgd.step();
    for (const auto& e : nn::state_dict(net))
      left.push_back(e.values.defined() ? e.values.to_vector()
                                        : std::vector<float>{static_cast<float>(e.count.item())});
  }
  return left;
}

Tensor<float> images(Index n = 3) { return Tensor<float>::normal({n, 2, 8, 8}, {1, 1}); }

}  // namespace

TEST_CASE("checkpoint: three training steps have the same bits, with and without quantizers", "[nn]") {
  const auto same = [](const std::function<void(nn::Module<float>&)>& prepare) {
    const auto without = train(false, prepare);
    CHECK(without.size() == train(true, prepare).size());
    CHECK(without == train(true, prepare));
    CHECK(live_nodes() == 0);
    return without;
  };
  const auto attach = [](const auto& quantizer) {
    return [quantizer](nn::Module<float>& net) { quant::attach(net, quantizer, quant::weights_only()); };
  };
  const auto plain = same([](nn::Module<float>&) {});
  CHECK(plain != same(attach(quant::Uniform{.bits = 4})));
  const auto noisy = same(attach(quant::DiffQ{.group_size = 0}));  // draws noise at the first use of a weight
  CHECK(plain != noisy);
  same(attach(quant::Uniform{.bits = 2, .rounding = quant::Rounding::stochastic}));
  same(attach(quant::QuantNoise<quant::Uniform>{.inner = {.bits = 2}, .rate = 0.5}));
  same([](nn::Module<float>& net) {  // part of it frozen, part of it in evaluation
    auto& a = dynamic_cast<StagedNet&>(net).a;
    for (const auto& p : a.named_parameters()) p.parameter->freeze();
    a.children()[1].module->eval();
  });
}

TEST_CASE("checkpoint: the same bits with any number of threads", "[nn]") {
  const int before = num_threads();
  const auto nothing = [](nn::Module<float>&) {};
  set_num_threads(1);
  const auto one = train(true, nothing);
  set_num_threads(4);
  CHECK(train(true, nothing) == one);
  set_num_threads(before);
}

TEST_CASE("checkpoint: gradients in double, a second sweep, hooks", "[nn]") {
  {
    manual_seed(1);
    nn::Sequential<double> net(nn::Linear<double>(3, 4), nn::Tanh<double>(), nn::Linear<double>(4, 3));
    const Tensor<double> at = Tensor<double>::normal({2, 3}, {1, 1});
    const auto twice = [&](const std::vector<Tensor<double>>& in) {
      return nn::checkpoint(net, nn::checkpoint(net, in[0]) * in[0]);
    };
    const auto checked = gradcheck(twice, {at});
    INFO(checked.message());
    CHECK(checked.ok);
    CHECK(checked.compared == 6);

    net.zero_grad();
    const Tensor<double> w = net.parameters()[0];
    int hooked = 0;
    register_hook(w, [&](const Tensor<double>&) { return ++hooked, Tensor<double>{}; });
    const Tensor<double> loss = sum(twice({at}));
    loss.backward(true);
    CHECK(hooked == 1);
    const std::vector<double> once = w.grad().to_vector();
    loss.backward();
    std::vector<double> both = w.grad().to_vector();
    for (std::size_t i = 0; i < both.size(); ++i) CHECK(both[i] == Approx(2 * once[i]));
    CHECK_THROWS_WITH(loss.backward(), Contains("retain_graph"));
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("checkpoint: without gradients, in evaluation and without anything to train it only runs", "[nn]") {
  manual_seed(1);
  Net32 net = block(2, 3);
  {
    const NoGrad no_grad;
    CHECK(!nn::checkpoint(net, images()).requires_grad());
  }
  const auto count = [&](bool on) {
    const Tensor<float> y = on ? nn::checkpoint(net, images()) : net(images());
    return live_nodes();
  };
  net.eval();
  CHECK(count(true) == count(false));
  net.train();
  CHECK(count(true) < count(false));  // one node in place of several
  for (const auto& p : net.named_parameters()) p.parameter->freeze();
  CHECK(!nn::checkpoint(net, images()).requires_grad());
  nn::Dropout<float> dropout(0.5);
  CHECK(!nn::checkpoint(dropout, images()).requires_grad());
  // What hands its input on, and what has no weights.
  const Tensor<float> x = requires_grad(images());
  nn::Identity<float> identity;
  const Tensor<float> y = nn::checkpoint(identity, nn::checkpoint(dropout, x));
  sum(y).backward();
  for (Index i = 0; i < x.numel(); ++i)
    CHECK(x.grad().data()[i] == (y.data()[i] != 0 || x.data()[i] == 0 ? 2.0f : 0.0f));
}

TEST_CASE("checkpoint: observers see each input once", "[nn]") {
  nn::Checkpointed<float> net(block(2, 3));
  int seen = 0;
  net.inner().children()[0].module->observe([&](const Tensor<float>&) { ++seen; });
  sum(net(images())).backward();
  CHECK(seen == 1);
}

TEST_CASE("checkpoint: what changed between forward and backward is refused", "[nn]") {
  {
    manual_seed(1);
    Net32 net = block(2, 3);
    auto& conv = dynamic_cast<nn::Conv2d<float>&>(*net.children()[0].module);
    const auto refused = [&](const auto& change, const char* why) {
      Tensor<float> x = images();
      const Tensor<float> loss = sum(nn::checkpoint(net, x));
      change(x);
      const std::uint64_t drawn = default_generator().counter();
      CHECK_THROWS_AS(loss.backward(true), GraphError);
      CHECK_THROWS_WITH(loss.backward(true), Contains(why));
      CHECK(grad_enabled());
      CHECK(!nn::recomputing());
      CHECK(default_generator().counter() == drawn);
    };
    refused([&](Tensor<float>&) { conv.weight->data().fill(1); }, "[3, 2, 3, 3] that the graph saved was changed");
    refused([&](Tensor<float>&) { conv.bias->data().fill(1); }, "[3] that the graph saved was changed in place");
    refused([&](Tensor<float>& x) { x.fill(1); }, "[3, 2, 8, 8] that the graph saved was changed in place");
    refused([&](Tensor<float>&) { net.eval(); }, "got a Sequential in evaluation");
    net.train();
    refused([&](Tensor<float>&) { net.push_back(nn::BatchNorm2d<float>(3)); },
            "got another weight, of shape [3], than in");
    net.zero_grad();
    sum(nn::checkpoint(net, images())).backward();
    CHECK(conv.weight->data().grad().defined());
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("checkpoint: a module that goes past Parameter::effective is refused", "[nn]") {
  {
    struct Direct : nn::Module<float> {
      nn::ParameterPtr<float> w = add_parameter("w", Tensor<float>::ones({4}), nn::Kind::weight);
      Tensor<float> forward(const Tensor<float>& x) override { return x * w->data(); }
      const char* type() const noexcept override { return "Direct"; }
    } direct;
    const Tensor<float> x = requires_grad(Tensor<float>::ones({4}));
    const Tensor<float> loss = sum(nn::checkpoint(direct, x));
    CHECK_THROWS_WITH(loss.backward(), Contains("depends on a 'leaf' that is not among the tensors"));
    CHECK(!direct.w->data().grad().defined());
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("checkpoint: many in a row, and many inside each other", "[nn]") {
  {
    nn::Tanh<float> tanh;
    const auto x = requires_grad(Tensor<float>::full({1}, 0.5f));
    Tensor<float> plain = x, y = x;
    for (int i = 0; i < 20000; ++i) plain = tanh(plain), y = nn::checkpoint(tanh, y);
    sum(plain).backward();
    const float expected = x.grad().item();
    x.zero_grad();
    sum(y).backward();
    CHECK(x.grad().item() == expected);
    CHECK(expected > 0);

    struct Deep : nn::Module<float> {
      explicit Deep(int levels_) : levels(levels_), layer(add("layer", nn::Linear<float>(2, 2))) {
        if (levels > 0) below = &add("below", Deep(levels - 1));
      }
      int levels;
      nn::Linear<float>& layer;
      Deep* below = nullptr;
      Tensor<float> forward(const Tensor<float>& z) override {
        const Tensor<float> h = qdistill::tanh(layer(z));
        return below ? nn::checkpoint(*below, h) : h;
      }
      const char* type() const noexcept override { return "Deep"; }
    } deep(40);
    const auto z = Tensor<float>::ones({3, 2});
    sum(deep(z)).backward();
    for (const Tensor<float>& p : deep.parameters()) CHECK(p.grad().defined());
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("Checkpointed has the names, the state and the packed network of the module inside", "[nn]") {
  const auto model = [](bool on) {
    manual_seed(2);
    Net32 net, inner = block(2, 3);
    if (on) net.push_back(nn::Checkpointed<float>(std::move(inner)));
    else net.push_back(std::move(inner));
    net.push_back(nn::Flatten<float>());
    net.push_back(nn::Linear<float>(3 * 64, 4));
    return net;
  };
  Net32 plain = model(false), net = model(true);
  const auto names = [](const Net32& of) {
    std::vector<std::string> out;
    for (const auto& e : nn::state_dict(of)) out.push_back(e.name);
    return out;
  };
  CHECK(names(net) == names(plain));
  CHECK(names(net)[0] == "0.0.weight");
  randomise(plain, 5);
  nn::copy_state<float>(plain, net);
  quant::attach(net, quant::Uniform{.bits = 4});
  quant::attach(plain, quant::Uniform{.bits = 4});
  const auto expected = eval_forward(plain, images());
  CHECK(same_bits(eval_forward(net, images()), expected));
  const auto packed = quant::pack(net, {2, 8, 8});
  const Network network = quant::pack(plain, {2, 8, 8}).network;
  REQUIRE(packed.network.ops.size() == network.ops.size());
  for (std::size_t i = 0; i < network.ops.size(); ++i) {
    CHECK(packed.network.ops[i].op == network.ops[i].op);
    CHECK(packed.network.ops[i].tensors == network.ops[i].tensors);
  }
  CHECK(same_bits(runtime::Model::from(packed).run(images()), expected));
}

TEST_CASE("checkpoint: a deep stack needs a fraction of the memory", "[nn]") {
  const auto peak = [](bool on) {
    manual_seed(1);
    Net32 net;
    for (int stage = 0; stage < 8; ++stage) {
      Net32 layers;
      for (int i = 0; i < 8; ++i) {
        layers.push_back(nn::Linear<float>(16, 16));
        layers.push_back(nn::BatchNorm1d<float>(16));
        layers.push_back(nn::ReLU<float>());
      }
      if (on) net.push_back(nn::Checkpointed<float>(std::move(layers)));
      else net.push_back(std::move(layers));
    }
    const Tensor<float> x = Tensor<float>::normal({4096, 16}, {1, 1});
    sum(net(x)).backward();  // gradients are there from now on
    net.zero_grad();
    const std::size_t before = memory_stats().in_use;
    reset_peak_memory();
    sum(net(x)).backward();
    return static_cast<double>(memory_stats().peak - before) / static_cast<double>(x.numel() * 4);
  };
  const double without = peak(false), with = peak(true);
  INFO("peak in activations: " << without << " without, " << with << " with");
  CHECK(without > 64);  // 64 layers with one result each: batch normalisation's is computed again
  CHECK(with < 32);     // 8 inputs, one stage of 8 layers, a few gradients
}

}  // namespace qdistill_test
