#include "qdistill/data/dataset.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace qdistill;
using Catch::Matchers::Contains;

namespace {

/// The dataset of the header's example, with 2 x 2 images.
struct Faces {
  std::vector<float> pixels;
  std::vector<int> people;
  Index size() const { return static_cast<Index>(people.size()); }
  data::ImageShape shape() const { return {1, 2, 2}; }
  Index classes() const { return 3; }
  std::span<const float> image(Index i) const { return {pixels.data() + i * 4, 4}; }
  Index label(Index i) const { return people[static_cast<std::size_t>(i)]; }
};
static_assert(data::ImageDataset<Faces>);
static_assert(data::ImageDataset<data::ImageSet>);
static_assert(data::ImageDataset<data::Subset>);
static_assert(data::ImageDataset<data::ImageView<float, int>>);
static_assert(data::ImageDataset<data::DatasetRef>);
static_assert(!data::ImageDataset<int>);
// A subset of a temporary set would dangle.
static_assert(!std::is_constructible_v<data::Subset, data::ImageSet, std::vector<Index>>);
static_assert(std::is_constructible_v<data::Subset, const data::ImageSet&, std::vector<Index>>);

data::ImageSet labelled(const std::vector<std::int32_t>& labels, Index classes) {
  data::ImageSet set;
  set.image_shape = {1, 1, 2};
  set.class_count = classes;
  set.labels = labels;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    set.pixels.push_back(static_cast<std::uint8_t>(i));
    set.pixels.push_back(static_cast<std::uint8_t>(labels[i]));
  }
  return set;
}

}  // namespace

TEST_CASE("a user's own dataset is read through DatasetRef", "[data][dataset]") {
  const Faces faces{{0, 1, 2, 3, 4, 5, 6, 7}, {2, 1}};
  const data::DatasetRef ref = faces;
  CHECK(ref.size() == 2);
  CHECK(ref.classes() == 3);
  CHECK(ref.image(1).bytes == nullptr);
  CHECK(ref.image(1).floats[3] == 7.0f);
  CHECK(ref.label(0) == 2);
  CHECK_THROWS_AS(ref.image(2), ValueError);
  CHECK_THROWS_AS(ref.label(-1), ValueError);
}

TEST_CASE("DatasetRef checks what a dataset returns", "[data][dataset]") {
  data::ImageSet set = labelled({0, 1, 7}, 3);
  const data::DatasetRef ref = set;
  CHECK_THROWS_WITH(ref.label(2), "[dataset] got label 7 for image 2, expected 0 to 2");
  set.pixels.resize(5);
  CHECK_THROWS_AS(set.label(3), ValueError);
  CHECK_THROWS_AS(set.label(-1), ValueError);
  CHECK_THROWS_WITH(ref.image(2), "[dataset] got 0 values for image 2, expected 2");
  set.image_shape = {1, 0, 2};
  CHECK_THROWS_AS(data::DatasetRef(set), ShapeError);
  set.image_shape = {Index{1} << 40, Index{1} << 40, 2};
  CHECK_THROWS_AS(data::DatasetRef(set), ShapeError);
  set.image_shape = {1, 1, 2};
  set.class_count = 0;
  CHECK_THROWS_AS(data::DatasetRef(set), ValueError);
}

TEST_CASE("a view over spans checks sizes and labels", "[data][dataset]") {
  const std::vector<std::uint8_t> pixels(12, 9);
  const std::vector<std::uint16_t> labels{0, 1, 1};
  const data::ImageView<std::uint8_t, std::uint16_t> view("mine", {1, 2, 2}, 2, pixels, labels);
  CHECK(view.size() == 3);
  CHECK(view.image(2).size() == 4);
  CHECK(view.label(1) == 1);
  using View = data::ImageView<std::uint8_t, std::uint16_t>;
  CHECK_THROWS_WITH(View("mine", {1, 2, 3}, 2, pixels, labels),
                    "[mine] got 12 pixel values for 3 labels, expected 6 for each");
  CHECK_THROWS_AS(View("mine", {1, 2, 4}, 2, pixels, labels), ShapeError);
  CHECK_THROWS_WITH(View("mine", {1, 2, 2}, 1, pixels, labels), "[mine] got label 1 for image 1, expected 0 to 0");
  CHECK_THROWS_AS(View("mine", {0, 2, 2}, 2, pixels, labels), ShapeError);
}

TEST_CASE("a subset keeps the order asked for and flattens", "[data][dataset]") {
  const data::ImageSet set = labelled({0, 1, 2, 0, 1, 2}, 3);
  const data::Subset a(set, {5, 3, 1});
  CHECK(a.size() == 3);
  CHECK(a.label(0) == 2);
  CHECK(int{a.image(1).bytes[0]} == 3);
  const data::Subset b(a, {2, 0});
  CHECK(std::vector<Index>(b.indices().begin(), b.indices().end()) == std::vector<Index>{1, 5});
  CHECK(data::DatasetRef(b).label(1) == 2);
  CHECK_THROWS_AS(data::Subset(set, {6}), ValueError);
  CHECK_THROWS_AS(data::Subset(a, {3}), ValueError);
  CHECK_THROWS_AS(data::Subset(a, {-1}), ValueError);
}

TEST_CASE("a validation split is disjoint, complete, balanced and fixed by its seed", "[data][dataset]") {
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 600; ++i) labels.push_back(i % 6 == 0 ? 2 : i % 2);  // classes 0, 1, 2: 200, 300, 100
  const data::ImageSet set = labelled(labels, 4);                          // class 3 is empty
  const data::TrainValidation split = data::split_validation(set, 60, 1);
  CHECK(split.train.size() == 540);
  REQUIRE(split.validation.size() == 60);
  std::vector<int> count(4);
  for (Index i = 0; i < 60; ++i) ++count[static_cast<std::size_t>(split.validation.label(i))];
  CHECK(count == std::vector<int>{20, 30, 10, 0});
  std::set<Index> all(split.train.indices().begin(), split.train.indices().end());
  all.insert(split.validation.indices().begin(), split.validation.indices().end());
  CHECK(all.size() == 600);
  CHECK(std::is_sorted(split.validation.indices().begin(), split.validation.indices().end()));

  const auto ids = [](const data::Subset& s) { return std::vector<Index>(s.indices().begin(), s.indices().end()); };
  CHECK(ids(data::split_validation(set, 60, 1).validation) == ids(split.validation));
  CHECK(ids(data::split_validation(set, 60, 2).validation) != ids(split.validation));
  CHECK(data::split_validation(set, 0, 1).validation.size() == 0);
  CHECK(data::split_validation(set, 600, 1).train.size() == 0);
  CHECK_THROWS_AS(data::split_validation(set, 601, 1), ValueError);
  CHECK_THROWS_AS(data::split_validation(set, -1, 1), ValueError);

  // Shares that are no whole numbers still add up, and a split of a subset refers to the set itself.
  const data::Subset few = data::balanced_subset(set, 101, 5);
  CHECK(few.size() == 101);
  const data::TrainValidation again = data::split_validation(few, 10, 3);
  CHECK(again.train.size() == 91);
  for (const Index i : again.validation.indices())
    CHECK(std::count(few.indices().begin(), few.indices().end(), i) == 1);
}

TEST_CASE("the checksum sees pixels, labels, order and shape", "[data][dataset]") {
  data::ImageSet set = labelled({0, 1, 2, 0}, 3);
  const std::uint64_t sum = data::checksum(set);
  CHECK(data::checksum(labelled({0, 1, 2, 0}, 3)) == sum);
  CHECK(data::checksum(data::Subset(set, {0, 1, 2, 3})) == sum);
  CHECK(data::checksum(data::Subset(set, {0, 1, 3, 2})) != sum);
  CHECK(data::checksum(labelled({0, 1, 2, 0}, 4)) != sum);
  set.pixels[7] ^= 1;
  CHECK(data::checksum(set) != sum);
  set.pixels[7] ^= 1;
  set.labels[3] = 1;
  CHECK(data::checksum(set) != sum);
  set.labels[3] = 0;
  set.image_shape = {1, 2, 1};
  CHECK(data::checksum(set) != sum);
}
