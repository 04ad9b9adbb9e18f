/// Writing a file so that a reader, a crash or a power cut sees the old content or the new one, never a part: the bytes
/// go to a file beside it, are flushed to the disk, and take its name in one step; then the folder is flushed. A
/// process that is killed in between can leave a file `NAME.<number>.tmp` behind, which no reader looks at.
#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>  // random_device: names that two writers do not share
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "qdistill/core/error.hpp"

#if defined(__unix__) || defined(__APPLE__)
#define QDISTILL_POSIX 1
#include <fcntl.h>
#include <unistd.h>
#else
#define QDISTILL_POSIX 0
#include <cstdio>
#endif

namespace qdistill::inline QDISTILL_ABI::io {

namespace detail {

/// A file that is being written beside its target. Removed unless it was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& target) : target_(target) {
    for (int attempt = 0; attempt < 100; ++attempt) {
      path_ = text(target, '.', std::random_device{}(), ".tmp");
#if QDISTILL_POSIX
      handle_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
#else
      handle_ = std::fopen(path_.c_str(), "wbx");
#endif
      if (handle_ != closed || errno != EEXIST) break;
    }
    if (handle_ == closed) stop("cannot be created");
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (handle_ != closed) close();
    std::error_code ignored;
    if (!renamed_) std::filesystem::remove(path_, ignored);
  }

  void write(std::span<const std::byte> bytes) {
#if QDISTILL_POSIX
    while (!bytes.empty()) {
      const auto part = bytes.first(bytes.size() < std::size_t{1} << 30 ? bytes.size() : std::size_t{1} << 30);
      const auto n = ::write(handle_, part.data(), part.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) stop("cannot be written");
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
#else
    if (std::fwrite(bytes.data(), 1, bytes.size(), handle_) != bytes.size()) stop("cannot be written");
#endif
  }

  /// Flushes to the disk and takes the target's name.
  void commit() {
#if QDISTILL_POSIX
    if (::fsync(handle_) != 0) stop("cannot be flushed");
#endif
    if (close() != 0) stop("cannot be closed");
    std::error_code error;
    std::filesystem::rename(path_, target_, error);
    check<FileError>(!error, "write_file", target_, ": cannot be replaced: ", error.message());
    renamed_ = true;
#if QDISTILL_POSIX
    // The content is safe by now. A folder that cannot be opened or flushed (some network file systems) is no error.
    const auto folder = std::filesystem::path(target_).parent_path();
    const int directory = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory >= 0) {
      ::fsync(directory);
      ::close(directory);
    }
#endif
  }

 private:
#if QDISTILL_POSIX
  using Handle = int;
  static constexpr Handle closed = -1;
  int close() { return ::close(std::exchange(handle_, closed)); }
#else
  using Handle = std::FILE*;
  static constexpr Handle closed = nullptr;
  int close() { return std::fclose(std::exchange(handle_, closed)); }
#endif

  [[noreturn]] void stop(const char* what) const {
    const int code = errno;
    fail<FileError>("write_file", path_, ": ", what, ": ", std::strerror(code));
  }

  std::string target_, path_;
  Handle handle_ = closed;
  bool renamed_ = false;
};

}  // namespace detail

/// Replaces the file at `path` (or creates it) by the concatenated parts, as the head of this file says. Its folder
/// must exist. A symbolic link is followed. Throws FileError, and then the old content is still there.
inline void write_file(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  check<FileError>(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), "write_file", path,
                   ": exists and is not a regular file");
  std::string target = path;
  if (std::filesystem::is_symlink(path, ignored)) {
    const auto real = std::filesystem::weakly_canonical(path, ignored);
    if (!real.empty()) target = real.string();
  }
  detail::TemporaryFile file(target);
  for (const auto part : parts) file.write(part);
  file.commit();
}

/// As above, of one part.
inline void write_file(const std::string& path, std::span<const std::byte> bytes) {
  write_file(path, std::span<const std::span<const std::byte>>(&bytes, 1));
}

/// As above, of text.
inline void write_file(const std::string& path, std::string_view content) {
  write_file(path, std::as_bytes(std::span(content.data(), content.size())));
}

}  // namespace qdistill::inline QDISTILL_ABI::io
