/// Reading a whole file, with errors that name it.
#pragma once

#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// The bytes of the regular file at `path`. Throws FileError if it is missing, not a regular file, larger than
/// `max_bytes` (checked before anything is allocated) or cannot be read.
inline std::vector<std::byte> read_file(const std::string& path,
                                        std::uint64_t max_bytes = std::numeric_limits<Index>::max()) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  check<FileError>(std::filesystem::exists(status), "read_file", path, ": no such file");
  check<FileError>(std::filesystem::is_regular_file(status), "read_file", path, ": not a regular file");
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  check<FileError>(!error, "read_file", path, ": ", error.message());
  check<FileError>(size <= max_bytes, "read_file", path, ": got ", size, " bytes, expected at most ", max_bytes);
  const auto close = [](std::FILE* f) { std::fclose(f); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "rb"), close);
  check<FileError>(file != nullptr, "read_file", path, ": cannot be opened");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  const std::size_t got = std::fread(bytes.data(), 1, bytes.size(), file.get());
  check<FileError>(got == bytes.size(), "read_file", path, ": got ", got, " bytes, expected ", size);
  return bytes;
}

}  // namespace qdistill::inline QDISTILL_ABI::io
