/// Random crop, horizontal flip and normalisation, from bytes (or floats) to a float image in one pass.
///
/// The order is that of the usual PyTorch pipeline, RandomCrop(padding) -> RandomHorizontalFlip -> ToTensor ->
/// Normalize: the border is raw 0, added before normalisation, so it becomes -mean / std. What is drawn is a function
/// of (seed, epoch, sample) alone, so it does not depend on threads, batch size or order.
#pragma once

#include <vector>

#include "qdistill/data/dataset.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// What may happen to an image. The default leaves it as it is.
struct Augment {
  Index padding = 0;             ///< crop at a random place of the image padded by this many pixels on each side
  bool horizontal_flip = false;  ///< mirror every second image (on average)
};

/// Pad by 4 and crop, flip: the setting of the CIFAR papers.
inline constexpr Augment cifar_augment{4, true};
/// Pad by 2 and crop. Digits are not mirrored.
inline constexpr Augment digits_augment{2, false};

/// Flip: beside RandomResizedCrop (image_resize.hpp), ImageNet's usual setting.
inline constexpr Augment imagenet_augment{0, true};

/// y = (x - mean) / std per channel, x = byte / 255 or the float as it is. One value stands for all channels.
struct Normalize {
  std::vector<float> mean{0.5f};
  std::vector<float> std{0.5f};
};

/// Mean 0.5, std 0.5 (Polino et al. 2018, published code).
inline Normalize polino_normalize() { return {}; }
/// CIFAR-10 as in Defossez et al. 2022 and most published code.
inline Normalize cifar10_normalize() { return {{0.4914f, 0.4822f, 0.4465f}, {0.2023f, 0.1994f, 0.2010f}}; }
/// CIFAR-100 as in Polino et al. 2018.
inline Normalize cifar100_normalize() { return {{0.5071f, 0.4867f, 0.4408f}, {0.2675f, 0.2565f, 0.2761f}}; }
/// MNIST's usual constants.
inline Normalize mnist_normalize() { return {{0.1307f}, {0.3081f}}; }

/// ImageNet's constants, as torchvision's networks expect them.
inline Normalize imagenet_normalize() { return {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}; }

/// What was drawn for one image: output (y, x) is input (y + dy, x + dx), or with flip input (y + dy, W - 1 - x + dx);
/// raw 0 outside.
struct Crop {
  Index dy = 0;
  Index dx = 0;
  bool flip = false;
};

/// Draws the crop of one sample. dy and dx are uniform in -padding .. padding.
inline Crop draw_crop(const Augment& augment, std::uint64_t seed, Index epoch, Index sample) noexcept {
  const PhiloxBlock b = philox(seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(sample));
  const auto offset = [&](std::uint32_t bits) {
    const std::uint64_t n = static_cast<std::uint64_t>(2 * augment.padding + 1);
    return static_cast<Index>((bits * n) >> 32) - augment.padding;
  };
  return {offset(b[0]), offset(b[1]), augment.horizontal_flip && (b[2] >> 31) != 0};
}

/// Turns images into normalised floats. Built once for a shape; holds the value of every byte per channel, so that
/// results have the same bits on every instruction set and equal PyTorch's arithmetic, (byte / 255 - mean) / std.
class ImageTransform {
 public:
  /// Throws ShapeError for a mean or std whose length is neither 1 nor C, ValueError for a std that is not positive or
  /// values that are not finite, or a padding outside 0 .. 4096.
  ImageTransform(const ImageShape& shape, const Normalize& normalize, const Augment& augment = {})
      : shape_(shape), augment_(augment) {
    detail::check_shape("augment", shape);
    check(augment.padding >= 0 && augment.padding <= 4096, "augment", "got a padding of ", augment.padding,
          ", expected 0 to 4096");
    const auto channels = static_cast<std::size_t>(shape.channels);
    const auto per_channel = [&](const std::vector<float>& v, const char* what) {
      check<ShapeError>(v.size() == 1 || v.size() == channels, "augment", "got ", v.size(), " values of ", what,
                        ", expected 1 or ", channels);
      return v.size() == 1 ? std::vector<float>(channels, v[0]) : v;
    };
    mean_ = per_channel(normalize.mean, "mean");
    std_ = per_channel(normalize.std, "std");
    table_.resize(channels * 256);
    for (std::size_t c = 0; c < channels; ++c) {
      check(std::isfinite(mean_[c]) && std::isfinite(std_[c]) && std_[c] > 0, "augment", "got mean ", mean_[c],
            " and std ", std_[c], ", expected finite values and a positive std");
      for (std::size_t v = 0; v < 256; ++v) {
        const float x = static_cast<float>(v) / 255.0f;
        table_[c * 256 + v] = (x - mean_[c]) / std_[c];
      }
    }
  }

  const ImageShape& shape() const noexcept { return shape_; }
  const Augment& augment() const noexcept { return augment_; }

  /// pixels: (C, H, W) -> out: (C, H, W), cropped, flipped and normalised.
  void operator()(const ImagePixels& pixels, const Crop& crop, float* out) const noexcept {
    const Index plane = shape_.height * shape_.width;
    for (Index c = 0; c < shape_.channels; ++c, out += plane) {
      const float* table = table_.data() + c * 256;
      if (pixels.bytes) {
        transform_plane(pixels.bytes + c * plane, crop, table[0], out, [table](std::uint8_t v) { return table[v]; });
      } else {
        const float mean = mean_[static_cast<std::size_t>(c)], std = std_[static_cast<std::size_t>(c)];
        transform_plane(pixels.floats + c * plane, crop, (0.0f - mean) / std, out,
                        [mean, std](float v) { return (v - mean) / std; });
      }
    }
  }

 private:
  /// One plane. `border` is the normalised 0. The columns that come from inside the image are [first, last).
  template <class P, class F>
  void transform_plane(const P* in, const Crop& crop, float border, float* out, F value) const noexcept {
    const Index h = shape_.height, w = shape_.width;
    // Without flip x reads column x + dx; with flip it reads w - 1 - x + dx.
    const Index first = std::clamp<Index>(crop.flip ? crop.dx : -crop.dx, 0, w);
    const Index last = std::clamp<Index>(crop.flip ? w + crop.dx : w - crop.dx, first, w);
    for (Index y = 0; y < h; ++y, out += w) {
      const Index from = y + crop.dy;
      if (from < 0 || from >= h) {
        std::fill(out, out + w, border);
        continue;
      }
      const P* row = in + from * w;
      std::fill(out, out + first, border);
      if (crop.flip)
        for (Index x = first; x < last; ++x) out[x] = value(row[w - 1 - x + crop.dx]);
      else
        for (Index x = first; x < last; ++x) out[x] = value(row[x + crop.dx]);
      std::fill(out + last, out + w, border);
    }
  }

  ImageShape shape_;
  Augment augment_;
  std::vector<float> mean_, std_;
  std::vector<float> table_;  // (C, 256): the normalised value of each byte
};

}  // namespace qdistill::inline QDISTILL_ABI::data
