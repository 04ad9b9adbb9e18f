/// MNIST and its relatives in the idx layout (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist/).
///
/// An idx file begins with 0, 0, a type byte (8: unsigned bytes) and the number of dimensions; then the sizes, 4 bytes
/// each, most significant first; then the values. Images have 3 dimensions (count, H, W), labels have 1 (count).
#pragma once

#include <string>
#include <string_view>

#include "qdistill/data/dataset.hpp"
#include "qdistill/data/files.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

namespace detail {

inline constexpr const char* mnist_hint = "HINT: run data/mnist.sh";

/// Checks an idx header and that the values fill the file exactly. dims: receives the `rank` sizes. Returns the offset
/// of the values.
inline Index parse_idx_header(std::string_view file, std::span<const std::uint8_t> bytes, int rank, Index* dims) {
  const Index size = static_cast<Index>(bytes.size()), header = 4 + 4 * rank;
  check<FileError>(size < 2 || bytes[0] != 0x1F || bytes[1] != 0x8B, "mnist", file,
                   ": compressed by gzip, expected the idx file itself. HINT: run gunzip on it");
  check<FileError>(size >= header, "mnist", file, ": ", size, " bytes, expected a header of ", header, " bytes. ",
                   mnist_hint);
  const int expected[] = {0, 0, 8, rank};
  for (int i = 0; i < 4; ++i)
    check<FileError>(bytes[static_cast<std::size_t>(i)] == expected[i], "mnist", file, ": ",
                     int{bytes[static_cast<std::size_t>(i)]}, " at byte ", i, ", expected ", expected[i],
                     " (an idx file of bytes with ", rank, rank == 1 ? " dimension). " : " dimensions). ", mnist_hint);
  Index values = 1;
  for (int d = 0; d < rank; ++d) {
    const std::uint8_t* p = bytes.data() + 4 + 4 * d;
    dims[d] = Index{p[0]} << 24 | Index{p[1]} << 16 | Index{p[2]} << 8 | Index{p[3]};
    // The product is compared with the file's size at every step, so it can't overflow.
    const bool fits = dims[d] > 0 && dims[d] <= (size - header) / values;
    check<FileError>(fits, "mnist", file, ": size ", dims[d], " at byte ", 4 + 4 * d, ", but only ", size - header,
                     " bytes of values follow (or none is asked for). ", mnist_hint);
    values *= dims[d];
  }
  check<FileError>(values == size - header, "mnist", file, ": ", size, " bytes, expected ", header + values, ". ",
                   mnist_hint);
  return header;
}

}  // namespace detail

/// Reads an idx file of images and one of labels from memory; the file names are for errors. (count, 1, H, W),
/// `classes` classes. Throws FileError with the offset of what is wrong.
inline ImageSet parse_mnist(std::span<const std::uint8_t> images, std::string_view image_file,
                            std::span<const std::uint8_t> labels, std::string_view label_file, Index classes = 10) {
  detail::check_classes("mnist", classes);
  Index dims[3] = {}, count = 0;
  const Index image_header = detail::parse_idx_header(image_file, images, 3, dims);
  const Index label_header = detail::parse_idx_header(label_file, labels, 1, &count);
  check<FileError>(dims[0] == count, "mnist", label_file, ": ", count, " labels, expected ", dims[0], " as in ",
                   image_file, ". ", detail::mnist_hint);
  ImageSet set;
  set.image_shape = {1, dims[1], dims[2]};
  detail::check_shape("mnist", set.image_shape);
  set.class_count = classes;
  set.name = std::string(image_file);
  set.pixels.assign(images.begin() + image_header, images.end());
  set.labels.reserve(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    const int label = labels[static_cast<std::size_t>(label_header + i)];
    check<FileError>(label < classes, "mnist", label_file, ": label ", label, " at byte ", label_header + i,
                     ", expected 0 to ", classes - 1, ". ", detail::mnist_hint);
    set.labels.push_back(label);
  }
  return set;
}

/// Reads train-images-idx3-ubyte and train-labels-idx1-ubyte, or the t10k files, in `directory`. (count, 1, 28, 28).
/// Throws FileError.
inline ImageSet read_mnist(const std::string& directory, Split split) {
  const bool train = split == Split::train;
  const auto read = [](const std::string& path) {
    return detail::read_file("mnist", path, detail::mnist_hint, [&](Index size) {
      constexpr Index most = Index{1} << 31;
      check<FileError>(size > 0 && size <= most, "mnist", path, ": ", size, " bytes, expected 1 to ", most, ". ",
                       detail::mnist_hint);
    });
  };
  const std::string images = detail::join(directory, train ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte");
  const std::string labels = detail::join(directory, train ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte");
  ImageSet set = parse_mnist(read(images), images, read(labels), labels);
  set.name = text("mnist ", name(split));
  return set;
}

}  // namespace qdistill::inline QDISTILL_ABI::data
