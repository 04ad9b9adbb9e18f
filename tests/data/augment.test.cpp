#include "qdistill/data/augment.hpp"

#include <catch2/catch.hpp>
#include <map>

using namespace qdistill;

namespace {

std::vector<std::uint8_t> ramp(const data::ImageShape& shape) {
  std::vector<std::uint8_t> p(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = static_cast<std::uint8_t>(1 + i % 255);  // never 0
  return p;
}

/// The definition, pixel by pixel: pad with raw 0, crop, mirror, scale, normalise.
std::vector<float> reference(const std::vector<std::uint8_t>& p, const data::ImageShape& s, const data::Crop& crop,
                             const std::vector<float>& mean, const std::vector<float>& std) {
  std::vector<float> out;
  for (Index c = 0; c < s.channels; ++c)
    for (Index y = 0; y < s.height; ++y)
      for (Index x = 0; x < s.width; ++x) {
        const Index from_y = y + crop.dy, from_x = (crop.flip ? s.width - 1 - x : x) + crop.dx;
        const bool inside = from_y >= 0 && from_y < s.height && from_x >= 0 && from_x < s.width;
        const float raw =
            inside ? static_cast<float>(p[static_cast<std::size_t>((c * s.height + from_y) * s.width + from_x)]) : 0.0f;
        out.push_back((raw / 255.0f - mean[static_cast<std::size_t>(c)]) / std[static_cast<std::size_t>(c)]);
      }
  return out;
}

std::vector<float> apply(const data::ImageTransform& t, const data::ImagePixels& p, const data::Crop& crop) {
  std::vector<float> out(static_cast<std::size_t>(t.shape().numel()), -99.0f);
  t(p, crop, out.data());
  return out;
}

}  // namespace

TEST_CASE("augmentation equals its definition for every offset and flip", "[data][augment]") {
  const data::ImageShape shape{3, 5, 7};
  const std::vector<std::uint8_t> bytes = ramp(shape);
  const data::Normalize normalize{{0.4f, 0.5f, 0.6f}, {0.2f, 0.25f, 0.3f}};
  const data::ImageTransform transform(shape, normalize, {4, true});
  std::vector<float> floats;
  for (const std::uint8_t b : bytes) floats.push_back(static_cast<float>(b) / 255.0f);
  for (const bool flip : {false, true})
    for (Index dy = -8; dy <= 8; ++dy)
      for (Index dx = -9; dx <= 9; ++dx) {
        const data::Crop crop{dy, dx, flip};
        const std::vector<float> expected = reference(bytes, shape, crop, normalize.mean, normalize.std);
        REQUIRE(apply(transform, {bytes.data(), nullptr}, crop) == expected);
        REQUIRE(apply(transform, {nullptr, floats.data()}, crop) == expected);
      }
}

TEST_CASE("no augmentation is the identity, and two flips are", "[data][augment]") {
  const data::ImageShape shape{1, 4, 6};
  std::vector<float> image;
  for (int i = 0; i < 24; ++i) image.push_back(static_cast<float>(i));
  const data::ImageTransform transform(shape, {{0.0f}, {1.0f}});
  CHECK(apply(transform, {nullptr, image.data()}, {}) == image);
  const std::vector<float> once = apply(transform, {nullptr, image.data()}, {0, 0, true});
  CHECK(once != image);
  CHECK(once[0] == image[5]);
  CHECK(apply(transform, {nullptr, once.data()}, {0, 0, true}) == image);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const data::Crop crop = data::draw_crop({}, seed, 3, static_cast<Index>(seed));
    CHECK((crop.dy == 0 && crop.dx == 0 && !crop.flip));
  }
}

TEST_CASE("the border is raw zero before normalisation", "[data][augment]") {
  const data::ImageShape shape{1, 3, 3};
  const std::vector<std::uint8_t> white(9, 255);
  const std::vector<float> out =
      apply(data::ImageTransform(shape, data::polino_normalize(), {1, false}), {white.data(), nullptr}, {-1, 1, false});
  CHECK(out == std::vector<float>{-1, -1, -1, 1, 1, -1, 1, 1, -1});
}

TEST_CASE("draws cover their range evenly and depend on seed, epoch and sample", "[data][augment]") {
  std::map<Index, int> dy, dx;
  int flips = 0, same_epoch = 0, same_seed = 0;
  for (Index i = 0; i < 9000; ++i) {
    const data::Crop c = data::draw_crop(data::cifar_augment, 7, 2, i);
    const data::Crop e = data::draw_crop(data::cifar_augment, 7, 3, i),
                     s = data::draw_crop(data::cifar_augment, 8, 2, i);
    ++dy[c.dy], ++dx[c.dx], flips += c.flip;
    same_epoch += c.dy == e.dy && c.dx == e.dx && c.flip == e.flip;
    same_seed += c.dy == s.dy && c.dx == s.dx && c.flip == s.flip;
  }
  REQUIRE(dy.size() == 9);
  REQUIRE(dx.size() == 9);
  CHECK(dy.begin()->first == -4);
  CHECK(dx.rbegin()->first == 4);
  for (const auto& d : {dy, dx})
    for (const auto& [offset, n] : d) CHECK((n > 850 && n < 1150));  // 1000 expected, standard deviation 30
  CHECK((flips > 4300 && flips < 4700));
  CHECK((same_epoch > 10 && same_epoch < 120));  // 9000 / 162 by chance
  CHECK((same_seed > 10 && same_seed < 120));
}

TEST_CASE("the transform checks its settings", "[data][augment]") {
  const data::ImageShape shape{3, 4, 4};
  CHECK_THROWS_AS(data::ImageTransform(shape, {{0.5f, 0.5f}, {0.5f}}), ShapeError);
  CHECK_THROWS_AS(data::ImageTransform(shape, {{0.5f}, {}}), ShapeError);
  CHECK_THROWS_AS(data::ImageTransform(shape, {{0.5f}, {0.0f}}), ValueError);
  CHECK_THROWS_AS(data::ImageTransform(shape, {{0.5f}, {-1.0f}}), ValueError);
  CHECK_THROWS_AS(data::ImageTransform(shape, {{NAN}, {1.0f}}), ValueError);
  CHECK_THROWS_AS(data::ImageTransform(shape, {}, {-1, false}), ValueError);
  CHECK_THROWS_AS(data::ImageTransform(shape, {}, {5000, false}), ValueError);
  CHECK_THROWS_AS(data::ImageTransform({3, 0, 4}, {}), ShapeError);
}
