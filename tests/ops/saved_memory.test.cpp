/// What an operation keeps for its gradient, in bytes: the table in docs/design.md.
#include <catch2/catch.hpp>

#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/add_relu.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/batch_norm.hpp"
#include "qdistill/ops/conv.hpp"
#include "qdistill/ops/dropout.hpp"
#include "qdistill/ops/linear.hpp"
#include "qdistill/ops/pool.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

const Shape shape{16, 16, 16, 16};

/// Bytes alive in multiples of the input's, when only the result of f is held on to: its own and what the graph keeps.
/// The input is a result itself, so that it lives only if f keeps it.
template <class F>
double kept(F f) {
  const Tensor<float> leaf = requires_grad(Tensor<float>::normal(shape, {1, 1}));
  const std::size_t before = memory_stats().in_use;
  const Tensor<float> y = f(leaf * 1.0);
  return static_cast<double>(memory_stats().in_use - before) / static_cast<double>(leaf.numel() * 4);
}

/// Up to whole pages, or an eighth of small blocks, and the nodes.
bool about(double bytes, double expected) { return bytes > 0.99 * expected && bytes < 1.07 * expected + 0.01; }

}  // namespace

TEST_CASE("operations keep no more for their gradients than they need", "[ops]") {
  using X = const Tensor<float>&;
  // Bounds of one stand for the result alone.
  CHECK(about(kept([](X x) { return relu(x); }), 1));
  CHECK(about(kept([](X x) { return sigmoid(x); }), 1));
  CHECK(about(kept([](X x) { return gelu(x); }), 2));
  CHECK(about(kept([](X x) { return dropout(x, 0.5, true); }), 1));
  CHECK(about(kept([](X x) { return dropout2d(x, 0.5, true); }), 1));
  CHECK(about(kept([](X x) { return add_relu(x, x); }), 1));
  CHECK(about(kept([](X x) { return x + x; }), 1));
  CHECK(about(kept([](X x) { return x * x; }), 2));
  CHECK(about(kept([](X x) { return max_pool2d(x, 2); }), 0.25 + 0.25 / 4));  // a byte for each result
  CHECK(about(kept([](X x) { return max_pool2d(x, 3, {.stride = 1, .padding = 1}); }), 1 + 1.0 / 4));
  CHECK(about(kept([](X x) { return avg_pool2d(x, 2); }), 0.25));
  CHECK(about(kept([](X x) { return adaptive_max_pool2d(x, 8); }), 0.25 + 0.25 * 2));  // a position of eight bytes
  CHECK(about(kept([](X x) { return flatten(x, 1); }), 1));
  const Tensor<float> mean = Tensor<float>::zeros({16}), var = Tensor<float>::ones({16});
  CHECK(about(kept([&](X x) { return batch_norm(x, mean, var, {}, {}, true); }), 2));
  CHECK(about(kept([&](X x) { return batch_norm_relu(x, mean, var, {}, {}, true); }), 2));
  const Tensor<float> w = Tensor<float>::normal({16, 16, 3, 3}, {1, 2}), v = Tensor<float>::normal({16, 16}, {1, 3});
  const Tensor<float> trained = requires_grad(w), trained_too = requires_grad(v);
  CHECK(about(kept([&](X x) { return conv2d(x, trained, {.padding = 1}); }), 2));
  CHECK(about(kept([&](X x) { return conv2d(x, w, {.padding = 1}); }), 1));
  CHECK(about(kept([&](X x) { return conv2d_relu(x, w, {}, {.padding = 1}); }), 1));
  CHECK(about(kept([&](X x) { return linear(x, trained_too); }), 2));
  CHECK(about(kept([&](X x) { return linear_relu(x, v); }), 1));
  // What is computed again is not kept: batch norm's input alone, and what stands behind.
  CHECK(about(kept([&](X x) { return gelu(batch_norm(x, mean, var, {}, {}, true)); }), 2));
  CHECK(about(kept([&](X x) {
                const Tensor<float> y = batch_norm_relu(x, mean, var, {}, {}, true);
                return conv2d(y, trained, {.padding = 1});
              }),
              2));
  // A block: the convolution's result, which is batch norm's input, and the output of the ReLU.
  CHECK(about(kept([&](X x) {
                return batch_norm_relu(conv2d(x, w, {.padding = 1}), mean, var, Tensor<float>{}, Tensor<float>{}, true);
              }),
              2));
}

}  // namespace qdistill_test
