#include "qdistill/data/digits.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "threads.hpp"

using namespace qdistill;
using qdistill_test::Threads;

namespace {

double mean_of(std::span<const std::uint8_t> image) {
  double sum = 0;
  for (const std::uint8_t v : image) sum += v;
  return sum / static_cast<double>(image.size());
}

/// How far the mean images of the ten classes lie apart, relative to the spread of the images.
double distance_between(const data::ImageSet& a, const data::ImageSet& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(double(a.pixels[i]) - double(b.pixels[i]));
  return sum / static_cast<double>(a.pixels.size());
}

}  // namespace

TEST_CASE("digits have the same bytes with any number of threads and any count", "[data][digits]") {
  data::ImageSet one, two, four;
  {
    const Threads t(1);
    one = data::make_digits({.count = 300, .seed = 9});
  }
  {
    const Threads t(2);
    two = data::make_digits({.count = 300, .seed = 9});
  }
  {
    const Threads t(4);
    four = data::make_digits({.count = 500, .seed = 9});
  }
  CHECK(one.pixels == two.pixels);
  CHECK(one.labels == two.labels);
  CHECK(std::equal(one.pixels.begin(), one.pixels.end(), four.pixels.begin()));
  CHECK(std::equal(one.labels.begin(), one.labels.end(), four.labels.begin()));
}

TEST_CASE("seed, part and difficulty each give other digits", "[data][digits]") {
  const data::ImageSet a = data::make_digits({.count = 50, .seed = 1});
  CHECK(distance_between(a, data::make_digits({.count = 50, .seed = 2})) > 20);
  CHECK(distance_between(a, data::make_digits({.count = 50, .seed = 1, .split = data::Split::test})) > 20);
  CHECK(distance_between(a, data::make_digits({.count = 50, .seed = 1, .difficulty = 0.1})) > 5);
}

TEST_CASE("digits are balanced, and no two images are equal", "[data][digits]") {
  const data::ImageSet set = data::make_digits({.count = 1000});
  CHECK(set.shape() == data::ImageShape{3, 32, 32});
  CHECK(set.classes() == 10);
  std::set<std::vector<std::uint8_t>> images;
  std::vector<int> at_place(10);  // how often a label stands at place 0 of its ten
  for (Index ten = 0; ten < 100; ++ten) {
    std::set<Index> labels;
    for (Index k = 0; k < 10; ++k) labels.insert(set.label(10 * ten + k));
    REQUIRE(labels.size() == 10);
    ++at_place[static_cast<std::size_t>(set.label(10 * ten))];
  }
  for (const int n : at_place) CHECK(n < 30);
  for (Index i = 0; i < set.size(); ++i) images.insert({set.image(i).begin(), set.image(i).end()});
  CHECK(images.size() == 1000);
}

TEST_CASE("digits use the range of brightness without being washed out", "[data][digits]") {
  const data::ImageSet set = data::make_digits({.count = 500});
  double sum = 0, deviation = 0, clipped = 0;
  for (Index i = 0; i < set.size(); ++i) {
    const double mean = mean_of(set.image(i));
    double squares = 0;
    for (const std::uint8_t v : set.image(i)) {
      squares += (v - mean) * (v - mean);
      clipped += v == 0 || v == 255;
    }
    sum += mean;
    deviation += std::sqrt(squares / 3072);
  }
  CHECK((sum / 500 > 90 && sum / 500 < 160));
  CHECK((deviation / 500 > 25 && deviation / 500 < 90));
  CHECK(clipped / (500 * 3072.0) < 0.2);
}

TEST_CASE("the glyph of a label shows in its images", "[data][digits]") {
  // Clean digits, compared by where they differ from their background: a class's mean mask resembles another part's
  // mean mask of the same class more than any other class's.
  const auto masks = [](std::uint64_t seed) {
    const data::ImageSet set = data::make_digits({.count = 1500, .seed = seed, .difficulty = 0});
    std::vector<std::vector<double>> mean(10, std::vector<double>(1024));
    for (Index i = 0; i < set.size(); ++i) {
      const auto image = set.image(i);
      for (std::size_t p = 0; p < 1024; ++p) {
        double d = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          const auto plane = image.subspan(c * 1024, 1024);
          const double corners = (plane[0] + plane[31] + plane[31 * 32] + plane[1023]) / 4.0;
          d += std::abs(plane[p] - corners);
        }
        mean[static_cast<std::size_t>(set.label(i))][p] += d;
      }
    }
    return mean;
  };
  const auto a = masks(1), b = masks(2);
  const auto correlation = [](const std::vector<double>& x, const std::vector<double>& y) {
    double mx = 0, my = 0, xy = 0, xx = 0, yy = 0;
    for (std::size_t i = 0; i < 1024; ++i) mx += x[i] / 1024, my += y[i] / 1024;
    for (std::size_t i = 0; i < 1024; ++i)
      xy += (x[i] - mx) * (y[i] - my), xx += (x[i] - mx) * (x[i] - mx), yy += (y[i] - my) * (y[i] - my);
    return xy / std::sqrt(xx * yy);
  };
  for (std::size_t i = 0; i < 10; ++i)
    for (std::size_t j = 0; j < 10; ++j)
      if (j != i) CHECK(correlation(a[i], b[i]) > correlation(a[i], b[j]));
}

TEST_CASE("digits check their options", "[data][digits]") {
  CHECK(data::make_digits({.count = 0}).size() == 0);
  CHECK_THROWS_AS(data::make_digits({.count = -1}), ValueError);
  CHECK_THROWS_AS(data::make_digits({.count = Index{1} << 40}), ValueError);
  CHECK_THROWS_AS(data::make_digits({.difficulty = 1.5}), ValueError);
  CHECK_THROWS_AS(data::make_digits({.difficulty = -0.1}), ValueError);
  CHECK_THROWS_AS(data::make_digits({.difficulty = NAN}), ValueError);
}
