/// Operations with a ReLU inside against the composition with a ReLU of its own.
#include <catch2/catch.hpp>

#include "qdistill/ops/add_relu.hpp"
#include "qdistill/ops/batch_norm.hpp"
#include "qdistill/ops/conv.hpp"
#include "qdistill/ops/linear.hpp"

namespace {

using namespace qdistill;

template <class T>
Tensor<T> plain_relu(const Tensor<T>& x) {
  Tensor<T> y = x.clone();
  for (T& v : y.span()) v = v > T(0) ? v : T(0);
  return record("relu", y, inputs(x), [y = save(y)](const Tensor<T>& dy, Gradients<T>& dx) {
    Tensor<T> g = dy.clone();
    for (Index i = 0; i < g.numel(); ++i)
      if (!(y.get().data()[i] > T(0))) g.data()[i] = T(0);
    dx[0].accumulate(g);
  });
}

/// Output and gradients of `fused` and of `plain`, bit for bit; the gradient given to backward stays as it was.
template <class Fused, class Plain>
void compare(std::vector<Tensor<float>> in, Fused fused, Plain plain) {
  std::vector<Tensor<float>> a, b;
  for (const auto& t : in) a.push_back(requires_grad(t)), b.push_back(requires_grad(t));
  const Tensor<float> y = fused(a), z = plain(b);
  REQUIRE(y.to_vector() == z.to_vector());
  const Tensor<float> dy = Tensor<float>::normal(y.shape(), {5, 5}), before = dy.clone();
  y.backward(dy);
  z.backward(dy);
  CHECK(dy.to_vector() == before.to_vector());
  for (std::size_t i = 0; i < in.size(); ++i) CHECK(a[i].grad().to_vector() == b[i].grad().to_vector());
}

TEST_CASE("conv2d_relu equals conv2d followed by a ReLU", "[ops][conv]") {
  const Conv2dOptions options{.stride = {2, 1}, .padding = 1};
  compare(
      {Tensor<float>::normal({3, 4, 9, 10}, {1, 1}), Tensor<float>::normal({6, 4, 3, 3}, {1, 2}),
       Tensor<float>::normal({6}, {1, 3})},
      [&](const auto& a) { return conv2d_relu(a[0], a[1], a[2], options); },
      [&](const auto& a) { return plain_relu(conv2d(a[0], a[1], a[2], options)); });
}

TEST_CASE("linear_relu equals linear followed by a ReLU", "[ops][linear]") {
  compare(
      {Tensor<float>::normal({7, 33}, {1, 1}), Tensor<float>::normal({21, 33}, {1, 2}),
       Tensor<float>::normal({21}, {1, 3})},
      [](const auto& a) { return linear_relu(a[0], a[1], a[2]); },
      [](const auto& a) { return plain_relu(linear(a[0], a[1], a[2])); });
}

TEST_CASE("add_relu equals add followed by a ReLU", "[ops][add_relu]") {
  const Shape shape{5, 7, 33};
  compare(
      {Tensor<float>::normal(shape, {1, 1}), Tensor<float>::normal(shape, {1, 2})},
      [](const auto& a) { return add_relu(a[0], a[1]); }, [](const auto& a) { return plain_relu(add(a[0], a[1])); });
  // A block whose input reaches the sum both ways, twice: gradients share buffers, and are added to.
  compare(
      {Tensor<float>::normal(shape, {1, 1}), Tensor<float>::normal(shape, {1, 2})},
      [](const auto& a) {
        const auto y = add_relu(mul(a[0], a[1]), a[0]);
        return add_relu(mul(y, a[1]), y);
      },
      [](const auto& a) {
        const auto y = plain_relu(add(mul(a[0], a[1]), a[0]));
        return plain_relu(add(mul(y, a[1]), y));
      });
  compare(
      {Tensor<float>::normal(shape, {1, 1})}, [](const auto& a) { return add_relu(a[0], a[0]); },
      [](const auto& a) { return plain_relu(add(a[0], a[0])); });
}

TEST_CASE("add_relu works in a buffer that nobody needs any more", "[ops][add_relu]") {
  Tensor<float> a = Tensor<float>::from({1, -2, 3}), b = Tensor<float>::from({1, 1, -4});
  const float *const at_a = std::as_const(a).data(), *const at_b = std::as_const(b).data();
  const Tensor<float> kept = a;
  const Tensor<float> y = add_relu(a, std::move(b));
  CHECK(std::as_const(y).data() == at_b);
  CHECK(y.to_vector() == std::vector<float>{2, 0, 0});
  CHECK(kept.to_vector() == std::vector<float>{1, -2, 3});
  CHECK(std::as_const(a).data() == at_a);
}

TEST_CASE("batch_norm_relu equals batch_norm followed by a ReLU", "[ops][batch_norm]") {
  for (const bool training : {true, false})
    for (const Shape& shape : {Shape{6, 70}, Shape{3, 5, 7, 9}, Shape{2, 3, 2100}}) {
      CAPTURE(training, shape.rank());
      const Index c = shape[1];
      std::vector<float> statistics[2];
      int run = 0;
      const auto forward = [&](const auto& a, auto f) {
        const Tensor<float> mean = Tensor<float>::full({c}, 0.25f), var = Tensor<float>::full({c}, 2.0f);
        const auto y = f(a, mean, var);
        statistics[run++] = mean.to_vector();
        return y;
      };
      compare(
          {Tensor<float>::normal(shape, {1, 1}), Tensor<float>::normal({c}, {1, 2}),
           Tensor<float>::normal({c}, {1, 3})},
          [&](const auto& in) {
            return forward(in, [&](const auto& a, const auto& mean, const auto& var) {
              return batch_norm_relu(a[0], mean, var, a[1], a[2], training);
            });
          },
          [&](const auto& in) {
            return forward(in, [&](const auto& a, const auto& mean, const auto& var) {
              return plain_relu(batch_norm(a[0], mean, var, a[1], a[2], training));
            });
          });
      CHECK(statistics[0] == statistics[1]);
    }
}

TEST_CASE("a stack of fused layers, whose inner gradients are masked in place", "[ops][linear]") {
  compare(
      {Tensor<float>::normal({7, 12}, {1, 1}), Tensor<float>::normal({12, 12}, {1, 2}),
       Tensor<float>::normal({12}, {1, 3})},
      [](const auto& a) { return linear_relu(linear_relu(linear_relu(a[0], a[1], a[2]), a[1], a[2]), a[1], a[2]); },
      [](const auto& a) {
        auto x = a[0];
        for (int i = 0; i < 3; ++i) x = plain_relu(linear(x, a[1], a[2]));
        return x;
      });
}

TEST_CASE("gradients that nobody asks for", "[ops][conv]") {
  const Tensor<float> x = Tensor<float>::normal({2, 3, 5, 5}, {1, 1}), w = Tensor<float>::normal({4, 3, 3, 3}, {1, 2});
  const Tensor<float> b = Tensor<float>::normal({4}, {1, 3});
  const Tensor<float> dy = Tensor<float>::normal({2, 4, 3, 3}, {1, 4});
  const Tensor<float> all[] = {requires_grad(x), requires_grad(w), requires_grad(b)};
  conv2d(all[0], all[1], all[2]).backward(dy);
  const Tensor<float> only_x = requires_grad(x), only_w = requires_grad(w), only_b = requires_grad(b);
  conv2d(only_x, w, b).backward(dy);
  conv2d(x, only_w, b).backward(dy);
  conv2d(x, w, only_b).backward(dy);
  CHECK(only_x.grad().to_vector() == all[0].grad().to_vector());
  CHECK(only_w.grad().to_vector() == all[1].grad().to_vector());
  for (Index i = 0; i < 4; ++i) CHECK(only_b.grad().data()[i] == Approx(all[2].grad().data()[i]));
}

}  // namespace
