/// A folder that a test may fill, removed with its content at the end.
#pragma once

#include <filesystem>
#include <random>
#include <string>

struct TemporaryFolder {
  TemporaryFolder() {
    path = std::filesystem::temp_directory_path() / ("qdistill_test_" + std::to_string(std::random_device{}()));
    std::filesystem::create_directory(path);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
  }

  std::filesystem::path path;
};
