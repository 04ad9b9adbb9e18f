#include "qdistill/core/random.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "qdistill/core/parallel.hpp"

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("Philox 4x32-10: the known answers of Random123", "[core]") {
  CHECK(philox(0, 0, 0) == PhiloxBlock{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  const std::uint64_t ones = ~std::uint64_t{0};
  CHECK(philox(ones, ones, ones) == PhiloxBlock{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u) ==
        PhiloxBlock{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("random streams: moments and range", "[core]") {
  const RandomStream stream{42, 3};
  const int n = 100000;
  double mean = 0, square = 0, cross = 0, normal_mean = 0, normal_square = 0, normal_fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double u = static_cast<double>(stream.uniform(static_cast<std::uint64_t>(i)));
    REQUIRE((u >= 0 && u < 1));
    mean += u, square += u * u;
    cross += u * static_cast<double>(stream.uniform(static_cast<std::uint64_t>(i) + 1));
    const double z = stream.normal(static_cast<std::uint64_t>(i));
    normal_mean += z, normal_square += z * z, normal_fourth += z * z * z * z;
  }
  // Bounds of about four standard errors.
  CHECK(std::fabs(mean / n - 0.5) < 0.004);
  CHECK(std::fabs(square / n - 1.0 / 3) < 0.004);
  CHECK(std::fabs(cross / n - 0.25) < 0.004);
  CHECK(std::fabs(normal_mean / n) < 0.013);
  CHECK(std::fabs(normal_square / n - 1) < 0.018);
  CHECK(std::fabs(normal_fourth / n - 3) < 0.13);
}

TEST_CASE("random streams: integers below a bound", "[core]") {
  const RandomStream stream{1, 2};
  int counts[7] = {};
  for (std::uint64_t i = 0; i < 70000; ++i) {
    const std::uint32_t v = stream.below(i, 7);
    REQUIRE(v < 7);
    ++counts[v];
  }
  for (const int c : counts) CHECK(std::abs(c - 10000) < 400);
  CHECK(stream.below(5, 1) == 0);
}

TEST_CASE("random streams: do not depend on threads or order", "[core]") {
  const RandomStream stream{9, 9};
  std::vector<float> forward(5000), parallel(5000);
  for (std::size_t i = forward.size(); i-- > 0;) forward[i] = stream.uniform(i);
  const int before = num_threads();
  set_num_threads(4);
  parallel_for(5000, 100, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      parallel[static_cast<std::size_t>(i)] = stream.uniform(static_cast<std::uint64_t>(i));
  });
  set_num_threads(before);
  CHECK(forward == parallel);
}

TEST_CASE("generators: streams in turn, restored by two numbers", "[core]") {
  Generator g(7);
  const RandomStream a = g.next(), b = g.next();
  CHECK(a.stream != b.stream);
  CHECK(a.bits(0) != b.bits(0));
  Generator h;
  h.restore(g.seed(), 1);
  CHECK(h.next().bits(5) == b.bits(5));
  CHECK(h.counter() == g.counter());
  manual_seed(3);
  const auto first = default_generator().next().bits(0);
  default_generator().next();
  manual_seed(3);
  CHECK(default_generator().next().bits(0) == first);
  manual_seed(4);
  CHECK(default_generator().next().bits(0) != first);
}

TEST_CASE("random permutations", "[core]") {
  std::vector<Index> p(1000), q(1000);
  random_permutation({1, 2}, 1000, p.data());
  random_permutation({1, 3}, 1000, q.data());
  CHECK(p != q);
  std::sort(p.begin(), p.end());
  for (Index i = 0; i < 1000; ++i) REQUIRE(p[static_cast<std::size_t>(i)] == i);
  random_permutation({1, 2}, 0, nullptr);
  Index one = 5;
  random_permutation({1, 2}, 1, &one);
  CHECK(one == 0);
  // Each of the six orders of three things about as often.
  int counts[6] = {};
  for (std::uint64_t s = 0; s < 6000; ++s) {
    Index r[3];
    random_permutation({11, s}, 3, r);
    ++counts[r[0] * 2 + (r[1] > r[2])];
  }
  for (const int c : counts) CHECK(std::abs(c - 1000) < 130);
}

}  // namespace qdistill_test
