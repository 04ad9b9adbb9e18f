#include "qdistill/data/loader.hpp"

#include <catch2/catch.hpp>

#include "qdistill/data/digits.hpp"

using namespace qdistill;

namespace {

/// What a batch held, copied.
struct Copy {
  std::vector<float> images;
  std::vector<Index> labels, indices;
  Index epoch, number;
  friend bool operator==(const Copy&, const Copy&) = default;
};

Copy copy_of(const data::Batch& b) {
  return {{b.images.begin(), b.images.end()},
          {b.labels.begin(), b.labels.end()},
          {b.indices.begin(), b.indices.end()},
          b.epoch,
          b.number};
}

std::vector<Copy> take(data::DataLoader& loader, Index batches) {
  std::vector<Copy> out;
  for (Index i = 0; i < batches; ++i) out.push_back(copy_of(loader.next()));
  return out;
}

data::LoaderOptions training(Index batch_size, Index prefetch = 2) {
  data::LoaderOptions o;
  o.batch_size = batch_size;
  o.shuffle = true;
  o.augment = data::cifar_augment;
  o.seed = 11;
  o.prefetch = prefetch;
  return o;
}

/// Throws when image `bad` is read.
struct Failing {
  const data::ImageSet* set;
  Index bad;
  Index size() const { return set->size(); }
  data::ImageShape shape() const { return set->shape(); }
  Index classes() const { return 10; }
  std::span<const std::uint8_t> image(Index i) const {
    if (i == bad) fail<FileError>("failing", "image ", i, " cannot be read");
    return set->image(i);
  }
  Index label(Index i) const { return set->label(i); }
};

}  // namespace

TEST_CASE("an epoch hands out every image once", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 103});
  for (const Index prefetch : {0, 1, 2, 5}) {
    data::DataLoader loader(set, training(10, prefetch));
    CHECK(loader.batches_per_epoch() == 11);
    std::vector<std::vector<Index>> orders;
    for (Index epoch = 0; epoch < 3; ++epoch) {
      std::vector<Index> order;
      Index number = 0;
      for (const data::Batch& batch : loader) {
        CHECK(batch.epoch == epoch);
        CHECK(batch.number == number++);
        CHECK(batch.size == (number == 11 ? 3 : 10));
        CHECK(batch.last == (number == 11));
        CHECK(batch.images.size() == static_cast<std::size_t>(batch.size * 3072));
        for (Index k = 0; k < batch.size; ++k) {
          const auto at = static_cast<std::size_t>(k);
          order.push_back(batch.indices[at]);
          CHECK(batch.labels[at] == set.label(batch.indices[at]));
        }
      }
      CHECK(number == 11);
      orders.push_back(order);
      std::sort(order.begin(), order.end());
      for (Index i = 0; i < 103; ++i) REQUIRE(order[static_cast<std::size_t>(i)] == i);
    }
    CHECK(orders[0] != orders[1]);
    CHECK(orders[1] != orders[2]);
  }
}

TEST_CASE("evaluation is in order and the same every epoch", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 25});
  data::DataLoader loader(set, {.batch_size = 10});
  const data::ImageTransform plain(set.shape(), {});
  std::vector<float> expected(3072);
  for (int epoch = 0; epoch < 2; ++epoch) {
    Index i = 0;
    for (const data::Batch& batch : loader)
      for (Index k = 0; k < batch.size; ++k, ++i) {
        REQUIRE(batch.indices[static_cast<std::size_t>(k)] == i);
        plain({set.image(i).data(), nullptr}, {}, expected.data());
        REQUIRE(std::equal(expected.begin(), expected.end(), batch.images.begin() + k * 3072));
      }
    CHECK(i == 25);
  }
}

TEST_CASE("batches depend on seed, epoch and number alone", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 50});
  data::DataLoader a(set, training(8)), b(set, training(8, 0)), c(set, training(8, 7));
  const std::vector<Copy> all = take(a, 21);
  CHECK(take(b, 21) == all);
  CHECK(take(c, 21) == all);
  data::LoaderOptions other = training(8);
  other.seed = 12;
  data::DataLoader d(set, other);
  CHECK(take(d, 1)[0].indices != all[0].indices);

  // What is drawn for an image does not depend on the size of the batch it is in.
  data::DataLoader single(set, training(1));
  for (std::size_t k = 0; k < 8; ++k) {
    const data::Batch& one = single.next();
    REQUIRE(one.indices[0] == all[0].indices[k]);
    REQUIRE(std::equal(one.images.begin(), one.images.end(), all[0].images.begin() + static_cast<Index>(k) * 3072));
  }
}

TEST_CASE("resuming in the middle equals an unbroken run", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 45});
  data::DataLoader whole(set, training(10));
  const std::vector<Copy> all = take(whole, 20);  // four epochs of five batches
  for (const Index prefetch : {0, 1, 3})
    for (const Index at : {0, 1, 4, 5, 7, 13, 19}) {
      data::DataLoader first(set, training(10, prefetch));
      take(first, at);
      const data::LoaderPosition position = first.position();
      CHECK(position == data::LoaderPosition{at / 5, at % 5});
      data::DataLoader resumed(set, training(10, prefetch));
      resumed.seek(position);
      for (std::size_t i = static_cast<std::size_t>(at); i < all.size(); ++i)
        REQUIRE(copy_of(resumed.next()) == all[i]);
    }
  // Back and forth within one loader, right after its thread ran ahead.
  data::DataLoader loader(set, training(10, 3));
  for (const Index at : {7, 2, 2, 19, 0, 3, 4, 11}) {
    loader.seek({at / 5, at % 5});
    REQUIRE(copy_of(loader.next()) == all[static_cast<std::size_t>(at)]);
  }
  CHECK_THROWS_AS(loader.seek({0, 5}), ValueError);
  CHECK_THROWS_AS(loader.seek({-1, 0}), ValueError);
  CHECK_THROWS_AS(loader.seek({0, -1}), ValueError);
  CHECK(copy_of(loader.next()) == all[12]);
}

TEST_CASE("a loop left early is continued by the next", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 40});
  data::DataLoader loader(set, training(10));
  for (const data::Batch& batch : loader)
    if (batch.number == 1) break;
  CHECK(loader.position() == data::LoaderPosition{0, 2});
  std::vector<Index> numbers;
  for (const data::Batch& batch : loader) numbers.push_back(batch.number);
  CHECK(numbers == std::vector<Index>{2, 3});
  CHECK(loader.position() == data::LoaderPosition{1, 0});
}

TEST_CASE("drop_last leaves out the short batch", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 25});
  data::LoaderOptions options = training(10);
  options.drop_last = true;
  data::DataLoader loader(set, options);
  CHECK(loader.batches_per_epoch() == 2);
  CHECK(loader.images_per_epoch() == 20);
  Index images = 0;
  for (const data::Batch& batch : loader) images += batch.size;
  CHECK(images == 20);
  options.batch_size = 26;
  CHECK_THROWS_WITH(data::DataLoader(set, options),
                    "[data_loader] got 25 images with drop_last and a batch size of 26, expected at least one full "
                    "batch");
}

TEST_CASE("a dataset smaller than a batch, and of one image", "[data][loader]") {
  for (const Index n : {1, 7}) {
    const data::ImageSet set = data::make_digits({.count = n});
    data::DataLoader loader(set, training(128));
    CHECK(loader.batches_per_epoch() == 1);
    for (int epoch = 0; epoch < 5; ++epoch) {
      const data::Batch& batch = loader.next();
      CHECK(batch.size == n);
      CHECK(batch.last);
      CHECK(batch.epoch == epoch);
    }
  }
}

TEST_CASE("settings that cannot work are refused", "[data][loader]") {
  const data::ImageSet none = data::make_digits({.count = 0});
  CHECK_THROWS_WITH(data::DataLoader(none), "[data_loader] got an empty dataset, expected at least one image");
  const data::ImageSet set = data::make_digits({.count = 3});
  CHECK_THROWS_AS(data::DataLoader(set, training(0)), ValueError);
  CHECK_THROWS_AS(data::DataLoader(set, training(-5)), ValueError);
  CHECK_THROWS_AS(data::DataLoader(set, training(1, -1)), ValueError);
  CHECK_THROWS_AS(data::DataLoader(set, training(1, 5000)), ValueError);
  data::LoaderOptions options = training(1);
  options.normalize.mean = {0.1f, 0.2f};
  CHECK_THROWS_AS(data::DataLoader(set, options), ShapeError);
  CHECK(data::DataLoader(set, training(Index{1} << 60)).next().size == 3);
}

TEST_CASE("an exception of the dataset reaches the caller at its batch", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 40});
  const Failing failing{&set, 25};
  for (const Index prefetch : {0, 1, 3}) {
    data::LoaderOptions options;
    options.batch_size = 10;
    options.prefetch = prefetch;
    data::DataLoader loader(failing, options);
    CHECK(loader.next().number == 0);
    CHECK(loader.next().number == 1);
    for (int again = 0; again < 3; ++again) CHECK_THROWS_WITH(loader.next(), "[failing] image 25 cannot be read");
    CHECK(loader.position() == data::LoaderPosition{0, 2});
    loader.seek({0, 3});
    CHECK(loader.next().number == 3);
    CHECK(loader.next().epoch == 1);
  }
  // Also what DatasetRef finds wrong.
  data::ImageSet wrong = set;
  wrong.labels[5] = 10;
  data::DataLoader loader(wrong, training(8));
  CHECK_THROWS_AS(take(loader, loader.batches_per_epoch()), ValueError);
}

TEST_CASE("a loader may be destroyed at any time", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 64});
  const Failing failing{&set, 3};
  for (Index used = 0; used < 12; ++used)
    for (const Index prefetch : {0, 1, 4}) {
      data::DataLoader loader(set, training(8, prefetch));
      CHECK(take(loader, used).size() == static_cast<std::size_t>(used));
      if (used % 3 == 1) loader.seek({used, 0});
    }
  data::DataLoader loader(failing, training(64));
  CHECK_THROWS_AS(loader.next(), FileError);
}

TEST_CASE("buffers are recycled", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 64});
  data::DataLoader loader(set, training(8, 2));
  std::vector<const float*> seen;
  for (int i = 0; i < 30; ++i) {
    const float* p = loader.next().images.data();
    if (std::find(seen.begin(), seen.end(), p) == seen.end()) seen.push_back(p);
  }
  CHECK(seen.size() == 3);
}

TEST_CASE("a loader reads a validation split and float images", "[data][loader]") {
  const data::ImageSet set = data::make_digits({.count = 100});
  const data::TrainValidation split = data::split_validation(set, 20, 4);
  data::DataLoader loader(split.validation, {.batch_size = 20});
  const data::Batch& batch = loader.next();
  for (std::size_t k = 0; k < 20; ++k) {
    CHECK(batch.indices[k] == static_cast<Index>(k));
    CHECK(batch.labels[k] == set.label(split.validation.indices()[k]));
  }
  const std::vector<float> pixels{1, 2, 3, 4};
  const std::vector<int> labels{1, 0};
  const data::ImageView<float, int> view("mine", {1, 1, 2}, 2, pixels, labels);
  data::DataLoader floats(view, {.batch_size = 2, .normalize = {{1.0f}, {2.0f}}});
  const data::Batch& b = floats.next();
  CHECK(std::vector<float>(b.images.begin(), b.images.end()) == std::vector<float>{0, 0.5f, 1, 1.5f});
}
