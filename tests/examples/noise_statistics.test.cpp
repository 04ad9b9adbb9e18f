/// The statistics of examples/noise_is_gaussian against values known in closed form.
#include <catch2/catch.hpp>

#include "../../examples/noise_is_gaussian/statistics.hpp"

namespace qdistill_test {

using namespace noise_is_gaussian;

TEST_CASE("noise_is_gaussian: moments of samples that take two values", "[examples]") {
  const Moments even = moments({-1, 1, 1, -1});
  CHECK(even.mean == Approx(0).margin(1e-15));
  CHECK(even.variance == Approx(1));
  CHECK(even.skewness == Approx(0).margin(1e-15));
  CHECK(even.excess_kurtosis == Approx(-2));
  // 1 with probability p = 1/5: skewness (1 - 2 p) / sqrt(p q), excess kurtosis (1 - 6 p q) / (p q)
  const Moments rare = moments({0, 0, 1, 0, 0});
  CHECK(rare.mean == Approx(0.2));
  CHECK(rare.variance == Approx(0.16));
  CHECK(rare.skewness == Approx(1.5));
  CHECK(rare.excess_kurtosis == Approx(0.25));
  CHECK(moments({3, 3}).skewness == 0);
}

TEST_CASE("noise_is_gaussian: distance from the normal distribution", "[examples]") {
  CHECK(normal_cdf(1.959963984540054) == Approx(0.975));
  CHECK(distance_from_normal({0}) == Approx(0.5));
  CHECK(distance_from_normal({10, 10}) == Approx(1));                          // below its only jump
  CHECK(distance_from_normal({-10}) == Approx(1));                             // above it
  CHECK(distance_from_normal({1, -1}) == Approx(0.3413447461));                // Phi(1) - 1/2, not sorted
  CHECK(distance_from_normal({0, 0, 0, 3}) == Approx(0.5));                    // equal values are one jump
  CHECK(distance_from_normal({-0.6744897502, 0.6744897502}) == Approx(0.25));  // the quartiles
  CHECK(sampling_distance(2, 2 * std::exp(-1.0)) == Approx(0.5));
}

}  // namespace qdistill_test
