/// The images that the programs train on: CIFAR-10, or generated digits that need no file.
#pragma once

#include <filesystem>

#include "qdistill/data/cifar.hpp"
#include "qdistill/data/digits.hpp"

namespace examples {

/// What is generated where there is no folder.
struct Generated {
  qdistill::Index train = 12000, test = 4000;
  double difficulty = 0.5;
};

/// Reads CIFAR-10 from `folder` or the folder that its archive makes in it; an empty `folder` generates digits.
inline void load_images(const std::string& folder, const Generated& generated, qdistill::data::ImageSet& train,
                        qdistill::data::ImageSet& test) {
  namespace data = qdistill::data;
  if (folder.empty()) {
    const double d = generated.difficulty;
    train = data::make_digits({.count = generated.train, .seed = 1, .split = data::Split::train, .difficulty = d});
    test = data::make_digits({.count = generated.test, .seed = 1, .split = data::Split::test, .difficulty = d});
    return;
  }
  const std::string inner = folder + "/cifar-10-batches-bin";
  std::error_code error;
  const bool nested = !std::filesystem::exists(folder + "/test_batch.bin", error) &&
                      std::filesystem::exists(inner + "/test_batch.bin", error);
  train = data::read_cifar10(nested ? inner : folder, data::Split::train);
  test = data::read_cifar10(nested ? inner : folder, data::Split::test);
}

}  // namespace examples
