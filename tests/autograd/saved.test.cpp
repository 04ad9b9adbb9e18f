/// Results that are computed again in place of kept (autograd/saved.hpp), and what a sweep gives back on its way.
#include "qdistill/autograd/saved.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <thread>

#include "error_of.hpp"
#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/checkpoint.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/ops/view.hpp"
#include "threads.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

int computed = 0;  // times that the function below was computed again

/// y = 3 x, of which others keep how it is computed.
template <class T>
Tensor<T> triple(const Tensor<T>& x) {
  const auto fill = [](const T* from, Tensor<T>& y) {
    for (Index i = 0; i < y.numel(); ++i) y.data()[i] = 3 * from[i];
  };
  Tensor<T> y = Tensor<T>::empty(x.shape());
  fill(x.data(), y);
  Inputs<T> graph = inputs(x);
  if (graph.size() == 0) return y;
  const auto again = recomputable(y, [x = keep(x), fill](Tensor<T>& z) { ++computed, fill(x.data(), z); });
  return record("triple", y, std::move(graph), [again](const Tensor<T>& dy, Gradients<T>& dx) {
    dx[0].reuse(dy);
    for (Index i = 0; i < dy.numel(); ++i)
      dx[0].data()[i] = (dx[0].mode() == Write::add ? dx[0].data()[i] : T(0)) + 3 * dy.data()[i];
  });
}

Tensor<double> input(std::uint64_t stream = 1) {
  return requires_grad(Tensor<double>::uniform({4, 3}, {1, stream}, -1.0, 1.0));
}

}  // namespace

TEST_CASE("recomputation: only once the result is gone", "[autograd]") {
  const auto x = input();
  const auto gradient = [&](const Tensor<double>& y) {
    x.zero_grad();
    computed = 0;
    sum(y).backward();
    return x.grad().to_vector();
  };
  std::vector<double> expected = x.to_vector();
  for (double& v : expected) v *= 18;  // (3 x)^2
  CHECK(gradient(square(triple(x))) == expected);
  CHECK(computed == 1);
  {
    const auto t = triple(x);
    CHECK(gradient(square(t)) == expected);
    CHECK(computed == 0);
    const auto d = t.detach();  // no graph, but the elements
    CHECK(gradient(square(triple(x))) == expected);
    CHECK(computed == 1);
  }
  // Views keep it too, several consumers compute it each.
  CHECK(gradient(square(flatten(transpose(reshape(triple(x), {3, 4}), 0, 1), 0))) == expected);
  const auto both = [&] {
    const auto t = triple(x);
    return square(t) + square(reshape(t, {4, 3}));
  };
  std::vector<double> twice = expected;
  for (double& v : twice) v *= 2;
  CHECK(gradient(both()) == twice);
  CHECK(computed == 2);
  // One in front of another: none needs the other's recomputation.
  std::vector<double> four = x.to_vector();
  for (double& v : four) v *= 2 * 729;  // (27 x)^2
  CHECK(gradient(square(triple(triple(triple(x))))) == four);
  CHECK(computed == 1);
}

TEST_CASE("recomputation: retained graphs, graphs that die, no graph", "[autograd]") {
  const auto x = input();
  {
    const auto y = sum(square(triple(x)));
    computed = 0;
    y.backward(true);
    const std::vector<double> once = x.grad().to_vector();
    y.backward(true);
    y.backward();
    CHECK(x.grad().to_vector()[0] == 3 * once[0]);
    CHECK(computed == 1);  // what get() computed stays for the next sweep
    CHECK_THAT(error_of<GraphError>([&] { y.backward(); }), Catch::Contains("second time"));
  }
  {
    const auto y = square(triple(x));  // never swept
    CHECK(live_nodes() == 3);
  }
  CHECK(live_nodes() == 1);
  const NoGrad no_grad;
  CHECK_FALSE(triple(x).storage()->has_recipe());
}

TEST_CASE("recomputation: its memory is what the operation keeps anyway", "[autograd]") {
  const auto x = requires_grad(Tensor<double>::ones({1 << 14}));
  const std::size_t before = memory_stats().in_use, size = std::size_t{8} << 14;
  Tensor<double> y = sum(square(triple(x)));
  CHECK(memory_stats().in_use - before < size / 2);
  y.backward();
  CHECK(memory_stats().in_use - before < size * 3 / 2);  // x's gradient
  x.zero_grad();
  // A result that is held on to beyond its graph holds nothing else.
  y = {};
  Tensor<double> z = triple(x * 1.0);
  sum(square(z)).backward();
  CHECK_FALSE(z.storage()->has_recipe());
  z = z.detach(), x.zero_grad();
  CHECK(memory_stats().in_use - before < size * 3 / 2);
}

TEST_CASE("recomputation: changes in place", "[autograd]") {
  const auto x = input();
  const std::string changed = "was changed in place";
  {
    auto t = triple(x);
    const auto y = sum(square(t));
    t.data()[0] = 7, t.mark_changed();
    CHECK_THAT(error_of<GraphError>([&] { y.backward(); }), Catch::Contains(changed));
  }
  {
    auto t = triple(x);
    t.data()[0] = 7, t.mark_changed();  // before it is saved: no recipe makes these values
    const auto y = sum(square(t));
    t = {}, x.zero_grad(), computed = 0;
    y.backward();
    CHECK(x.grad().data()[0] == 42);
    CHECK(computed == 0);
  }
  {
    auto leaf = input();
    const auto y = sum(square(triple(leaf)));
    leaf.data()[0] = 7, leaf.mark_changed();  // what it would be computed from
    CHECK_THAT(error_of<GraphError>([&] { y.backward(); }), Catch::Contains(changed));
  }
  // A buffer that somebody may still ask for is not worked in.
  auto t = triple(x);
  const auto y = sum(square(t));
  auto d = t.detach();
  t = {};
  const double* const before = d.data();
  CHECK_FALSE(d.sole_owner());
  CHECK(relu(std::move(d)).data() != before);
  x.zero_grad();
  y.backward();
  CHECK(x.grad().data()[0] == Approx(18 * x.data()[0]));
}

TEST_CASE("recomputation: hooks see the gradients, wrong use is refused", "[autograd]") {
  const auto x = input();
  const auto t = triple(x);
  Tensor<double> seen;
  register_hook(t, [&](const Tensor<double>& g) {
    seen = g;
    return Tensor<double>{};
  });
  sum(square(t)).backward();
  CHECK(seen.data()[1] == 2 * t.data()[1]);  // kept by the hook, so it was not worked in
  CHECK(x.grad().data()[1] == 6 * t.data()[1]);
  const Tensor<double> shared = Tensor<double>::ones({2}), other = shared;
  const auto nothing = [](Tensor<double>&) {};
  CHECK_THAT(error_of<GraphError>([&] { recomputable(shared, nothing); }), Catch::Contains("a shared"));
  CHECK_THAT(error_of<GraphError>([&] { recomputable(Tensor<double>{}, nothing); }), Catch::Contains("an undefined"));
  // A tensor that was dropped is not there for a second sweep.
  Saved<double> s = save(other);
  s.drop(false);
  CHECK(s.get().data() == other.data());
  s.drop(true);
  CHECK_THAT(error_of<GraphError>([&] { s.get(); }), Catch::Contains("was freed by an earlier"));
}

TEST_CASE("recomputation: threads that let go of a result while others ask for it", "[autograd]") {
  for (int round = 0; round < 200; ++round) {
    const auto x = requires_grad(Tensor<double>::ones({100}));
    auto t = triple(x);
    const auto y = square(t);
    auto d = t.detach();
    t = {};
    std::thread other([moved = std::move(d)]() mutable { moved = {}; });
    sum(y).backward();
    other.join();
    REQUIRE(x.grad().data()[99] == 18);
  }
}

namespace {

/// Loss and gradients of two steps of a network, with `each` result of its layers kept alive or not.
template <class Net>
std::vector<float> trained(Net make, bool hold) {
  default_generator() = Generator(5);
  auto net = make();
  const Tensor<float> x = Tensor<float>::normal({3, 2, 9, 7}, {1, 1});
  std::vector<float> out;
  for (int step = 0; step < 2; ++step) {
    Tensor<float> y = x;
    std::vector<Tensor<float>> held;
    for (const auto& child : net.children()) {
      y = child.module->forward(y);
      if (hold) held.push_back(y);
    }
    Tensor<float> loss = sum(square(y));
    y = {};
    loss.backward();
    out.push_back(loss.item());
    for (const Tensor<float>& p : net.parameters())
      for (const float g : p.grad().to_vector()) out.push_back(g);
  }
  return out;
}

nn::Sequential<float> small_network() {
  using namespace nn;
  return Sequential<float>(Conv2d<float>(2, 8, 3), BatchNorm2d<float>(8), Conv2d<float>(8, 8, 3, {.padding = 1}),
                           ReLU<float>(), BatchNorm2d<float>(8), GELU<float>(), Conv2d<float>(8, 3, 3, {.stride = 2}));
}

}  // namespace

TEST_CASE("recomputed batch normalisation: the same bits as kept, 1 thread or 4", "[autograd]") {
  std::vector<float> kept, again, four;
  const auto checkpointed = [] {
    return nn::Sequential<float>(nn::Conv2d<float>(2, 2, 1), nn::BatchNorm2d<float>(2),
                                 nn::Checkpointed<float>(small_network()));
  };
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  {
    const Threads one(1);
    kept = trained(small_network, true), again = trained(small_network, false);
    CHECK(same(trained(checkpointed, true), trained(checkpointed, false)));
  }
  CHECK(same(kept, again));
  const Threads more(4);
  CHECK(same(kept, trained(small_network, false)));
  CHECK(live_nodes() == 0);
}

TEST_CASE("recomputed batch normalisation with the ReLU: gradcheck of what stands behind it", "[autograd]") {
  for (const Shape& shape : {Shape{4, 3, 2, 3}, Shape{5, 3}, Shape{2, 3, 1, 17}}) {
    const auto f = [](const std::vector<Tensor<double>>& a) {
      return square(batch_norm_relu(a[0], Tensor<double>{}, Tensor<double>{}, a[1], a[2], true));
    };
    const auto of = [](const Shape& s, std::uint64_t stream) {
      return Tensor<double>::uniform(s, {3, stream}, -1.0, 2.0);
    };
    const GradcheckResult result = gradcheck(f, {of(shape, 1), of({3}, 2), of({3}, 3)});
    INFO(text(shape, ": ", result.message()));
    CHECK(result.ok);
  }
  const auto x = requires_grad(Tensor<double>::empty({0, 3, 4}));
  Tensor<double> mean = Tensor<double>::zeros({3}), var = Tensor<double>::ones({3});
  sum(square(batch_norm_relu(x, mean, var))).backward();
  CHECK(x.grad().shape() == Shape{0, 3, 4});
  CHECK(live_nodes() == 1);
}

TEST_CASE("a training step's peak: what is kept, counted in activations", "[autograd]") {
  using namespace nn;
  // Layers of equal size: convolution, normalisation and ReLU keep one result together, the convolution's.
  Sequential<float> net;
  constexpr int layers = 8;
  for (int i = 0; i < layers; ++i) {
    net.push_back(Conv2d<float>(16, 16, 1, {.bias = false}));
    net.push_back(BatchNorm2d<float>(16));
    net.push_back(ReLU<float>());
  }
  const Tensor<float> x = Tensor<float>::normal({8, 16, 32, 32}, {1, 1});
  const auto activations = [&](std::size_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(x.numel() * 4);
  };
  sum(net(x)).backward();  // gradients and scratch memory are there from now on
  net.zero_grad();
  const std::size_t before = memory_stats().in_use;
  reset_peak_memory();
  Tensor<float> loss = sum(net(x));
  const double kept = activations(memory_stats().in_use - before), forward = activations(memory_stats().peak - before);
  reset_peak_memory();
  loss.backward();
  const double backward = activations(memory_stats().peak - before);
  INFO("kept " << kept << ", peak forward " << forward << ", backward " << backward << " activations");
  CHECK(kept > 0.99 * layers);
  CHECK(kept < 1.02 * layers);     // up to whole pages and the nodes
  CHECK(forward < layers + 1.5);   // the normalisation's result; the convolutions' working memory
  CHECK(backward < layers + 1.5);  // the same computed again, or a gradient
}

}  // namespace qdistill_test
