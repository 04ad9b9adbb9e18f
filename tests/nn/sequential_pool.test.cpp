/// A ReLU in front of a max pool, which Sequential computes behind it.
#include <catch2/catch.hpp>
#include <cstring>

#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/pool.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/reduce.hpp"
#include "threads.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Output, gradient of the input and of all parameters; module by module, or by Sequential's own forward().
std::vector<float> run(nn::Sequential<float>& net, const Tensor<float>& input, bool one_by_one) {
  const Tensor<float> x = requires_grad(input.clone());
  net.zero_grad();
  Tensor<float> y = x;
  if (one_by_one)
    for (const auto& child : net.children()) y = child.module->forward(y);
  else y = net(x);
  std::vector<float> out = y.to_vector();
  y.backward(Tensor<float>::normal(y.shape(), {4, 4}));
  for (const float g : x.grad().to_vector()) out.push_back(g);
  for (const Tensor<float>& p : net.parameters())
    for (const float g : p.grad().to_vector()) out.push_back(g);
  return out;
}

}  // namespace

TEST_CASE("ReLU and max pool in a Sequential: values and gradients as one after the other", "[nn]") {
  using namespace nn;
  default_generator() = Generator(3);
  std::vector<Sequential<float>> nets;
  const auto add = [&](Size2d kernel, MaxPool2dOptions options) {
    nets.push_back(Sequential<float>(Conv2d<float>(2, 5, 3, {.padding = 1}), ReLU<float>(),
                                     MaxPool2d<float>(kernel, options), Conv2d<float>(5, 3, 1)));
  };
  add(2, {});
  add(3, {.stride = 2});
  add(3, {.stride = 2, .padding = 1});  // stays in order
  add({2, 3}, {.stride = 1, .ceil_mode = true});
  nets.push_back(Sequential<float>(ReLU<float>(), MaxPool2d<float>(2), ReLU<float>(), ReLU<float>()));
  nets.push_back(Sequential<float>(MaxPool2d<float>(2), ReLU<float>(), MaxPool2d<float>(2)));
  for (const Shape& shape : {Shape{3, 2, 9, 7}, Shape{1, 2, 4, 4}, Shape{0, 2, 8, 8}}) {
    Tensor<float> x = Tensor<float>::normal(shape, {1, 1});
    if (x.numel() > 20)  // ties, and windows without a positive element
      for (Index i = 0; i < 12; ++i) x.data()[i] = i % 3 == 0 ? 0.0f : -1.0f;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      const Threads one(1);
      const std::vector<float> expected = run(nets[i], x, true), got = run(nets[i], x, false);
      INFO("network " << i << ", " << x.numel() << " elements");
      REQUIRE(got.size() == expected.size());
      bool same = true;
      for (std::size_t k = 0; k < got.size(); ++k) same = same && got[k] == expected[k];
      CHECK(same);
      const Threads four(4);
      const std::vector<float> again = run(nets[i], x, false);
      CHECK((got.empty() || std::memcmp(got.data(), again.data(), got.size() * sizeof(float)) == 0));
    }
  }
  CHECK(MaxPool2d<float>(2).commutes_with_relu());
  CHECK_FALSE(MaxPool2d<float>(3, {.padding = 1}).commutes_with_relu());
  CHECK_FALSE(AvgPool2d<float>(2).commutes_with_relu());
}

TEST_CASE("ReLU and max pool in a Sequential: the convolution's result is not kept", "[nn]") {
  using namespace nn;
  Sequential<float> net(Conv2d<float>(3, 16, 3, {.padding = 1}), ReLU<float>(), MaxPool2d<float>(2));
  const Tensor<float> x = Tensor<float>::normal({4, 3, 32, 32}, {1, 1});
  const std::size_t result = std::size_t{4} * 16 * 32 * 32 * sizeof(float), before = memory_stats().in_use;
  const Tensor<float> y = net(x);
  const double kept = static_cast<double>(memory_stats().in_use - before) / static_cast<double>(result);
  CHECK(kept > 0.25);
  CHECK(kept < 0.25 + 0.25 / 4 + 0.05);  // pooled, and a byte for each
}

}  // namespace qdistill_test
