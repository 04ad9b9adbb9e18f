#include "qdistill/core/shape.hpp"

#include <catch2/catch.hpp>

namespace qdistill_test {

using namespace qdistill;
using Catch::Matchers::Contains;

TEST_CASE("shapes: list of at most 8 dims", "[core]") {
  Shape s{2, 3, 4};
  CHECK(s.rank() == 3);
  CHECK(s.numel() == 24);
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{2, 0, 3}.numel() == 0);
  s.insert(1, 7);
  CHECK(s == Shape{2, 7, 3, 4});
  s.erase(0);
  CHECK(s == Shape{7, 3, 4});
  CHECK(!(s == Shape{7, 3}));
  CHECK(!(s == Shape{7, 3, 5}));
  CHECK(text(s) == "[7, 3, 4]");
  CHECK(text(Shape{}) == "[]");
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
  Shape full{1, 1, 1, 1, 1, 1, 1, 1};
  CHECK_THROWS_AS(full.push_back(1), ShapeError);
}

TEST_CASE("shapes: element counts that overflow are refused", "[core]") {
  CHECK(checked_numel("op", {4, 5}) == 20);
  CHECK(checked_numel("op", {}) == 1);
  const Index big = Index{1} << 40;
  CHECK(checked_numel("op", {big, 0, big}) == 0);
  CHECK(checked_numel("op", {Index{1} << 31, Index{1} << 31}) == Index{1} << 62);
  CHECK_THROWS_WITH(checked_numel("op", {big, big}), Contains("[op] got shape [1099511627776, 1099511627776]"));
  CHECK_THROWS_AS(checked_numel("op", {INT64_MAX, 2}), ShapeError);
  CHECK_THROWS_WITH(checked_numel("op", {2, -1}), "[op] got shape [2, -1], expected dims of at least 0");
  CHECK_THROWS_AS(checked_numel("op", {0, INT64_MIN}), ShapeError);
}

TEST_CASE("shapes: negative dims count from the end", "[core]") {
  CHECK(wrap_dim("op", 1, 3) == 1);
  CHECK(wrap_dim("op", -1, 3) == 2);
  CHECK(wrap_dim("op", -3, 3) == 0);
  CHECK_THROWS_WITH(wrap_dim("op", 3, 3), "[op] got dim 3, expected it in [-3, 3)");
  CHECK_THROWS_AS(wrap_dim("op", -4, 3), ShapeError);
  CHECK_THROWS_AS(wrap_dim("op", 0, 0), ShapeError);
  CHECK_THROWS_AS(wrap_dim("op", INT64_MIN, 3), ShapeError);
}

TEST_CASE("shapes: strides and broadcasting", "[core]") {
  CHECK(row_major({2, 3, 4}) == Strides{12, 4, 1});
  CHECK(row_major({}) == Strides{});
  CHECK(broadcast("op", {2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(broadcast("op", {}, {3}) == Shape{3});
  CHECK(broadcast("op", {1}, {0}) == Shape{0});
  CHECK_THROWS_WITH(broadcast("op", {2, 3}, {2}), "[op] got shapes [2, 3] and [2], which do not broadcast");
  CHECK_THROWS_AS(broadcast("op", {0}, {2}), ShapeError);
  CHECK(broadcast_strides({3, 1}, {1, 1}, {2, 3, 4}) == Strides{0, 1, 0});
}

}  // namespace qdistill_test
