/// CIFAR-10 and CIFAR-100 in the official binary layout (Krizhevsky 2009, "Learning Multiple Layers of Features from
/// Tiny Images", https://www.cs.toronto.edu/~kriz/cifar.html).
///
/// A CIFAR-10 record is 1 label byte (0 .. 9) and 3,072 pixel bytes: 1,024 red, 1,024 green, 1,024 blue, row by row. A
/// CIFAR-100 record begins with a coarse label (0 .. 19) and a fine one (0 .. 99) instead. A file is any whole number
/// of records (officially 10,000, or 50,000 in CIFAR-100's train.bin), so subsets cut at records are read too.
#pragma once

#include <string>
#include <string_view>

#include "qdistill/data/dataset.hpp"
#include "qdistill/data/files.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

namespace detail {

struct CifarLayout {
  const char* op;
  const char* hint;
  Index label_bytes;
  Index official_count;

  Index record() const noexcept { return label_bytes + 3072; }
};

inline constexpr CifarLayout cifar10_layout{"cifar10", "HINT: run data/cifar10.sh", 1, 10000};
inline constexpr CifarLayout cifar100_train_layout{"cifar100", "HINT: run data/cifar100.sh", 2, 50000};
inline constexpr CifarLayout cifar100_test_layout{"cifar100", "HINT: run data/cifar100.sh", 2, 10000};

inline void check_cifar_size(const CifarLayout& layout, std::string_view file, Index size) {
  const Index record = layout.record();
  constexpr Index most = Index{1} << 32;
  check<FileError>(size <= most, layout.op, file, ": ", size, " bytes, expected at most ", most, ". ", layout.hint);
  if (size > 0 && size % record == 0) return;
  const std::string cut = size > 0 ? text("; the record that begins at byte ", size / record * record, " is cut") : "";
  fail<FileError>(layout.op, file, ": ", size, " bytes, expected ", layout.official_count * record,
                  " (or another whole number of records of ", record, " bytes)", cut, ". ", layout.hint);
}

inline void check_cifar_label(const CifarLayout& layout, std::string_view file, Index offset, int label, int classes,
                              const char* kind) {
  check<FileError>(label < classes, layout.op, file, ": ", kind, " ", label, " at byte ", offset, ", expected 0 to ",
                   classes - 1, ". ", layout.hint);
}

/// Appends the records in `bytes` to `set`. A fine class that appears under two coarse ones marks a mislabelled file.
inline void append_cifar(const CifarLayout& layout, std::string_view file, std::span<const std::uint8_t> bytes,
                         ImageSet& set) {
  const Index size = static_cast<Index>(bytes.size()), record = layout.record();
  check_cifar_size(layout, file, size);
  int coarse_of[100];
  std::fill(coarse_of, coarse_of + 100, -1);
  set.pixels.reserve(set.pixels.size() + bytes.size() / static_cast<std::size_t>(record) * 3072);
  for (Index at = 0; at < size; at += record) {
    const std::uint8_t* p = bytes.data() + at;
    const int label = p[layout.label_bytes - 1];
    if (layout.label_bytes == 1) {
      check_cifar_label(layout, file, at, label, 10, "label");
    } else {
      check_cifar_label(layout, file, at, p[0], 20, "coarse label");
      check_cifar_label(layout, file, at + 1, label, 100, "fine label");
      int& coarse = coarse_of[label];
      if (coarse < 0) coarse = p[0];
      check<FileError>(coarse == p[0], layout.op, file, ": coarse label ", int{p[0]}, " at byte ", at, ", expected ",
                       coarse, " as in the earlier records of fine label ", label, ". ", layout.hint);
    }
    set.labels.push_back(label);
    set.pixels.insert(set.pixels.end(), p + layout.label_bytes, p + record);
  }
}

inline void append_cifar_file(const CifarLayout& layout, const std::string& path, ImageSet& set) {
  append_cifar(layout, path,
               read_file(layout.op, path, layout.hint, [&](Index n) { check_cifar_size(layout, path, n); }), set);
}

inline ImageSet empty_cifar(Index classes, std::string name) {
  ImageSet set;
  set.image_shape = {3, 32, 32};
  set.class_count = classes;
  set.name = std::move(name);
  if (classes == 10)
    set.class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  return set;
}

}  // namespace detail

/// Reads CIFAR-10 records from memory. `file` names them in errors. Throws FileError with the offset of what is wrong.
inline ImageSet parse_cifar10(std::span<const std::uint8_t> bytes, std::string_view file) {
  ImageSet set = detail::empty_cifar(10, std::string(file));
  detail::append_cifar(detail::cifar10_layout, file, bytes, set);
  return set;
}

/// Reads CIFAR-100 records (fine labels) from memory. `file` names them in errors. Throws FileError.
inline ImageSet parse_cifar100(std::span<const std::uint8_t> bytes, std::string_view file) {
  ImageSet set = detail::empty_cifar(100, std::string(file));
  detail::append_cifar(detail::cifar100_train_layout, file, bytes, set);
  return set;
}

/// Reads data_batch_1.bin .. data_batch_5.bin, or test_batch.bin, in `directory`. A set whose batches end early (a
/// subset holds only the first) is read as far as it goes; a gap in their numbers is refused. (count, 3, 32, 32).
/// Throws FileError.
inline ImageSet read_cifar10(const std::string& directory, Split split) {
  const detail::CifarLayout& layout = detail::cifar10_layout;
  ImageSet set = detail::empty_cifar(10, text("cifar10 ", name(split)));
  if (split == Split::test) {
    detail::append_cifar_file(layout, detail::join(directory, "test_batch.bin"), set);
    return set;
  }
  std::string missing;
  for (char number = '1'; number <= '5'; ++number) {
    char file[] = "data_batch_?.bin";
    file[11] = number;
    const std::string path = detail::join(directory, file);
    if (number > '1' && !detail::readable(path)) {
      if (missing.empty()) missing = path;
      continue;
    }
    check<FileError>(missing.empty(), layout.op, missing, ": missing, while ", file, " is there. ", layout.hint);
    detail::append_cifar_file(layout, path, set);
  }
  return set;
}

/// Reads train.bin or test.bin in `directory` with its 100 fine labels. (count, 3, 32, 32). Throws FileError.
inline ImageSet read_cifar100(const std::string& directory, Split split) {
  const bool train = split == Split::train;
  ImageSet set = detail::empty_cifar(100, text("cifar100 ", name(split)));
  detail::append_cifar_file(train ? detail::cifar100_train_layout : detail::cifar100_test_layout,
                            detail::join(directory, train ? "train.bin" : "test.bin"), set);
  return set;
}

}  // namespace qdistill::inline QDISTILL_ABI::data
