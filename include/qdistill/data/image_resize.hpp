/// Images of any size made one size: Resize, CenterCrop and RandomResizedCrop with torchvision's rules, and the
/// bilinear filter with antialias behind them.
///
/// An output pixel (per axis, scale s = input / output, c = (x + 1/2) s its centre in the input) is
/// sum_j w_j in_j / sum_j w_j with w_j = max(0, 1 - |j + 1/2 - c| / max(s, 1)): enlarging interpolates linearly,
/// shrinking averages over all that a pixel covers. Along rows first, rounded to bytes, then along columns, in integers
/// with weights of 22 bits, as in Pillow 10, whose results these are (Pillow 13 may begin with the columns: one level
/// apart).
#pragma once

#include <algorithm>
#include <cmath>
#include <variant>

#include "qdistill/core/isa.hpp"
#include "qdistill/core/random.hpp"
#include "qdistill/data/image_file.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// A rectangle of pixels.
struct ImageBox {
  Index top = 0;
  Index left = 0;
  Index height = 0;
  Index width = 0;
  friend bool operator==(const ImageBox&, const ImageBox&) = default;
};

/// Resize((height, width)): the whole image, stretched.
struct ResizeExact {};
/// Resize(short_side), then CenterCrop((height, width)): the usual evaluation.
struct ResizeCenterCrop {
  Index short_side = 256;
};
/// RandomResizedCrop((height, width), scale, ratio): a random part of the image with an area of `min_scale` to
/// `max_scale` of it and a ratio of width to height of `min_ratio` to `max_ratio`, stretched: the usual training.
struct RandomResizedCrop {
  double min_scale = 0.08, max_scale = 1;
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;
};
/// One of these.
using ImageFit = std::variant<ResizeCenterCrop, RandomResizedCrop, ResizeExact>;

/// What is done to one image: `box` of it is resized to height x width, and `window` of that is kept.
struct ImageResize {
  ImageBox box;
  Index height = 0;
  Index width = 0;
  ImageBox window;
};

/// Throws ValueError for an output of height x width that `fit` cannot give.
inline void check_fit(const ImageFit& fit, Index height, Index width) {
  constexpr Index most = 1 << 14;
  check(height > 0 && width > 0 && height <= most && width <= most, "image", "got an output of ", height, " x ", width,
        ", expected 1 to ", most, " each");
  if (const auto* r = std::get_if<ResizeCenterCrop>(&fit))
    check(r->short_side >= height && r->short_side >= width && r->short_side <= most, "image", "got a short side of ",
          r->short_side, " and a crop of ", height, " x ", width,
          ", expected the short side to be at least the crop's");
  if (const auto* r = std::get_if<RandomResizedCrop>(&fit))
    check(r->min_scale > 0 && r->min_scale <= r->max_scale && r->max_scale <= 1 && r->min_ratio >= 0.001 &&
              r->min_ratio <= r->max_ratio && r->max_ratio <= 1000,
          "image", "got scales ", r->min_scale, " to ", r->max_scale, " and ratios ", r->min_ratio, " to ",
          r->max_ratio, ", expected 0 < min <= max, scales up to 1, ratios of 0.001 to 1000");
}

/// torchvision's RandomResizedCrop: up to ten draws of area (uniform) and ratio (uniform in its logarithm) until one
/// fits, then its place, uniform; else the largest centred box whose ratio is in range. `random`: of this image alone.
inline ImageBox random_resized_box(const RandomResizedCrop& r, Index height, Index width, RandomStream random) {
  const auto area = static_cast<double>(height * width);
  const double low = std::log(r.min_ratio), high = std::log(r.max_ratio);
  for (std::uint64_t draw = 0; draw < 40; draw += 4) {
    const double target = area * (r.min_scale + (r.max_scale - r.min_scale) * random.uniform(draw));
    const double ratio = std::exp(low + (high - low) * random.uniform(draw + 1));
    const auto w = static_cast<Index>(std::nearbyint(std::sqrt(target * ratio)));
    const auto h = static_cast<Index>(std::nearbyint(std::sqrt(target / ratio)));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    const auto below = [&](std::uint64_t i, Index n) {
      return static_cast<Index>(random.below(i, static_cast<std::uint32_t>(n)));
    };
    return {below(draw + 2, height - h + 1), below(draw + 3, width - w + 1), h, w};
  }
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  Index h = height, w = width;
  // A ratio far out of range rounds to no pixel; one stays.
  if (ratio < r.min_ratio)
    h = std::max<Index>(1, static_cast<Index>(std::nearbyint(static_cast<double>(w) / r.min_ratio)));
  else if (ratio > r.max_ratio)
    w = std::max<Index>(1, static_cast<Index>(std::nearbyint(static_cast<double>(h) * r.max_ratio)));
  return {(height - h) / 2, (width - w) / 2, h, w};
}

/// How an image of height x width becomes one of out_height x out_width. Only RandomResizedCrop draws. Throws as
/// check_fit.
inline ImageResize resize_for(const ImageFit& fit, Index height, Index width, Index out_height, Index out_width,
                              RandomStream random = {}) {
  check_fit(fit, out_height, out_width);
  ImageResize r{{0, 0, height, width}, out_height, out_width, {0, 0, out_height, out_width}};
  if (const auto* crop = std::get_if<RandomResizedCrop>(&fit)) r.box = random_resized_box(*crop, height, width, random);
  if (const auto* center = std::get_if<ResizeCenterCrop>(&fit)) {
    const Index side = center->short_side;
    r.height = height <= width ? side : side * height / width;
    r.width = width <= height ? side : side * width / height;
    // Half of an odd margin goes to the even neighbour, as Python rounds.
    const auto half = [](Index margin) { return margin / 2 + (margin % 4 == 3); };
    r.window.top = half(r.height - out_height);
    r.window.left = half(r.width - out_width);
  }
  return r;
}

namespace detail {

/// The filter of one axis: output k is sum_j weights[k * taps + j] in[first[k] + j] / 2^22 over count[k] terms.
struct ResizeAxis {
  Index taps;
  std::vector<Index> first, count;
  std::vector<std::int32_t> weights;

  static constexpr int bits = 22;

  /// Outputs begin .. begin + n - 1 of `out`, from `in` values.
  ResizeAxis(Index in, Index out, Index begin, Index n) {
    const double scale = static_cast<double>(in) / static_cast<double>(out), reach = scale > 1 ? scale : 1,
                 shrink = 1 / reach;
    taps = 2 * static_cast<Index>(std::ceil(reach)) + 1;
    first.resize(static_cast<std::size_t>(n));
    count.resize(static_cast<std::size_t>(n));
    weights.resize(static_cast<std::size_t>(n * taps));
    std::vector<double> w(static_cast<std::size_t>(taps));
    for (Index k = 0; k < n; ++k) {
      const double center = (static_cast<double>(begin + k) + 0.5) * scale;
      const Index from = std::max<Index>(0, static_cast<Index>(std::floor(center - reach + 0.5)));
      const Index to = std::min<Index>(in, static_cast<Index>(std::floor(center + reach + 0.5)));
      double sum = 0;
      for (Index j = from; j < to; ++j) {
        const double v = std::max(0.0, 1 - std::abs((static_cast<double>(j) - center + 0.5) * shrink));
        w[static_cast<std::size_t>(j - from)] = v;
        sum += v;
      }
      first[static_cast<std::size_t>(k)] = from;
      count[static_cast<std::size_t>(k)] = to - from;
      for (Index j = 0; j < to - from; ++j)
        weights[static_cast<std::size_t>(k * taps + j)] =
            static_cast<std::int32_t>(w[static_cast<std::size_t>(j)] / sum * (1 << bits) + 0.5);
    }
  }

  static std::uint8_t byte_of(std::int32_t sum) noexcept {
    const std::int32_t v = sum >> bits;
    return static_cast<std::uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
  }
};

}  // namespace detail

/// Resizes as `r` says. out: 3 planes of window.height x window.width bytes. The box lies in the image, the window in
/// what is resized.
inline void resize_image(const RgbImage& image, const ImageResize& r, std::uint8_t* out) {
  const Index oh = r.window.height, ow = r.window.width, row = 3 * ow, plane = oh * ow;
  const detail::ResizeAxis across(r.box.width, r.width, r.window.left, ow);
  const detail::ResizeAxis down(r.box.height, r.height, r.window.top, oh);
  constexpr std::int32_t half = 1 << (detail::ResizeAxis::bits - 1);

  // Only the rows that the window needs.
  const Index top = down.first.front(), rows = down.first.back() + down.count.back() - top;
  std::vector<std::uint8_t> narrow(static_cast<std::size_t>(rows * row));
  for (Index y = 0; y < rows; ++y) {
    const std::uint8_t* in = image.pixels.data() + 3 * ((r.box.top + top + y) * image.width + r.box.left);
    std::uint8_t* to = narrow.data() + y * row;
    for (Index x = 0; x < ow; ++x, to += 3) {
      const auto k = static_cast<std::size_t>(x);
      const std::int32_t* w = across.weights.data() + x * across.taps;
      const std::uint8_t* p = in + 3 * across.first[k];
      std::int32_t red = half, green = half, blue = half;
      for (Index j = 0; j < across.count[k]; ++j, p += 3) {
        red += w[j] * p[0];
        green += w[j] * p[1];
        blue += w[j] * p[2];
      }
      to[0] = detail::ResizeAxis::byte_of(red);
      to[1] = detail::ResizeAxis::byte_of(green);
      to[2] = detail::ResizeAxis::byte_of(blue);
    }
  }

  std::vector<std::int32_t> sums(static_cast<std::size_t>(row));
  for (Index y = 0; y < oh; ++y) {
    const auto k = static_cast<std::size_t>(y);
    std::fill(sums.begin(), sums.end(), half);
    for (Index j = 0; j < down.count[k]; ++j) {
      const std::int32_t w = down.weights[static_cast<std::size_t>(y * down.taps + j)];
      const std::uint8_t* in = narrow.data() + (down.first[k] - top + j) * row;
      std::int32_t* sum = sums.data();
      with_isa([=]() QDISTILL_ISA_BODY {
        QDISTILL_SIMD
        for (Index x = 0; x < row; ++x) sum[x] += w * in[x];
      });
    }
    for (Index x = 0; x < ow; ++x)
      for (Index c = 0; c < 3; ++c)
        out[c * plane + y * ow + x] = detail::ResizeAxis::byte_of(sums[static_cast<std::size_t>(3 * x + c)]);
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::data
