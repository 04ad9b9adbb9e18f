#include "qdistill/encoding/point_usage.hpp"

#include <catch2/catch.hpp>

using namespace qdistill;

namespace {

void check_usage(const Encoding& e, Index weights, Index points, Index used, Index largest) {
  const PointUsage u = point_usage(e);
  CHECK(u.weights == weights);
  CHECK(u.points == points);
  CHECK(u.used == used);
  CHECK(u.largest == largest);
}

}  // namespace

TEST_CASE("point usage of every kind of encoding", "[encoding]") {
  UniformEncoding uniform;
  uniform.bits = 3, uniform.codes = {0, 7, 7, 2, 7}, uniform.scale = {1}, uniform.offset = {0};
  check_usage({{5}, uniform}, 5, 8, 3, 3);
  TableEncoding table;
  table.points = {-1, 0, 1}, table.codes = {2, 2};
  check_usage({{2}, table}, 2, 3, 1, 2);
  CHECK(point_usage(table).used == 1);
  // Code 1 of 2 bits and code 1 of 3 bits are two levels.
  check_usage({{8}, GroupedEncoding{2, {2, 3, 2, 2}, {1, 1, 1, 5, 3, 1, 0, 0}}}, 8, 4 + 8, 5, 3);
  check_usage({{4}, GroupedEncoding{0, {1}, {1, 1, 0, 1}}}, 4, 2, 2, 3);
  check_usage({{6}, ProductEncoding{2, {1, 1, 0}, {0, 0, 1, 1, 2, 2}}}, 3, 3, 2, 2);
  check_usage({{2}, DenseEncoding{{1, 2}}}, 0, 0, 0, 0);
  check_usage({{0}, GroupedEncoding{2, {}, {}}}, 0, 0, 0, 0);
  CHECK(point_usage(Encoding{{0}, GroupedEncoding{2, {}, {}}}).largest_share() == 0);
  CHECK(point_usage(Encoding{{5}, uniform}).largest_share() == 0.6);
  uniform.codes[0] = 8;
  CHECK_THROWS_AS(point_usage(Encoding{{5}, uniform}), ValueError);
}
