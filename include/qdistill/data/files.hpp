/// Reading whole data files, with the size checked before memory is taken.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::data::detail {

/// Reads the regular file `path` into bytes. `check_size(size)` runs before anything is allocated and throws for a size
/// that cannot be right. Throws FileError "[op] path: ..." with `hint` appended for a file that is missing or
/// unreadable.
template <class CheckSize>
std::vector<std::uint8_t> read_file(const char* op, const std::string& path, const char* hint, CheckSize&& check_size) {
  struct Close {
    void operator()(std::FILE* f) const noexcept { std::fclose(f); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  check<FileError>(file != nullptr, op, path, ": cannot be opened. ", hint);
  // On a directory or a pipe the end is not found, or it is found at a nonsensical place.
  constexpr Index most = Index{1} << 40;
  const Index size = std::fseek(file.get(), 0, SEEK_END) == 0 ? std::ftell(file.get()) : -1;
  check<FileError>(size >= 0 && size <= most, op, path, ": not a regular file. ", hint);
  std::rewind(file.get());
  check_size(size);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
  const std::size_t got = bytes.empty() ? 0 : std::fread(bytes.data(), 1, bytes.size(), file.get());
  check<FileError>(got == bytes.size(), op, path, ": reading stopped at byte ", got, " of ", size, ". ", hint);
  return bytes;
}

/// True if `path` can be opened for reading.
inline bool readable(const std::string& path) {
  std::FILE* f = std::fopen(path.c_str(), "rb");
  if (f) std::fclose(f);
  return f != nullptr;
}

/// directory + "/" + file.
inline std::string join(const std::string& directory, const char* file) {
  return directory.empty() || directory.back() == '/' ? directory + file : directory + "/" + file;
}

}  // namespace qdistill::inline QDISTILL_ABI::data::detail
