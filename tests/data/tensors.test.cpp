#include "qdistill/data/tensors.hpp"

#include <catch2/catch.hpp>

#include "qdistill/data/digits.hpp"

using namespace qdistill;

TEST_CASE("batches become tensors that outlive the loader's buffers", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 20});
  data::DataLoader loader(set, {.batch_size = 8, .shuffle = true, .prefetch = 1});
  const data::Batch& batch = loader.next();
  const std::vector<float> images(batch.images.begin(), batch.images.end());
  const std::vector<Index> labels(batch.labels.begin(), batch.labels.end());
  const auto [x, target] = data::to_tensors(batch);
  for (int i = 0; i < 7; ++i) loader.next();
  CHECK(x.shape() == Shape{8, 3, 32, 32});
  CHECK(target.shape() == Shape{8});
  CHECK(x.to_vector() == images);
  CHECK(target.to_vector() == labels);
}
