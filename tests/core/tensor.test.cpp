#include "qdistill/core/tensor.hpp"

#include <catch2/catch.hpp>

namespace qdistill_test {

using namespace qdistill;
using Catch::Matchers::Contains;

TEST_CASE("tensors: creation", "[core]") {
  const auto x = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(x.defined());
  CHECK(x.rank() == 2);
  CHECK(x.numel() == 6);
  CHECK(x.size(0) == 2);
  CHECK(x.size(-1) == 3);
  CHECK(x.strides() == Strides{3, 1});
  CHECK(x.contiguous());
  CHECK(x.device() == Device::cpu);
  CHECK(!x.requires_grad());
  CHECK(Tensor<float>::from({7}).shape() == Shape{1});
  CHECK(Tensor<double>::scalar(2.5).item() == 2.5);
  CHECK(Tensor<double>::scalar(2.5).shape() == Shape{});
  CHECK(Tensor<int>::full({3}, 9).to_vector() == std::vector<int>{9, 9, 9});
  CHECK(Tensor<int>::zeros({2}).to_vector() == std::vector<int>{0, 0});
  CHECK(Tensor<int>::ones({2}).to_vector() == std::vector<int>{1, 1});
  CHECK(Tensor<float>::empty({0}).numel() == 0);
  CHECK(Tensor<float>::empty({}).numel() == 1);
  const Tensor<float> undefined;
  CHECK(!undefined.defined());
  CHECK(undefined.numel() == 0);
  CHECK(undefined.data() == nullptr);
  CHECK(undefined.span().empty());
  CHECK(undefined.to_vector().empty());
  CHECK(!undefined.clone().defined());
  CHECK(reinterpret_cast<std::uintptr_t>(Tensor<std::uint8_t>::empty({3}).data()) % 64 == 0);
}

TEST_CASE("tensors: arange", "[core]") {
  CHECK(Tensor<Index>::arange(0, 4).to_vector() == std::vector<Index>{0, 1, 2, 3});
  CHECK(Tensor<Index>::arange(5, 0, -2).to_vector() == std::vector<Index>{5, 3, 1});
  CHECK(Tensor<float>::arange(0, 1, 0.25f).to_vector() == std::vector<float>{0, 0.25f, 0.5f, 0.75f});
  CHECK(Tensor<Index>::arange(3, 3).numel() == 0);
  CHECK(Tensor<Index>::arange(3, 0).numel() == 0);
  CHECK_THROWS_WITH(Tensor<Index>::arange(0, 4, 0), "[arange] got step 0");
  CHECK_THROWS_AS(Tensor<double>::arange(0, 1e300), ValueError);
  CHECK(Tensor<double>::arange(0, std::nan("")).numel() == 0);
}

TEST_CASE("tensors: wrong shapes, values and access", "[core]") {
  CHECK_THROWS_AS(Tensor<float>::zeros({2, -1}), ShapeError);
  CHECK_THROWS_AS(Tensor<float>::empty({Index{1} << 40, Index{1} << 40}), ShapeError);
  CHECK_THROWS_WITH(Tensor<float>::empty({Index{1} << 43}), Contains("larger than 2^44 bytes"));
  CHECK_THROWS_WITH(Tensor<float>::from({1, 2, 3}, {2, 2}),
                    "[tensor] got 3 values, expected as many as shape [2, 2] holds");
  CHECK_THROWS_AS(Tensor<float>::zeros({2}, Device::cuda), DeviceError);
  auto x = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(x.at({1, 2}) == 6);
  CHECK(x.at({-2, -1}) == 3);
  x.at({0, 0}) = 9;
  CHECK(x.data()[0] == 9);
  CHECK_THROWS_WITH(x.at({0, 3}), "[at] got index 3 for dim 1 of shape [2, 3]");
  CHECK_THROWS_AS(x.at({-3, 0}), ShapeError);
  CHECK_THROWS_WITH(x.at({0}), "[at] got 1 indices, expected 2");
  CHECK_THROWS_WITH(x.item(), "[item] got shape [2, 3], expected one element");
  CHECK_THROWS_AS(x.size(2), ShapeError);
  CHECK_THROWS_AS(x.grad(), GraphError);
  CHECK_THROWS_AS(Tensor<float>{}.item(), ShapeError);
  CHECK_THROWS_AS(Tensor<float>{}.at({0}), ShapeError);
}

TEST_CASE("tensors: handles share, clones do not", "[core]") {
  auto x = Tensor<float>::from({1, 2, 3});
  auto y = x;
  CHECK(x.shares_storage(y));
  CHECK(!x.sole_owner());
  y.data()[0] = 7;
  CHECK(x.data()[0] == 7);
  auto z = x.clone();
  CHECK(!x.shares_storage(z));
  z.data()[0] = 8;
  CHECK(x.data()[0] == 7);
  y = {};
  CHECK(x.sole_owner());
  const auto version = x.version();
  x.fill(5);
  CHECK(x.to_vector() == std::vector<float>{5, 5, 5});
  CHECK(x.version() != version);
  x.copy_from(Tensor<float>::from({1, 2, 3}));
  CHECK(x.to_vector() == std::vector<float>{1, 2, 3});
  CHECK_THROWS_WITH(x.copy_from(Tensor<float>::zeros({2})), "[copy_from] got shape [2], expected [3]");
}

TEST_CASE("tensors: windows", "[core]") {
  const auto x = Tensor<Index>::arange(0, 24).window({2, 3, 4}, {12, 4, 1}, 0);
  CHECK(x.contiguous());
  const auto transposed = x.window({4, 2}, {1, 12}, 4);  // x[:, 1, :] transposed
  CHECK(!transposed.contiguous());
  CHECK(transposed.to_vector() == std::vector<Index>{4, 16, 5, 17, 6, 18, 7, 19});
  CHECK(transposed.at({3, 1}) == 19);
  CHECK(transposed.clone().contiguous());
  CHECK(transposed.clone().to_vector() == transposed.to_vector());
  CHECK_THROWS_AS(transposed.span(), ShapeError);
  CHECK_THROWS_AS(transposed.detach().fill(0), ShapeError);
  const auto repeated = x.window({3, 2}, {0, 1}, 1);
  CHECK(!repeated.contiguous());
  CHECK(repeated.to_vector() == std::vector<Index>{1, 2, 1, 2, 1, 2});
  // Dims of size 1 have no say in the layout.
  CHECK(x.window({1, 4}, {99, 1}, 0).contiguous());
  CHECK(x.window({0, 4}, {4, 1}, 0).contiguous());
  auto target = Tensor<Index>::zeros({4, 2});
  target.copy_from(transposed);
  CHECK(target.to_vector() == transposed.to_vector());
}

TEST_CASE("tensors: random creation is a function of the stream alone", "[core]") {
  const auto a = Tensor<float>::uniform({1000}, {5, 6}, -1, 1), b = Tensor<float>::uniform({10, 100}, {5, 6}, -1, 1);
  CHECK(a.to_vector() == b.to_vector());
  CHECK(a.to_vector() != Tensor<float>::uniform({1000}, {5, 7}, -1, 1).to_vector());
  for (const float v : a.span()) REQUIRE((v >= -1 && v < 1));
  const auto n = Tensor<double>::normal({20000}, {5, 6}, 3.0, 2.0);
  double mean = 0, square = 0;
  for (const double v : n.span()) mean += v, square += v * v;
  mean /= 20000, square /= 20000;
  CHECK(std::fabs(mean - 3) < 0.06);
  CHECK(std::fabs(square - mean * mean - 4) < 0.2);
}

}  // namespace qdistill_test
