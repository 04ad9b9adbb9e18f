#include "qdistill/data/image_resize.hpp"

#include <catch2/catch.hpp>

#include "image_samples.hpp"

using namespace qdistill;
using Bytes = std::vector<std::uint8_t>;

namespace {

Bytes apply(const data::RgbImage& image, const data::ImageResize& r) {
  Bytes out(static_cast<std::size_t>(3 * r.window.height * r.window.width), 77);
  data::resize_image(image, r, out.data());
  return out;
}

Bytes stretched(const data::RgbImage& image, Index height, Index width) {
  return apply(image, {{0, 0, image.height, image.width}, height, width, {0, 0, height, width}});
}

data::RgbImage part(const data::RgbImage& image, const data::ImageBox& box) {
  data::RgbImage out{box.height, box.width, {}};
  for (Index y = 0; y < box.height; ++y) {
    const auto* row = image.pixels.data() + 3 * ((box.top + y) * image.width + box.left);
    out.pixels.insert(out.pixels.end(), row, row + 3 * box.width);
  }
  return out;
}

struct PillowCase {
  Index height, width, out_height, out_width;
  Bytes green;  // the second plane
};

/// Image.fromarray(a).resize((out_width, out_height), Image.BILINEAR) of Pillow 10.4, a[y, x, c] being pattern(y, x,
/// c).
const PillowCase pillow[] = {
    {7, 5, 3, 4, {105, 111, 115, 117, 145, 100, 98, 89, 152, 176, 140, 158}},
    {4, 6, 9, 11, {59,  91,  146, 97,  12,  56,  111, 166, 186, 101, 52,  65,  98,  154, 106, 22,  68,  122, 155, 164,
                   104, 69,  82,  116, 175, 131, 50,  98,  151, 124, 107, 111, 114, 98,  130, 184, 147, 77,  127, 176,
                   99,  57,  120, 156, 115, 112, 108, 104, 100, 142, 179, 105, 66,  132, 170, 131, 94,  32,  61,  122,
                   157, 181, 110, 74,  143, 183, 147, 108, 41,  66,  123, 122, 115, 87,  83,  155, 197, 164, 126, 62,
                   78,  121, 81,  39,  59,  92,  167, 211, 170, 133, 70,  82,  120, 65,  10,  48,  95,  171, 216}},
    {13, 17, 5, 17, {98,  137, 67,  149, 97,  135, 183, 136, 169, 88,  121, 169, 122, 156, 75,  108, 146,
                     183, 80,  161, 59,  115, 188, 99,  157, 151, 111, 200, 72,  163, 135, 95,  89,  69,
                     105, 155, 183, 109, 185, 75,  161, 87,  105, 207, 139, 118, 168, 94,  122, 44,  146,
                     123, 123, 110, 208, 91,  135, 135, 101, 139, 160, 147, 164, 102, 130, 32,  148, 176,
                     208, 74,  175, 102, 126, 150, 72,  174, 36,  124, 149, 67,  172, 34,  118, 147, 65}},
    {30, 8, 2, 3, {125, 132, 129, 126, 134, 126}}};

}  // namespace

TEST_CASE("resizing gives Pillow's pixels", "[data][images]") {
  for (const PillowCase& c : pillow) {
    const Bytes out = stretched(test::pattern_image(c.height, c.width), c.out_height, c.out_width);
    const auto plane = c.out_height * c.out_width;
    CHECK(Bytes(out.begin() + plane, out.begin() + 2 * plane) == c.green);
  }
}

TEST_CASE("resizing: its own size is the identity, a flat image stays flat", "[data][images]") {
  const data::RgbImage image = test::pattern_image(5, 9);
  const Bytes same = stretched(image, 5, 9);
  for (Index y = 0; y < 5; ++y)
    for (Index x = 0; x < 9; ++x)
      for (Index c = 0; c < 3; ++c)
        REQUIRE(same[static_cast<std::size_t>((c * 5 + y) * 9 + x)] == test::pattern(y, x, c));
  for (const int value : {0, 1, 128, 254, 255}) {
    const data::RgbImage flat{61, 47, Bytes(61 * 47 * 3, static_cast<std::uint8_t>(value))};
    for (const Index size : {1, 7, 46, 100})
      REQUIRE(stretched(flat, size, 2 * size) == Bytes(static_cast<std::size_t>(6 * size * size), flat.pixels[0]));
  }
}

TEST_CASE("resizing: a box is as the image cut to it, a window as the result cut to it", "[data][images]") {
  const data::RgbImage image = test::pattern_image(40, 30);
  const data::ImageBox box{3, 8, 29, 17};
  for (const auto& [height, width] : {std::pair<Index, Index>(11, 6), {50, 40}, {29, 17}}) {
    const Bytes whole = stretched(part(image, box), height, width);
    for (const data::ImageBox& window :
         {data::ImageBox{0, 0, height, width}, data::ImageBox{2, 1, height - 5, width - 3},
          data::ImageBox{height - 1, width - 1, 1, 1}}) {
      const Bytes out = apply(image, {box, height, width, window});
      std::size_t at = 0;
      for (Index c = 0; c < 3; ++c)
        for (Index y = 0; y < window.height; ++y)
          for (Index x = 0; x < window.width; ++x, ++at)
            REQUIRE(out[at] ==
                    whole[static_cast<std::size_t>((c * height + window.top + y) * width + window.left + x)]);
    }
  }
}

TEST_CASE("resizing: short side and centre crop as torchvision's", "[data][images]") {
  // torchvision.transforms.Resize(256) gives 256 x int(256 * long / short); CenterCrop starts at round(margin / 2),
  // half to even: margins of 85, 87 and 0 begin at 42, 44 and 0.
  const auto plan = [](Index height, Index width, Index side, Index out) {
    return data::resize_for(data::ResizeCenterCrop{side}, height, width, out, out);
  };
  data::ImageResize r = plan(375, 500, 256, 224);
  CHECK(r.box == data::ImageBox{0, 0, 375, 500});
  CHECK((r.height == 256 && r.width == 341));
  CHECK(r.window == data::ImageBox{16, 58, 224, 224});
  r = plan(341, 256, 256, 256);
  CHECK((r.height == 341 && r.width == 256));
  CHECK(r.window == data::ImageBox{42, 0, 256, 256});
  CHECK(plan(343, 256, 256, 256).window == data::ImageBox{44, 0, 256, 256});
  r = plan(1, 1000, 8, 8);
  CHECK((r.height == 8 && r.width == 8000));
  const data::ImageResize exact = data::resize_for(data::ResizeExact{}, 9, 100, 20, 30);
  CHECK(exact.box == data::ImageBox{0, 0, 9, 100});
  CHECK(exact.window == data::ImageBox{0, 0, 20, 30});
}

TEST_CASE("resizing: random boxes follow torchvision's rule", "[data][images]") {
  const data::RandomResizedCrop rule;
  constexpr Index height = 300, width = 400, n = 4000;
  double area = 0, log_ratio = 0, top = 0, left = 0;
  Index small = 0;
  for (Index i = 0; i < n; ++i) {
    const data::ImageBox b = data::random_resized_box(rule, height, width, {3, static_cast<std::uint64_t>(i)});
    REQUIRE((b.top >= 0 && b.left >= 0 && b.height > 0 && b.width > 0));
    REQUIRE((b.top + b.height <= height && b.left + b.width <= width));
    const double ratio = static_cast<double>(b.width) / static_cast<double>(b.height);
    REQUIRE((ratio > 0.74 && ratio < 1.35));
    const double share = static_cast<double>(b.height * b.width) / (height * width);
    REQUIRE((share > 0.079 && share <= 1));
    area += share / n, log_ratio += std::log(ratio) / n;
    small += share < 0.3;
    if (b.height < height) top += static_cast<double>(b.top) / static_cast<double>(height - b.height) / n;
    if (b.width < width) left += static_cast<double>(b.left) / static_cast<double>(width - b.width) / n;
    CHECK(b == data::random_resized_box(rule, height, width, {3, static_cast<std::uint64_t>(i)}));
  }
  // Means over 200,000 draws of the same rule written in Python with its own random numbers.
  CHECK(area == Approx(0.4337).margin(0.012));
  CHECK(log_ratio == Approx(0.0305).margin(0.01));
  CHECK(static_cast<double>(small) / n == Approx(0.3219).margin(0.025));
  CHECK(top == Approx(0.4951).margin(0.02));
  CHECK(left == Approx(0.4998).margin(0.02));

  // Where nothing fits, the largest centred box within the ratios.
  CHECK(data::random_resized_box(rule, 10, 1000, {}) == data::ImageBox{0, 493, 10, 13});
  CHECK(data::random_resized_box(rule, 1000, 9, {}) == data::ImageBox{494, 0, 12, 9});
  CHECK(data::random_resized_box({0.5, 0.5, 0.001, 0.001}, 50, 20, {}) == data::ImageBox{0, 9, 50, 1});
  CHECK(data::random_resized_box(rule, 1, 1, {}) == data::ImageBox{0, 0, 1, 1});
}

TEST_CASE("resizing checks its settings", "[data][images]") {
  CHECK_NOTHROW(data::check_fit(data::ResizeCenterCrop{32}, 32, 32));
  CHECK_THROWS_AS(data::check_fit(data::ResizeCenterCrop{32}, 33, 32), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::ResizeExact{}, 0, 32), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::ResizeExact{}, 32, 1 << 20), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::RandomResizedCrop{0, 1}, 8, 8), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::RandomResizedCrop{0.5, 0.4}, 8, 8), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::RandomResizedCrop{0.5, 2}, 8, 8), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::RandomResizedCrop{0.5, NAN}, 8, 8), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::RandomResizedCrop{0.5, 1, 0, 1}, 8, 8), ValueError);
  CHECK_THROWS_AS(data::check_fit(data::RandomResizedCrop{0.5, 1, 1, 1e300}, 8, 8), ValueError);
}
