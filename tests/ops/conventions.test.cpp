/// Values that gradcheck cannot see: kinks and ties, NaN, empty reductions, conversions, and buffers that are reused.
#include <catch2/catch.hpp>

#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/cast.hpp"
#include "qdistill/ops/compare.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/ops/reduce_index.hpp"
#include "qdistill/ops/sort.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

using List = std::vector<double>;

/// dL/dx of the sum of f(x).
template <class F>
List slope(F f, std::initializer_list<double> at) {
  const auto x = requires_grad(Tensor<double>::from(at));
  sum(f(x)).backward();
  return x.grad().to_vector();
}

}  // namespace

TEST_CASE("kinks: the gradients of PyTorch", "[ops]") {
  CHECK(slope([](auto x) { return relu(x); }, {0, -0.0, 1}) == List{0, 0, 1});
  CHECK(slope([](auto x) { return relu6(x); }, {0, 6, 5}) == List{0, 0, 1});
  CHECK(slope([](auto x) { return leaky_relu(x, 0.25); }, {0, 1}) == List{0.25, 1});
  CHECK(slope([](auto x) { return elu(x, 2); }, {0}) == List{2});
  CHECK(slope([](auto x) { return abs(x); }, {-2, 0, 2}) == List{-1, 0, 1});
  CHECK(slope([](auto x) { return clamp(x, -1, 2); }, {-1, 2, -1.5, 2.5, 0}) == List{1, 1, 0, 0, 1});
  CHECK(slope([](auto x) { return round(x); }, {0.3}) == List{0});
  CHECK(slope([](auto x) { return hardswish(x); }, {-4, 4}) == List{0, 1});
  CHECK(slope([](auto x) { return pow(x, 0); }, {0, 2}) == List{0, 0});
  CHECK(slope([](auto x) { return pow(x, 2); }, {0, 2}) == List{0, 4});
  CHECK(slope([](auto x) { return pow(0.0, x); }, {2}) == List{0});
  CHECK(slope([](auto x) { return pow(Tensor<double>::zeros({1}), x); }, {2}) == List{0});
  CHECK(slope([](auto x) { return norm(x); }, {0, 0}) == List{0, 0});
  CHECK(slope([](auto x) { return norm(x, 1); }, {-3, 0, 2}) == List{-1, 0, 1});
}

TEST_CASE("ties: shared evenly", "[ops]") {
  const auto a = requires_grad(Tensor<double>::from({1, 2, 3})), b = requires_grad(Tensor<double>::from({1, 3, 2}));
  sum(maximum(a, b)).backward();
  CHECK(a.grad().to_vector() == List{0.5, 0, 1});
  CHECK(b.grad().to_vector() == List{0.5, 1, 0});
  a.zero_grad(), b.zero_grad();
  sum(minimum(a, b)).backward();
  CHECK(a.grad().to_vector() == List{0.5, 1, 0});
  CHECK(b.grad().to_vector() == List{0.5, 0, 1});
  CHECK(slope([](auto x) { return amax(x); }, {5, 1, 5, 5, 5}) == List{0.25, 0, 0.25, 0.25, 0.25});
  CHECK(slope([](auto x) { return amin(x); }, {5, 1, 1}) == List{0, 0.5, 0.5});
}

TEST_CASE("NaN: carried on, and the most extreme of all", "[ops]") {
  const auto x = Tensor<float>::from({1, std::nanf(""), -2});
  for (const auto& y : {relu(x), relu6(x), leaky_relu(x), elu(x), gelu(x), gelu_tanh(x), silu(x), hardswish(x),
                        softplus(x), sigmoid(x), tanh(x), erf(x), exp(x), abs(x), round(x), clamp(x, -1, 1)}) {
    CHECK(std::isnan(y.data()[1]));
    CHECK(!std::isnan(y.data()[0]));
  }
  for (const auto& y : {sum(x), mean(x), var(x), norm(x), amax(x), amin(x), logsumexp(x), quantile(x, 0.5), median(x)})
    CHECK(std::isnan(y.item()));
  const auto one = Tensor<float>::ones({3});
  for (const auto& y : {maximum(x, one), maximum(one, x), minimum(x, one), minimum(one, x)}) {
    CHECK(std::isnan(y.data()[1]));
    CHECK(!std::isnan(y.data()[2]));
  }
  CHECK(argmax(x).item() == 1);
  CHECK(argmin(x).item() == 1);
  CHECK(sort(x).indices.to_vector() == std::vector<Index>{2, 0, 1});
  CHECK(topk(x, 2).indices.to_vector() == std::vector<Index>{1, 0});
}

TEST_CASE("reductions of nothing, of infinities, of one element", "[ops]") {
  const double inf = std::numeric_limits<double>::infinity();
  const auto none = Tensor<double>::zeros({0});
  CHECK(sum(none).item() == 0);
  CHECK(std::isnan(mean(none).item()));
  CHECK(std::isnan(var(none).item()));
  CHECK(norm(none).item() == 0);
  CHECK(logsumexp(none).item() == -inf);
  CHECK(sum(Tensor<double>::zeros({2, 0}), 1).to_vector() == List{0, 0});
  CHECK(amax(Tensor<double>::zeros({0, 2}), 1).shape() == Shape{0});
  CHECK(std::isnan(var(Tensor<double>::ones({1})).item()));
  CHECK(var(Tensor<double>::ones({1}), {}, false).item() == 0);
  CHECK(logsumexp(Tensor<double>::from({-inf, -inf})).item() == -inf);
  CHECK(logsumexp(Tensor<double>::from({inf, 1})).item() == inf);
  CHECK(std::fabs(logsumexp(Tensor<float>::from({1000, 1000})).item() - 1000.6931f) < 1e-3f);
  CHECK(std::fabs(logsumexp(Tensor<float>::from({-1000, -1000})).item() + 999.3069f) < 1e-3f);
  CHECK(amax(Tensor<double>::from({-inf, -inf})).item() == -inf);
}

TEST_CASE("sums of many floats stay accurate", "[ops]") {
  const auto x = Tensor<float>::full({10000019}, 0.1f);
  CHECK(std::fabs(static_cast<double>(sum(x).item()) / (10000019 * static_cast<double>(0.1f)) - 1) < 5e-7);
  CHECK(std::fabs(static_cast<double>(mean(x).item()) / static_cast<double>(0.1f) - 1) < 5e-7);
  const auto columns = sum(Tensor<float>::full({1000003, 3}, 0.1f), 0);
  for (const float v : columns.span())
    CHECK(std::fabs(static_cast<double>(v) / (1000003 * static_cast<double>(0.1f)) - 1) < 5e-7);
  const auto far = Tensor<float>::uniform({100000}, {1, 2}, 1000, 1001);
  CHECK(std::fabs(var(far).item() - 1.0f / 12) < 1e-3f);
}

TEST_CASE("sorting is stable, quantiles interpolate", "[ops]") {
  const auto x = Tensor<float>::from({2, 1, 2, 1, 2});
  CHECK(sort(x).indices.to_vector() == std::vector<Index>{1, 3, 0, 2, 4});
  CHECK(sort(x, 0, true).indices.to_vector() == std::vector<Index>{0, 2, 4, 1, 3});
  CHECK(topk(x, 2, 0, false).values.to_vector() == std::vector<float>{1, 1});
  CHECK(topk(x, 0).values.numel() == 0);
  CHECK(median(Tensor<float>::from({4, 1, 3, 2})).item() == 2);
  CHECK(quantile(Tensor<float>::from({4, 1, 3, 2}), 0.5).item() == 2.5f);
  CHECK(quantile(Tensor<float>::from({4, 1, 3, 2}), 1).item() == 4);
  CHECK(quantile(Tensor<float>::from({7}), 0.3).item() == 7);
  const auto leaf = requires_grad(Tensor<double>::from({3, 1, 2}));
  (topk(leaf, 1).values * 5.0).backward();
  CHECK(leaf.grad().to_vector() == List{5, 0, 0});
}

TEST_CASE("conversions: towards zero, clamped, differentiable between float and double", "[ops]") {
  const auto x = Tensor<double>::from({-1e300, -1.75, -0.5, 0.5, 1.75, 300, 1e300, std::nan("")});
  CHECK(to<std::uint8_t>(x).to_vector() == std::vector<std::uint8_t>{0, 0, 0, 0, 1, 255, 255, 0});
  CHECK(to<std::int8_t>(x).to_vector() == std::vector<std::int8_t>{-128, -1, 0, 0, 1, 127, 127, 0});
  CHECK(to<Index>(x).to_vector() == std::vector<Index>{INT64_MIN, -1, 0, 0, 1, 300, INT64_MAX, 0});
  CHECK(to<std::int32_t>(Tensor<float>::from({2147483648.0f, -2147483648.0f, 2147483520.0f})).to_vector() ==
        std::vector<std::int32_t>{INT32_MAX, INT32_MIN, 2147483520});
  CHECK(to<float>(Tensor<Index>::from({3, -4})).to_vector() == std::vector<float>{3, -4});
  CHECK(to<float>(gt(Tensor<float>::from({1, -1}), 0)).to_vector() == std::vector<float>{1, 0});
  const auto leaf = requires_grad(Tensor<float>::from({1, 2}));
  CHECK(to<float>(leaf).requires_grad());
  const auto wide = to<double>(leaf);
  wide.backward(Tensor<double>::from({0.5, 0.25}));
  CHECK(leaf.grad().to_vector() == std::vector<float>{0.5f, 0.25f});
}

TEST_CASE("masks: choose in where, compare integers", "[ops]") {
  const auto x = Tensor<Index>::from({1, 5, 3});
  CHECK(ge(x, 3).to_vector() == std::vector<std::uint8_t>{0, 1, 1});
  CHECK(where(ge(x, 3), Tensor<float>::from({1, 2, 3}), -1).to_vector() == std::vector<float>{-1, 2, 3});
  CHECK(where(ge(x, 3), 9, Tensor<float>::scalar(0.5f)).to_vector() == std::vector<float>{0.5f, 9, 9});
  CHECK(eq(Tensor<float>::from({std::nanf("")}), std::nanf("")).to_vector() == std::vector<std::uint8_t>{0});
  CHECK(ne(Tensor<float>::from({std::nanf("")}), std::nanf("")).to_vector() == std::vector<std::uint8_t>{1});
}

TEST_CASE("buffers: the last use of a tensor lends its memory, a graph never does", "[ops]") {
  auto x = Tensor<float>::from({-1, 2, 3});
  const float* const address = x.data();
  auto y = relu(std::move(x));
  CHECK(y.data() == address);
  const auto kept = y;
  CHECK(relu(y).data() != address);
  CHECK(kept.to_vector() == std::vector<float>{0, 2, 3});
  auto a = Tensor<float>::from({1, 2}), b = Tensor<float>::from({5});
  const float* const of_a = a.data();
  const auto c = add(std::move(a), std::move(b));
  CHECK(c.data() == of_a);
  CHECK(c.to_vector() == std::vector<float>{6, 7});
  auto p = Tensor<float>::from({3}), q = Tensor<float>::from({1, 2});
  const float* const of_q = q.data();
  const auto r = sub(std::move(p), std::move(q));
  CHECK(r.data() == of_q);
  CHECK(r.to_vector() == std::vector<float>{2, 1});
  // An operand that another one's gradient needs stays as it is.
  const auto w = requires_grad(Tensor<float>::from({1, 2}));
  auto v = Tensor<float>::from({3, 4});
  const auto product = sum(mul(w, std::move(v)) * 2);
  product.backward();
  CHECK(w.grad().to_vector() == std::vector<float>{6, 8});
}

}  // namespace qdistill_test
