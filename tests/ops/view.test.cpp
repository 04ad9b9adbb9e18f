/// Views share storage; integers have them too; the rules of slicing.
#include "qdistill/ops/view.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "qdistill/ops/index.hpp"
#include "qdistill/ops/join.hpp"
#include "qdistill/ops/pad.hpp"

namespace {

using namespace qdistill;

TEST_CASE("views share storage where strides can express them", "[ops][view]") {
  const Tensor<float> x = Tensor<float>::arange(0, 24);
  const Tensor<float> y = reshape(x, {2, 3, 4});
  CHECK(y.shares_storage(x));
  CHECK(transpose(y, 0, 2).shares_storage(x));
  CHECK(slice(y, 1, 1, 3).shares_storage(x));
  CHECK(expand(select(y, 2, 0), {5, 2, 3}).shares_storage(x));
  CHECK(contiguous(y).shares_storage(x));
  const Tensor<float> turned = transpose(y, 0, 2);
  CHECK_FALSE(turned.contiguous());
  CHECK_FALSE(reshape(turned, {24}).shares_storage(x));
  CHECK_FALSE(contiguous(turned).shares_storage(x));
  CHECK(transpose(turned, 0, 2).contiguous());
}

TEST_CASE("copies keep the sign of zero", "[ops][view]") {
  const Tensor<float> turned = contiguous(transpose(Tensor<float>::full({3, 2}, -0.0f), 0, 1));
  for (const float v : turned.span()) CHECK(std::signbit(v));
}

TEST_CASE("slice clips positions as Python does", "[ops][view]") {
  const Tensor<Index> x = Tensor<Index>::arange(0, 6);
  const auto cut = [&](Index start, Index stop, Index step = 1) { return slice(x, 0, start, stop, step).to_vector(); };
  constexpr Index far = std::numeric_limits<Index>::max();
  using List = std::vector<Index>;
  CHECK(cut(1, 4) == List{1, 2, 3});
  CHECK(cut(-3, -1) == List{3, 4});
  CHECK(cut(-9, 2) == List{0, 1});
  CHECK(cut(4, 99) == List{4, 5});
  CHECK(cut(4, 2).empty());
  CHECK(cut(9, 12).empty());
  CHECK(cut(0, far, 2) == List{0, 2, 4});
  CHECK(cut(1, far, 4) == List{1, 5});
  CHECK(cut(-far - 1, far, far) == List{0});
  CHECK(slice(slice(x, 0, 1, 6, 2), 0, 1, 3).to_vector() == List{3, 5});
}

TEST_CASE("integers have views, joins and indexing without a graph", "[ops][view]") {
  const Tensor<Index> x = reshape(Tensor<Index>::arange(0, 6), {2, 3});
  using List = std::vector<Index>;
  CHECK(contiguous(transpose(x, 0, 1)).to_vector() == List{0, 3, 1, 4, 2, 5});
  CHECK(cat({x, x}, 1).to_vector() == List{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5});
  CHECK(stack({x, x}, 0).shape() == Shape{2, 2, 3});
  CHECK(pad(x, {0, 1}, Index{9}).to_vector() == List{0, 1, 2, 9, 3, 4, 5, 9});
  CHECK(gather(x, 1, Tensor<Index>::from({2, 0}, {2, 1})).to_vector() == List{2, 3});
  CHECK(index_select(x, 1, Tensor<Index>::from({2, 2})).to_vector() == List{2, 2, 5, 5});
  CHECK(index_add(Tensor<Index>::zeros({2}), 0, Tensor<Index>::from({1, 1}), Tensor<Index>::from({3, 4})).to_vector() ==
        List{0, 7});
  const Tensor<std::uint8_t> mask = Tensor<std::uint8_t>::from({1, 0, 1});
  CHECK(expand(mask, {2, 3}).to_vector() == std::vector<std::uint8_t>{1, 0, 1, 1, 0, 1});
}

TEST_CASE("a change through a view is seen by a graph that saved the tensor", "[ops][view]") {
  const Tensor<float> x = requires_grad(Tensor<float>::ones({2, 2}));
  const Tensor<Index> index = Tensor<Index>::from({0, 1});
  Tensor<Index> changed = index;
  const Tensor<float> y = index_select(x, 0, index);
  Tensor<Index> view = slice(changed, 0, 0, 1);
  view.fill(1);
  CHECK_THROWS_AS(y.backward(Tensor<float>::ones({2, 2})), GraphError);
}

TEST_CASE("slices of one tensor fill its gradient region by region", "[ops][view]") {
  const Tensor<double> x = requires_grad(Tensor<double>::zeros({4, 3}));
  // Rows 0 and 2 take part, row 2 twice; rows 1 and 3 must come out as zeros.
  const Tensor<double> y = cat({slice(x, 0, 0, 1), narrow(x, 0, 2, 1), slice(x, 0, 2, 3)}, 0);
  y.backward(reshape(Tensor<double>::arange(1, 10), {3, 3}));
  CHECK(x.grad().to_vector() == std::vector<double>{1, 2, 3, 0, 0, 0, 11, 13, 15, 0, 0, 0});
}

}  // namespace
