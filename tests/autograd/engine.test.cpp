#include "qdistill/autograd/engine.hpp"

#include <catch2/catch.hpp>

#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/cast.hpp"
#include "qdistill/ops/reduce.hpp"

namespace qdistill_test {

using namespace qdistill;
using Catch::Matchers::Contains;

namespace {

Tensor<double> leaf(std::initializer_list<double> values) { return requires_grad(Tensor<double>::from(values)); }
std::vector<double> list(std::initializer_list<double> values) { return values; }

/// x with a backward pass that throws.
Tensor<double> failing(const Tensor<double>& x) {
  return record("failing", x.clone(), inputs(x),
                [](const Tensor<double>&, Gradients<double>&) { fail("failing", "on purpose"); });
}

}  // namespace

TEST_CASE("backward: a chain, a branch, an input used twice", "[autograd]") {
  {
    const auto x = leaf({1, 2, 3});
    sum(x * x * x).backward();
    CHECK(x.grad().to_vector() == list({3, 12, 27}));
    const auto y = leaf({2, 5});
    const auto a = y * 3, b = y * y;
    sum(a * b - a).backward();  // 3 y^3 - 3 y
    CHECK(y.grad().to_vector() == list({33, 222}));
    const auto z = leaf({4});
    (z + z).backward();
    CHECK(z.grad().item() == 2);
    const auto alone = leaf({4});
    alone.backward();
    CHECK(alone.grad().item() == 1);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward: gradients add up until they are reset", "[autograd]") {
  {
    const auto x = leaf({1, 2});
    CHECK(!x.grad().defined());
    sum(x * 2).backward();
    sum(x * 3).backward();
    CHECK(x.grad().to_vector() == list({5, 5}));
    x.zero_grad();
    CHECK(!x.grad().defined());
    sum(x).backward();
    CHECK(x.grad().to_vector() == list({1, 1}));
    x.grad().data()[0] = 10;  // the gradient is the user's, and nobody else's buffer
    sum(x).backward();
    CHECK(x.grad().to_vector() == list({11, 2}));
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward: a given gradient, and one of the wrong shape", "[autograd]") {
  {
    const auto x = leaf({1, 2});
    const auto y = x * x;
    CHECK_THROWS_WITH(y.backward(), Contains("[backward] got shape [2], expected one element"));
    CHECK_THROWS_AS(y.backward(), GraphError);
    CHECK_THROWS_WITH(y.backward(Tensor<double>::zeros({3})), Contains("got a gradient of shape [3], expected [2]"));
    const auto seed = Tensor<double>::from({1, 10});
    y.backward(seed);
    CHECK(x.grad().to_vector() == list({2, 40}));
    CHECK(seed.to_vector() == list({1, 10}));
    CHECK_THROWS_WITH(Tensor<double>::scalar(1).backward(), Contains("not part of a graph"));
    CHECK_THROWS_AS(Tensor<double>{}.backward(), GraphError);
    CHECK_THROWS_AS(requires_grad(Tensor<double>{}), GraphError);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward: twice needs retain_graph", "[autograd]") {
  {
    const auto x = leaf({3});
    const auto y = x * x;
    y.backward(true);
    y.backward(true);
    y.backward();
    CHECK(x.grad().item() == 18);
    CHECK_THROWS_WITH(y.backward(), Contains("HINT: the first backward needs retain_graph = true"));
    CHECK_THROWS_AS((y + 1).backward(), GraphError);
    CHECK(x.grad().item() == 18);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward: 100,000 nodes deep, forward, backward and release", "[autograd]") {
  {
    const auto x = leaf({1});
    Tensor<double> y = x;
    for (int i = 0; i < 100000; ++i) y = y + 1e-5;
    CHECK(live_nodes() >= 100000);
    y.backward();
    CHECK(x.grad().item() == 1);
    CHECK(std::fabs(y.item() - 2) < 1e-9);
    Tensor<double> unused = x;  // released without a sweep
    for (int i = 0; i < 100000; ++i) unused = unused * 1.0;
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward: a diamond of 60 levels takes 60 steps, not 2^60", "[autograd]") {
  {
    const auto x = leaf({1});
    Tensor<double> y = x;
    for (int i = 0; i < 60; ++i) y = y * 0.5 + y * 0.5;
    y.backward();
    CHECK(x.grad().item() == 1);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: saved tensors changed in place are detected", "[autograd]") {
  {
    const auto x = leaf({1, 2});
    auto w = Tensor<double>::from({3, 4});
    const auto y = sum(x * w);
    w.fill(5);
    CHECK_THROWS_WITH(y.backward(), Contains("was changed in place") && Contains("HINT: clone()"));
    CHECK(!x.grad().defined());
    auto v = Tensor<double>::from({3, 4});
    const auto z = sum(x + v);  // an addition saves nothing
    v.fill(5);
    z.backward();
    CHECK(x.grad().to_vector() == list({1, 1}));
    auto s = sigmoid(x);
    const auto t = sum(s);
    s.mark_changed();
    CHECK_THROWS_AS(t.backward(), GraphError);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: no_grad, enable_grad, detach", "[autograd]") {
  {
    const auto x = leaf({2});
    {
      const NoGrad off;
      CHECK(!grad_enabled());
      CHECK(!(x * x).requires_grad());
      {
        const EnableGrad on;
        CHECK((x * x).requires_grad());
      }
      CHECK(!grad_enabled());
    }
    CHECK(grad_enabled());
    const auto y = (x * x).detach() * x;
    y.backward();
    CHECK(x.grad().item() == 4);
    CHECK(!x.detach().requires_grad());
    CHECK(x.detach().shares_storage(x));
    CHECK(!(Tensor<double>::ones({1}) * 2).requires_grad());
    const Index nodes = live_nodes();
    const auto plain = Tensor<double>::ones({1}) * 2 + 3;
    CHECK(live_nodes() == nodes);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: hooks see and replace gradients", "[autograd]") {
  {
    const auto x = leaf({1, 2});
    const auto y = x * 3;
    std::vector<double> seen;
    register_hook(y, [&](const Tensor<double>& g) {
      seen = g.to_vector();
      return g * 10;
    });
    register_hook(x, [](const Tensor<double>& g) { return g + 1; });
    sum(y).backward();
    CHECK(seen == list({1, 1}));
    CHECK(x.grad().to_vector() == list({31, 31}));
    register_hook(x, [](const Tensor<double>&) { return Tensor<double>{}; });  // looks only
    x.zero_grad();
    sum(x * 1).backward();
    CHECK(x.grad().to_vector() == list({2, 2}));
    register_hook(x, [](const Tensor<double>&) { return Tensor<double>::zeros({3}); });
    CHECK_THROWS_WITH(sum(x).backward(), Contains("[hook] got a gradient of shape [3], expected [2]"));
    CHECK_THROWS_AS(register_hook(Tensor<double>::ones({1}), [](const Tensor<double>& g) { return g; }), GraphError);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward: an interrupted sweep leaves no gradient between the leaves", "[autograd]") {
  {
    const auto x = leaf({1});
    const auto middle = x * 2;
    const auto other = middle * 3;
    const auto y = failing(other) + middle;
    CHECK_THROWS_WITH(y.backward(true), "[failing] on purpose");
    CHECK(!x.grad().defined());
    CHECK(!middle.grad().defined());
    CHECK(!other.grad().defined());
    // A later sweep through the same nodes starts from nothing.
    (other + middle).backward();
    CHECK(x.grad().item() == 8);
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: a result outlives its inputs, gradients of part of them", "[autograd]") {
  {
    const auto x = leaf({3});
    Tensor<double> y;
    {
      const auto gone = leaf({5});
      const auto constant = Tensor<double>::from({7});
      y = x * gone + constant * x;
    }
    y.backward();
    CHECK(x.grad().item() == 12);
    const auto a = leaf({2});
    const auto b = Tensor<double>::from({3});
    (b / a).backward();
    CHECK(a.grad().item() == -0.75);
    CHECK(!b.requires_grad());
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: float and double in one graph", "[autograd]") {
  {
    const auto x = requires_grad(Tensor<float>::from({1, 2}));
    const auto y = to<double>(x) * Tensor<double>::from({3, 4});
    const auto z = to<float>(y) * 2;
    sum(z).backward();
    CHECK(x.grad().to_vector() == std::vector<float>{6, 8});
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: a backward closure may run a sweep of its own", "[autograd]") {
  {
    // Recomputation: the forward keeps no graph, the backward rebuilds it.
    const auto x = leaf({1, 2});
    Tensor<double> y;
    {
      const NoGrad off;
      y = x * x * x;
    }
    y = record("recomputed", y, inputs(x), [x = save(x)](const Tensor<double>& dy, Gradients<double>& dx) {
      const EnableGrad on;
      const auto again = requires_grad(x.get());
      (again * again * again).backward(dy);
      dx[0].accumulate(again.grad());
    });
    sum(y).backward();
    CHECK(x.grad().to_vector() == list({3, 12}));
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: more inputs than fit on the stack", "[autograd]") {
  {
    std::vector<Tensor<double>> leaves;
    for (int i = 0; i < 20; ++i) leaves.push_back(requires_grad(Tensor<double>::scalar(i)));
    leaves.push_back(leaves[3]);  // given twice
    const std::span<const Tensor<double>> all(leaves);
    double total = 0;
    for (const auto& x : leaves) total += x.item();
    const auto y = record("sum of list", Tensor<double>::scalar(total), inputs(all),
                          [](const Tensor<double>& dy, Gradients<double>& dx) {
                            for (int i = 0; i < dx.size(); ++i) dx[i].accumulate(dy * (i + 1));
                          });
    y.backward();
    for (int i = 0; i < 20; ++i) CHECK(leaves[static_cast<std::size_t>(i)].grad().item() == (i == 3 ? 4 + 21 : i + 1));
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("graph: steady state asks the system for nothing", "[autograd]") {
  {
    const auto x = requires_grad(Tensor<float>::ones({1000}));
    const auto step = [&] {
      const auto y = sum(relu(x * 2 - 1) * sigmoid(x));
      y.backward();
      x.zero_grad();
    };
    step(), step();
    const MemoryStats before = memory_stats();
    step();
    const MemoryStats after = memory_stats();
    CHECK(after.in_use == before.in_use);
    CHECK(after.cached == before.cached);
  }
  CHECK(live_nodes() == 0);
}

}  // namespace qdistill_test
