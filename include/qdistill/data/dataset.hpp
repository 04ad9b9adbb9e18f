/// Image classification sets: the interface a loader reads, an owning set of bytes, views of a user's own memory,
/// subsets and class-balanced splits.
///
/// A dataset is any type with the five members that `ImageDataset` names. A user's own, complete:
///
///   struct Faces {
///     std::vector<float> pixels;                                        // (count, 1, 48, 48), values in [0, 1]
///     std::vector<int> people;
///     Index size() const { return static_cast<Index>(people.size()); }
///     data::ImageShape shape() const { return {1, 48, 48}; }
///     Index classes() const { return 12; }
///     std::span<const float> image(Index i) const { return {pixels.data() + i * 48 * 48, 48 * 48}; }
///     Index label(Index i) const { return people[static_cast<std::size_t>(i)]; }
///   };
///
/// Bytes (std::span<const std::uint8_t>) stand for value / 255; floats are taken as they are. `image` and `label` are
/// called on the loader's thread, so they must not change shared state; what they throw reaches the loader's caller.
///
/// A dataset that makes its images when they are asked for (image_folder.hpp decodes files) has, in place of image(i),
///
///     data::ImagePixels image(Index i, const data::DrawKey& key, std::vector<std::uint8_t>& buffer) const;
///
/// which fills the caller's buffer and points into it. The loader calls it on several threads at once. One that draws
/// at random draws as a function of (key, i) alone, and has `bool draws() const`, true.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/core/error.hpp"
#include "qdistill/core/random.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// Which part of a public set is meant.
enum class Split { train, test };

inline const char* name(Split split) noexcept { return split == Split::train ? "train" : "test"; }

/// C, H and W of one image.
struct ImageShape {
  Index channels = 0;
  Index height = 0;
  Index width = 0;

  /// C * H * W.
  Index numel() const noexcept { return channels * height * width; }
  friend bool operator==(const ImageShape&, const ImageShape&) = default;
};

/// The pixels of one image: exactly one of the two pointers is set, to C * H * W values.
struct ImagePixels {
  const std::uint8_t* bytes = nullptr;
  const float* floats = nullptr;
};

/// What random choices are keyed by beside the image's index.
struct DrawKey {
  std::uint64_t seed = 0;
  Index epoch = 0;
};

namespace detail {

template <class Pixels>
concept ImageOf = std::convertible_to<Pixels, std::span<const std::uint8_t>> ||
    std::convertible_to<Pixels, std::span<const float>> || std::same_as<Pixels, ImagePixels>;

/// A dataset whose pixels lie in memory.
template <class D>
concept StoresImages = requires(const D& d, Index i) {
  { d.image(i) } -> ImageOf;
};
/// A dataset that makes its images, or wraps one that may.
template <class D>
concept MakesImages = requires(const D& d, Index i, const DrawKey& key, std::vector<std::uint8_t>& buffer) {
  { d.image(i, key, buffer) } -> std::same_as<ImagePixels>;
};

}  // namespace detail

/// What a loader needs of a dataset; see the head of this file. image: C * H * W values, plane by plane, as a span of
/// bytes or floats (or as the ImagePixels that DatasetRef gave a dataset that wraps another).
template <class D>
concept ImageDataset = (detail::StoresImages<D> || detail::MakesImages<D>)&&requires(const D& d, Index i) {
  { d.size() } -> std::convertible_to<Index>;
  { d.shape() } -> std::convertible_to<ImageShape>;
  { d.classes() } -> std::convertible_to<Index>;
  { d.label(i) } -> std::convertible_to<Index>;
};

namespace detail {

/// Throws ShapeError unless C, H and W are positive and C * H * W is at most 2^31 - 1.
inline void check_shape(const char* op, const ImageShape& s) {
  constexpr Index limit = std::numeric_limits<std::int32_t>::max();
  const bool positive = s.channels > 0 && s.height > 0 && s.width > 0;
  check<ShapeError>(positive && s.height <= limit / s.width && s.channels <= limit / (s.height * s.width), op,
                    "got an image of ", s.channels, " x ", s.height, " x ", s.width,
                    ", expected positive sizes whose product is below 2^31");
}

/// Throws ValueError unless there are 1 to 65536 classes.
inline void check_classes(const char* op, Index classes) {
  check(classes >= 1 && classes <= 65536, op, "got ", classes, " classes, expected 1 to 65536");
}

/// A fast 64-bit hash of bytes in order (multiply and fold, eight bytes at a time). Guards against mix-ups, not
/// attacks.
inline std::uint64_t hash_bytes(std::uint64_t h, const void* data, std::size_t n) noexcept {
  const auto* p = static_cast<const unsigned char*>(data);
  const auto mix = [&h](std::uint64_t word) {
    h = (h ^ word) * 0x9E3779B97F4A7C15ull;
    h ^= h >> 32;
  };
  for (; n >= 8; n -= 8, p += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, 8);
    mix(word);
  }
  std::uint64_t tail = n;
  for (std::size_t i = 0; i < n; ++i) tail = tail << 8 | p[i];
  mix(tail);
  return h;
}

/// A seed for one purpose, so that equal user seeds for weights, shuffling and drawing do not share random numbers.
inline std::uint64_t derive_seed(std::uint64_t seed, std::uint64_t purpose) noexcept {
  const PhiloxBlock b = philox(seed, 0x71646973'64617461ull, purpose);
  return std::uint64_t{b[0]} << 32 | b[1];
}

}  // namespace detail

/// A non-owning, type-erased reference to any dataset, like std::string_view to strings. Loaders and training loops
/// take it, so that they are no templates. The dataset must outlive it. Checks what the dataset returns: `image` throws
/// ShapeError for a span of the wrong length, `label` throws ValueError for a label outside 0 .. classes - 1.
class DatasetRef {
 public:
  template <ImageDataset D>
  requires(!std::same_as<D, DatasetRef>) DatasetRef(const D& dataset)
      : object_(std::addressof(dataset)),
        size_(static_cast<Index>(dataset.size())),
        shape_(dataset.shape()),
        classes_(static_cast<Index>(dataset.classes())),
        makes_(makes(dataset)),
        draws_(draws(dataset)),
        image_(+[](const void* p, Index i, Index numel, const DrawKey& key, std::vector<std::uint8_t>& buffer) {
          return pixels_of(*static_cast<const D*>(p), i, numel, key, buffer);
        }),
        label_(+[](const void* p, Index i) { return static_cast<Index>(static_cast<const D*>(p)->label(i)); }) {
    check(size_ >= 0, "dataset", "got a size of ", size_, ", expected 0 or more");
    detail::check_shape("dataset", shape_);
    detail::check_classes("dataset", classes_);
  }

  Index size() const noexcept { return size_; }
  const ImageShape& shape() const noexcept { return shape_; }
  Index classes() const noexcept { return classes_; }

  /// True if images are made when they are asked for, at a price worth several threads.
  bool makes_images() const noexcept { return makes_; }
  /// True if images depend on the key.
  bool draws() const noexcept { return draws_; }

  /// Pixels of image i, 0 <= i < size(), in the dataset's memory, or made in `buffer`.
  ImagePixels image(Index i, const DrawKey& key, std::vector<std::uint8_t>& buffer) const {
    check_index(i);
    return image_(object_, i, shape_.numel(), key, buffer);
  }
  /// The same for datasets that lie in memory. Throws ValueError for others.
  ImagePixels image(Index i) const {
    check(!makes_, "dataset", "image ", i, " is made when asked for, expected a key and a buffer to make it in");
    std::vector<std::uint8_t> none;
    return image(i, {}, none);
  }
  /// Label of image i, 0 <= i < size().
  Index label(Index i) const {
    check_index(i);
    const Index y = label_(object_, i);
    check(y >= 0 && y < classes_, "dataset", "got label ", y, " for image ", i, ", expected 0 to ", classes_ - 1);
    return y;
  }

 private:
  void check_index(Index i) const {
    check(i >= 0 && i < size_, "dataset", "got image ", i, ", expected 0 to ", size_ - 1);
  }
  template <class D>
  static bool makes(const D& d) {
    if constexpr (requires { d.makes_images(); }) return d.makes_images();
    return detail::MakesImages<D>;
  }
  template <class D>
  static bool draws(const D& d) {
    if constexpr (requires { d.draws(); }) return d.draws();
    return false;
  }
  template <class D>
  static ImagePixels pixels_of(const D& d, Index i, Index numel, const DrawKey& key,
                               std::vector<std::uint8_t>& buffer) {
    if constexpr (detail::MakesImages<D>) {
      return d.image(i, key, buffer);
    } else if constexpr (std::same_as<decltype(d.image(i)), ImagePixels>) {
      return d.image(i);
    } else if constexpr (std::convertible_to<decltype(d.image(i)), std::span<const std::uint8_t>>) {
      const std::span<const std::uint8_t> s = d.image(i);
      check_pixels(i, s.size(), numel);
      return {s.data(), nullptr};
    } else {
      const std::span<const float> s = d.image(i);
      check_pixels(i, s.size(), numel);
      return {nullptr, s.data()};
    }
  }
  static void check_pixels(Index i, std::size_t got, Index numel) {
    check<ShapeError>(got == static_cast<std::size_t>(numel), "dataset", "got ", got, " values for image ", i,
                      ", expected ", numel);
  }

  const void* object_;
  Index size_;
  ImageShape shape_;
  Index classes_;
  bool makes_, draws_;
  ImagePixels (*image_)(const void*, Index, Index, const DrawKey&, std::vector<std::uint8_t>&);
  Index (*label_)(const void*, Index);
};

/// True for datasets that own their pixels, so that keeping a reference to a temporary one would dangle.
template <class D>
concept OwningDataset = ImageDataset<D> && !std::same_as<D, DatasetRef>;

/// A hash of shape, classes, labels and pixels in order, for manifests: equal data, equal checksum, on any machine of
/// the same byte order. Images that are drawn are those of seed 0, epoch 0.
inline std::uint64_t checksum(const DatasetRef& dataset) {
  const ImageShape s = dataset.shape();
  const Index head[] = {dataset.size(), s.channels, s.height, s.width, dataset.classes()};
  std::uint64_t h = detail::hash_bytes(0, head, sizeof head);
  std::vector<std::uint8_t> buffer;
  for (Index i = 0; i < dataset.size(); ++i) {
    const Index y = dataset.label(i);
    const ImagePixels p = dataset.image(i, {}, buffer);
    const auto n = static_cast<std::size_t>(s.numel());
    h = detail::hash_bytes(h, &y, sizeof y);
    h = p.bytes ? detail::hash_bytes(h, p.bytes, n) : detail::hash_bytes(h, p.floats, n * sizeof(float));
  }
  return h;
}

/// An owning set of byte images, what the readers and the generator return.
struct ImageSet {
  ImageShape image_shape;                ///< C, H, W
  Index class_count = 0;                 ///< labels are 0 .. class_count - 1
  std::vector<std::uint8_t> pixels;      ///< (count, C, H, W)
  std::vector<std::int32_t> labels;      ///< (count)
  std::vector<std::string> class_names;  ///< (class_count), or empty
  std::string name;                      ///< for logs, such as "cifar10 train"

  Index size() const noexcept { return static_cast<Index>(labels.size()); }
  ImageShape shape() const noexcept { return image_shape; }
  Index classes() const noexcept { return class_count; }
  /// Image i as C * H * W bytes. Empty if the fields do not fit each other.
  std::span<const std::uint8_t> image(Index i) const noexcept {
    const Index n = image_shape.numel();
    if (i < 0 || n <= 0 || (i + 1) * n > static_cast<Index>(pixels.size())) return {};
    return {pixels.data() + i * n, static_cast<std::size_t>(n)};
  }
  /// Label of image i. Throws ValueError for an index outside 0 .. size() - 1.
  Index label(Index i) const {
    check(i >= 0 && i < size(), "image_set", "got image ", i, ", expected 0 to ", size() - 1);
    return labels[static_cast<std::size_t>(i)];
  }
};

/// A dataset over the caller's own memory, which must outlive it. P: std::uint8_t or float, L: any integer.
///
///   data::ImageView<float, int> faces("faces", {1, 48, 48}, 12, pixels, people);
template <class P, std::integral L = std::int32_t>
class ImageView {
  static_assert(std::same_as<P, std::uint8_t> || std::same_as<P, float>, "pixels are std::uint8_t or float");

 public:
  /// pixels: (count, C, H, W); labels: (count). Throws ShapeError if the sizes disagree, ValueError for a label outside
  /// 0 .. classes - 1.
  ImageView(const char* op, ImageShape shape, Index classes, std::span<const P> pixels, std::span<const L> labels)
      : shape_(shape), classes_(classes), pixels_(pixels), labels_(labels) {
    detail::check_shape(op, shape);
    detail::check_classes(op, classes);
    const auto n = static_cast<std::size_t>(shape.numel());
    check<ShapeError>(pixels.size() % n == 0 && pixels.size() / n == labels.size(), op, "got ", pixels.size(),
                      " pixel values for ", labels.size(), " labels, expected ", n, " for each");
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const Index y = static_cast<Index>(labels[i]);
      check(y >= 0 && y < classes, op, "got label ", y, " for image ", i, ", expected 0 to ", classes - 1);
    }
  }

  Index size() const noexcept { return static_cast<Index>(labels_.size()); }
  ImageShape shape() const noexcept { return shape_; }
  Index classes() const noexcept { return classes_; }
  std::span<const P> image(Index i) const noexcept {
    const Index n = shape_.numel();
    return {pixels_.data() + i * n, static_cast<std::size_t>(n)};
  }
  Index label(Index i) const noexcept { return static_cast<Index>(labels_[static_cast<std::size_t>(i)]); }

 private:
  ImageShape shape_;
  Index classes_;
  std::span<const P> pixels_;
  std::span<const L> labels_;
};

/// Chosen images of another dataset, in the order given. Refers to that dataset, which must outlive it; a subset of a
/// subset refers to the same underlying dataset.
class Subset {
 public:
  /// Throws ValueError for an index outside 0 .. dataset.size() - 1.
  Subset(DatasetRef dataset, std::vector<Index> indices) : dataset_(dataset), indices_(std::move(indices)) {
    for (const Index i : indices_)
      check(i >= 0 && i < dataset_.size(), "subset", "got image ", i, ", expected 0 to ", dataset_.size() - 1);
  }
  Subset(const Subset& subset, const std::vector<Index>& indices) : dataset_(subset.dataset_) {
    indices_.reserve(indices.size());
    for (const Index i : indices) {
      check(i >= 0 && i < subset.size(), "subset", "got image ", i, ", expected 0 to ", subset.size() - 1);
      indices_.push_back(subset.source(i));
    }
  }
  template <OwningDataset D>
  requires(!std::same_as<D, Subset>) Subset(const D&& temporary, std::vector<Index> indices)
  = delete;

  Index size() const noexcept { return static_cast<Index>(indices_.size()); }
  ImageShape shape() const noexcept { return dataset_.shape(); }
  Index classes() const noexcept { return dataset_.classes(); }
  ImagePixels image(Index i) const { return dataset_.image(source(i)); }
  ImagePixels image(Index i, const DrawKey& key, std::vector<std::uint8_t>& buffer) const {
    return dataset_.image(source(i), key, buffer);
  }
  bool makes_images() const noexcept { return dataset_.makes_images(); }
  bool draws() const noexcept { return dataset_.draws(); }
  Index label(Index i) const { return dataset_.label(source(i)); }
  /// Positions of the chosen images in the underlying dataset.
  std::span<const Index> indices() const noexcept { return indices_; }

 private:
  Index source(Index i) const { return indices_.at(static_cast<std::size_t>(i)); }

  DatasetRef dataset_;
  std::vector<Index> indices_;
};

namespace detail {

/// Marks `count` images, each class in proportion to its share (largest remainders first, ties to the lower class), the
/// members of a class chosen by seed.
inline std::vector<char> stratified_choice(const char* op, const DatasetRef& dataset, Index count, std::uint64_t seed) {
  const Index n = dataset.size();
  check(count >= 0 && count <= n, op, "got a count of ", count, ", expected 0 to ", n);
  std::vector<std::vector<Index>> members(static_cast<std::size_t>(dataset.classes()));
  for (Index i = 0; i < n; ++i) members[static_cast<std::size_t>(dataset.label(i))].push_back(i);

  struct Share {
    Index take, remainder;
    std::size_t label;
  };
  std::vector<Share> shares;
  Index missing = count;
  for (std::size_t c = 0; c < members.size(); ++c) {
    // count, |members| <= n < 2^31 in any set that fits memory as labels; the product stays below 2^62.
    const Index product = n > 0 ? count * static_cast<Index>(members[c].size()) : 0;
    shares.push_back({n > 0 ? product / n : 0, n > 0 ? product % n : 0, c});
    missing -= shares.back().take;
  }
  std::stable_sort(shares.begin(), shares.end(),
                   [](const Share& a, const Share& b) { return a.remainder > b.remainder; });
  for (std::size_t k = 0; missing > 0; ++k, --missing) ++shares[k].take;

  std::vector<char> chosen(static_cast<std::size_t>(n), 0);
  std::vector<Index> order;
  const std::uint64_t key = derive_seed(seed, 1);
  for (const Share& share : shares) {
    const std::vector<Index>& of_class = members[share.label];
    order.resize(of_class.size());
    random_permutation({key, share.label}, static_cast<Index>(order.size()), order.data());
    for (Index k = 0; k < share.take; ++k)
      chosen[static_cast<std::size_t>(of_class[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])])] = 1;
  }
  return chosen;
}

inline std::vector<Index> positions(const std::vector<char>& chosen, bool value) {
  std::vector<Index> out;
  for (std::size_t i = 0; i < chosen.size(); ++i)
    if ((chosen[i] != 0) == value) out.push_back(static_cast<Index>(i));
  return out;
}

}  // namespace detail

/// `count` images chosen by seed, each class in proportion to its share, in the dataset's order. The dataset must
/// outlive the result.
template <ImageDataset D>
Subset balanced_subset(const D& dataset, Index count, std::uint64_t seed) {
  return Subset(dataset, detail::positions(detail::stratified_choice("balanced_subset", dataset, count, seed), true));
}
template <OwningDataset D>
requires(!std::same_as<D, Subset>) Subset balanced_subset(const D&&, Index, std::uint64_t)
= delete;

/// The two parts of a training set.
struct TrainValidation {
  Subset train;
  Subset validation;
};

/// Holds out `validation_count` images, each class in proportion to its share, chosen by seed; both parts keep the
/// dataset's order. The dataset must outlive the result.
template <ImageDataset D>
TrainValidation split_validation(const D& dataset, Index validation_count, std::uint64_t seed) {
  const auto held_out = detail::stratified_choice("split_validation", dataset, validation_count, seed);
  return {Subset(dataset, detail::positions(held_out, false)), Subset(dataset, detail::positions(held_out, true))};
}
template <OwningDataset D>
requires(!std::same_as<D, Subset>) TrainValidation split_validation(const D&&, Index, std::uint64_t)
= delete;

}  // namespace qdistill::inline QDISTILL_ABI::data
