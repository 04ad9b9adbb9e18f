/// Modules in a row: a ReLU is computed by the module in front of it, with the bits of both one after the other.
#include "qdistill/nn/sequential.hpp"

#include <catch2/catch.hpp>
#include <cstring>

#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/ops/reduce.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

template <class T>
using Bits = std::vector<std::vector<T>>;

/// Result, gradients and state of one training step of modules in a row, each called by itself or by their Sequential.
template <class T, class Make>
Bits<T> step(bool together, Make make, const Shape& shape) {
  manual_seed(4);
  nn::Sequential<T> net = make();
  const Tensor<T> x = requires_grad(Tensor<T>::normal(shape, {1, 1}));
  Tensor<T> y = x;
  if (together) y = net(x);
  else
    for (const auto& layer : net.children()) y = layer.module->forward(y);
  y.backward(Tensor<T>::normal(y.shape(), {1, 2}));
  Bits<T> left{y.to_vector(), x.grad().to_vector()};
  for (const Tensor<T>& p : net.parameters()) left.push_back(p.grad().to_vector());
  for (const auto& b : net.named_buffers())
    if (b.values) left.push_back(b.values->to_vector());
  return left;
}

template <class T>
bool same_bits(const Bits<T>& a, const Bits<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
    if (!a[i].empty() && std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(T)) != 0) return false;
  }
  return true;
}

template <class T>
void check_all() {
  using namespace nn;
  const auto same = [](auto make, const Shape& shape) {
    const Bits<T> apart = step<T>(false, make, shape);
    CHECK(same_bits(step<T>(true, make, shape), apart));
    CHECK(live_nodes() == 0);
  };
  same([] { return Sequential<T>(Conv2d<T>(3, 5, 3, {.padding = 1}), ReLU<T>(), Conv2d<T>(5, 4, 3), ReLU<T>()); },
       {2, 3, 9, 7});
  same([] { return Sequential<T>(Conv2d<T>(3, 5, 3), BatchNorm2d<T>(5), ReLU<T>(), MaxPool2d<T>(2), ReLU<T>()); },
       {2, 3, 9, 7});
  same([] { return Sequential<T>(Linear<T>(9, 33), ReLU<T>(), BatchNorm1d<T>(33), ReLU<T>(), ReLU<T>()); }, {5, 9});
  same([] { return Sequential<T>(ReLU<T>(), Conv1d<T>(2, 3, 3), ReLU<T>(), Flatten<T>(), ReLU<T>()); }, {2, 2, 9});
  same([] { return Sequential<T>(Sequential<T>(Linear<T>(4, 3)), ReLU<T>(), Sequential<T>(), ReLU<T>()); }, {2, 4});
  same([] { return Sequential<T>(Linear<T>(4, 3), Tanh<T>(), ReLU6<T>(), LeakyReLU<T>(), ReLU<T>()); }, {2, 4});
  same([] { return Sequential<T>(Conv2d<T>(2, 3, 3), ReLU<T>()); }, {0, 2, 5, 5});
}

}  // namespace

TEST_CASE("Sequential: a ReLU behind a layer changes no bit of result, gradients and state", "[nn]") {
  check_all<float>();
  check_all<double>();
}

TEST_CASE("Sequential: a ReLU behind a convolution, linear layer or batch norm is not an operation of its own",
          "[nn]") {
  const auto nodes = [](nn::Sequential<float> net, const Shape& shape) {
    const Index before = live_nodes();
    const Tensor<float> y = net(Tensor<float>::ones(shape));
    return live_nodes() - before;
  };
  using namespace nn;
  CHECK(nodes(Sequential<float>(Conv2d<float>(2, 3, 3), ReLU<float>()), {1, 2, 5, 5}) == 1);
  CHECK(nodes(Sequential<float>(Linear<float>(2, 3), ReLU<float>(), Tanh<float>()), {1, 2}) == 2);
  CHECK(nodes(Sequential<float>(Linear<float>(2, 3), BatchNorm1d<float>(3), ReLU<float>()), {2, 2}) == 2);
  CHECK(nodes(Sequential<float>(Linear<float>(2, 3), Tanh<float>(), ReLU<float>()), {1, 2}) == 3);
}

TEST_CASE("Sequential: observers around a ReLU see what they saw", "[nn]") {
  manual_seed(1);
  nn::Sequential<float> net(nn::Linear<float>(3, 4), nn::ReLU<float>(), nn::Linear<float>(4, 2));
  Bits<float> seen;
  for (const auto& layer : net.children())
    layer.module->observe([&](const Tensor<float>& x) { seen.push_back(x.to_vector()); });
  const Tensor<float> x = Tensor<float>::normal({2, 3}, {1, 1});
  Tensor<float> y = x;
  for (const auto& layer : net.children()) y = layer.module->forward(y);
  const Bits<float> apart = std::exchange(seen, {});
  CHECK(apart.size() == 2);  // the layers with weights
  net(x);
  CHECK(same_bits(seen, apart));
}

TEST_CASE("Sequential: without gradients its input stays as it is", "[nn]") {
  const NoGrad no_grad;
  const Tensor<float> x = Tensor<float>::from({-1, 2, -3, 4}, {2, 2});
  CHECK(nn::Sequential<float>(nn::Identity<float>(), nn::ReLU<float>())(x).to_vector() ==
        std::vector<float>{0, 2, 0, 4});
  CHECK(nn::Sequential<float>(nn::ReLU<float>())(x).to_vector() == std::vector<float>{0, 2, 0, 4});
  CHECK(nn::Sequential<float>(nn::Flatten<float>(), nn::ReLU<float>())(x).to_vector() ==
        std::vector<float>{0, 2, 0, 4});
  CHECK(x.to_vector() == std::vector<float>{-1, 2, -3, 4});
}

}  // namespace qdistill_test
