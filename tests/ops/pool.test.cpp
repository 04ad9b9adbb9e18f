/// What pooling does at ties, infinities and NaNs, and with odd windows.
#include "qdistill/ops/pool.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace {

using namespace qdistill;

constexpr float low = -std::numeric_limits<float>::infinity();

TEST_CASE("max pooling: the first of equal maxima takes the gradient", "[ops][pool]") {
  const Tensor<float> ones = requires_grad(Tensor<float>::ones({1, 4, 4}));
  max_pool2d(ones, 2).backward(Tensor<float>::from({1, 2, 3, 4}, {1, 2, 2}));
  CHECK(ones.grad().to_vector() == std::vector<float>{1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0});
  const auto wide = max_pool2d_with_indices(ones, 3, {.stride = 1, .padding = 1});
  CHECK(wide.indices.to_vector() == std::vector<Index>{0, 0, 1, 2, 0, 0, 1, 2, 4, 4, 5, 6, 8, 8, 9, 10});
  wide.output.backward(Tensor<float>::ones({1, 4, 4}));
  CHECK(ones.grad().at({0, 0, 0}) == 1 + 4);
}

TEST_CASE("max pooling: NaN wins and -infinity has a place", "[ops][pool]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Index kernel : {2, 3}) {
    const Index n = 2 * kernel;
    for (Index at = 0; at < kernel * kernel; ++at) {
      Tensor<float> x = Tensor<float>::ones({1, n, n});
      x.at({0, at / kernel, at % kernel}) = nan;
      const auto y = max_pool2d_with_indices(x, kernel);
      CHECK(std::isnan(y.output.data()[0]));
      CHECK(y.indices.data()[0] == at / kernel * n + at % kernel);
      CHECK(y.output.data()[1] == 1);
    }
    const auto y = max_pool2d_with_indices(Tensor<float>::full({1, n, n}, low), kernel);
    CHECK(y.output.to_vector() == std::vector<float>(4, low));
    CHECK(y.indices.to_vector() == std::vector<Index>{0, kernel, kernel * n, kernel * n + kernel});
  }
  const auto y = max_pool2d_with_indices(Tensor<float>::full({1, 2, 2}, low), 3, {.stride = 2, .padding = 1});
  CHECK(y.indices.to_vector() == std::vector<Index>{0});
}

TEST_CASE("max pooling: a window in the padding alone has no maximum", "[ops][pool]") {
  const Tensor<float> x = requires_grad(Tensor<float>::ones({1, 1, 1}));
  const auto y = max_pool2d_with_indices(x, 2, {.stride = 1, .padding = 1, .dilation = 2});
  CHECK(y.output.to_vector() == std::vector<float>{low});
  CHECK(y.indices.to_vector() == std::vector<Index>{-1});
  y.output.backward(Tensor<float>::ones({1, 1, 1}));
  CHECK(x.grad().to_vector() == std::vector<float>{0});
}

TEST_CASE("max pooling: strides beyond the plane and wide windows", "[ops][pool]") {
  const Tensor<float> x = Tensor<float>::normal({2, 3, 5}, {1, 1});
  const Tensor<float> far = max_pool2d(x, {3, 5}, {.stride = Index{1} << 31, .padding = {1, 2}});
  CHECK(far.shape() == Shape{2, 1, 1});
  float best = low;
  for (Index r = 0; r < 2; ++r)
    for (Index c = 0; c < 3; ++c) best = std::max(best, x.at({0, r, c}));
  CHECK(far.data()[0] == best);
  CHECK(max_pool2d(Tensor<float>::full({1, 300, 300}, 3.0f), 300).item() == 3);
}

TEST_CASE("only a graph or indices make max pooling keep codes", "[ops][pool]") {
  const Tensor<float> x = Tensor<float>::ones({4, 64, 64});
  release_cached_memory();
  const std::size_t before = memory_stats().in_use;
  const Tensor<float> y = max_pool2d(x, 2);
  const std::size_t plain = memory_stats().in_use - before;
  const Tensor<float> z = max_pool2d(requires_grad(x), 2);
  const std::size_t kept = memory_stats().in_use - before - plain;
  CHECK(plain < 4 * 32 * 32 * 4 * 5 / 4);
  CHECK(kept > plain);
  CHECK(kept < plain * 3 / 2);  // a byte for each window, not an index
}

TEST_CASE("adaptive max pooling: the first of equal maxima takes the gradient, row by row", "[ops][pool]") {
  // The bins of 4 columns to 3 are [0, 2), [1, 3), [2, 4): they overlap.
  const Tensor<float> x = requires_grad(Tensor<float>::from({0, 5, 0, 0, 5, 0, 7, 7}, {1, 2, 4}));
  const auto y = adaptive_max_pool2d_with_indices(x, {1, 3});
  CHECK(y.output.to_vector() == std::vector<float>{5, 7, 7});
  CHECK(y.indices.to_vector() == std::vector<Index>{1, 6, 6});  // 1 and 4 are equal, 1 stands in the earlier row
  y.output.backward(Tensor<float>::from({1, 2, 4}, {1, 1, 3}));
  CHECK(x.grad().to_vector() == std::vector<float>{0, 1, 0, 0, 0, 0, 6, 0});
  const auto ones = adaptive_max_pool2d_with_indices(Tensor<float>::ones({1, 5, 5}), 2);
  CHECK(ones.indices.to_vector() == std::vector<Index>{0, 2, 10, 12});
}

TEST_CASE("adaptive max pooling: the last NaN wins and -infinity has a place", "[ops][pool]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (Index at = 0; at < 9; ++at)
    for (Index second = at; second < 9; ++second) {
      Tensor<float> x = Tensor<float>::ones({1, 3, 3});
      x.data()[at] = x.data()[second] = nan;
      const auto y = adaptive_max_pool2d_with_indices(x, 1);
      CHECK(std::isnan(y.output.item()));
      CHECK(y.indices.item() == second);
    }
  const auto y = adaptive_max_pool2d_with_indices(Tensor<float>::full({1, 4, 4}, low), 2);
  CHECK(y.output.to_vector() == std::vector<float>(4, low));
  CHECK(y.indices.to_vector() == std::vector<Index>{0, 2, 8, 10});
}

TEST_CASE("average pooling divides by what it counts", "[ops][pool]") {
  const Tensor<double> x = Tensor<double>::ones({1, 3, 3});
  using List = std::vector<double>;
  CHECK(avg_pool2d(x, 2, {.stride = 2, .padding = 1}).to_vector() == List{0.25, 0.5, 0.5, 1});
  CHECK(avg_pool2d(x, 2, {.stride = 2, .padding = 1, .count_include_pad = false}).to_vector() == List{1, 1, 1, 1});
  CHECK(avg_pool2d(x, 2, {.divisor_override = 2}).to_vector() == List{2});
  CHECK(avg_pool2d(x, 2, {.ceil_mode = true}).to_vector() == List{1, 1, 1, 1});
}

}  // namespace
