#include "qdistill/data/image_folder.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "error_of.hpp"
#include "image_samples.hpp"
#include "qdistill/data/loader.hpp"
#include "temp_dir.hpp"
#include "threads.hpp"

#if !defined(QDISTILL_TEST_IMAGES)
#define QDISTILL_TEST_IMAGES 0
#endif

using namespace qdistill;
using Catch::Matchers::Contains;
using qdistill_test::error_of;
using qdistill_test::Threads;
namespace fs = std::filesystem;

namespace {

static_assert(data::ImageDataset<data::ImageFolder>);
static_assert(!std::is_constructible_v<data::DataLoader, data::ImageFolder&&>);  // would dangle

/// A dataset that makes its images: value key.epoch * 16 + i, and draws. Image `bad` cannot be made.
struct Made {
  Index count = 10, bad = -1;
  Index size() const { return count; }
  data::ImageShape shape() const { return {1, 2, 2}; }
  Index classes() const { return 3; }
  Index label(Index i) const { return i % 3; }
  bool draws() const { return true; }
  data::ImagePixels image(Index i, const data::DrawKey& key, std::vector<std::uint8_t>& buffer) const {
    if (i == bad) fail<FileError>("made", "image ", i);
    buffer.assign(4, static_cast<std::uint8_t>(key.epoch * 16 + i));
    return {buffer.data(), nullptr};
  }
};

}  // namespace

TEST_CASE("datasets that make their images go wherever stored ones do", "[data][images]") {
  const Made made;
  const data::DatasetRef ref = made;
  CHECK((ref.makes_images() && ref.draws()));
  CHECK_THROWS_WITH(ref.image(3),
                    "[dataset] image 3 is made when asked for, expected a key and a buffer to make it in");
  std::vector<std::uint8_t> buffer;
  CHECK(int{*ref.image(3, {0, 2}, buffer).bytes} == 35);
  CHECK_THROWS_AS(ref.image(10, {}, buffer), ValueError);

  const data::TrainValidation parts = data::split_validation(made, 3, 1);
  const data::DatasetRef validation = parts.validation;
  CHECK((validation.makes_images() && validation.draws()));
  CHECK(int{*validation.image(1, {}, buffer).bytes} == parts.validation.indices()[1]);
  CHECK(data::checksum(made) != data::checksum(Made{9}));

  for (const Index prefetch : {0, 2}) {
    data::DataLoader loader(made, {.batch_size = 4, .normalize = {{0.0f}, {1.0f}}, .prefetch = prefetch});
    CHECK(loader.draws());
    for (Index epoch = 0; epoch < 3; ++epoch)
      for (const data::Batch& batch : loader)
        for (Index k = 0; k < batch.size; ++k)
          REQUIRE(batch.images[static_cast<std::size_t>(4 * k)] ==
                  static_cast<float>(epoch * 16 + batch.number * 4 + k) / 255.0f);
    const Made failing{10, 6};
    data::DataLoader broken(failing, {.batch_size = 4, .prefetch = prefetch});
    CHECK(broken.next().number == 0);
    for (int again = 0; again < 2; ++again) CHECK_THROWS_WITH(broken.next(), "[made] image 6");
    broken.seek({0, 2});
    CHECK(broken.next().number == 2);
  }
  // Stored ones keep working as they did.
  const std::vector<std::uint8_t> pixels{1, 2};
  const std::vector<int> labels{0, 1};
  const data::ImageView<std::uint8_t, int> view("v", {1, 1, 1}, 2, pixels, labels);
  const data::DatasetRef stored = view;
  CHECK((!stored.makes_images() && !stored.draws()));
  CHECK(int{*stored.image(1).bytes} == 2);
  CHECK(!data::DataLoader(view, {.batch_size = 1}).draws());
  CHECK(data::DataLoader(view, {.batch_size = 1, .augment = data::imagenet_augment}).draws());
}

#if QDISTILL_TEST_IMAGES

namespace {

void write(const test::TempDir& dir, const std::string& file, const test::ImageBytes& bytes) {
  fs::create_directories(fs::path(dir.file(file)).parent_path());
  dir.write(file, bytes);
}

}  // namespace

TEST_CASE("image folders: classes by name, files in torchvision's order", "[data][images]") {
  const test::TempDir dir;
  const test::ImageBytes image = test::pattern_png(2, 2);
  for (const char* file : {"b/2.png", "b/10.JPG", "b/x.Jpeg", "b/notes.txt", "b/sub/0.png", "b/sub-1/9.png",
                           "b/sub/deep/1.png", "b/a.png", "B/1.png", "a c/1.jpeg", "loose.png"})
    write(dir, file, image);
  const data::ImageFolder set(dir.path());
  CHECK(set.class_names() == std::vector<std::string>{"B", "a c", "b"});
  std::vector<std::string> files;
  std::vector<Index> labels;
  for (Index i = 0; i < set.size(); ++i) {
    files.push_back(set.path(i).substr(dir.path().size() + 1));
    labels.push_back(set.label(i));
  }
  CHECK(files == std::vector<std::string>{"B/1.png", "a c/1.jpeg", "b/10.JPG", "b/2.png", "b/a.png", "b/x.Jpeg",
                                          "b/sub/0.png", "b/sub-1/9.png", "b/sub/deep/1.png"});
  CHECK(labels == std::vector<Index>{0, 1, 2, 2, 2, 2, 2, 2, 2});
  CHECK(set.shape() == data::ImageShape{3, 224, 224});
  CHECK_THROWS_AS(set.path(9), ValueError);
  CHECK_THROWS_AS(set.label(-1), ValueError);
}

TEST_CASE("image folders: what cannot be listed is named", "[data][images]") {
  const test::TempDir dir;
  const auto message = [&](const std::string& path) {
    return error_of<FileError>([&] { data::ImageFolder set(path); });
  };
  CHECK_THAT(message(dir.file("none")), Contains("[image_folder] ") && Contains("none: cannot be listed: No such"));
  CHECK_THAT(message(dir.path()), Contains("no folder in it, expected one for each class"));
  write(dir, "file.png", test::pattern_png(1, 1));
  CHECK_THAT(message(dir.file("file.png")), Contains("file.png: cannot be listed"));
  write(dir, "a/1.png", test::pattern_png(1, 1));
  dir.make_directory("empty");
  CHECK_THAT(message(dir.path()), Contains("/empty: no image in it that can be read"));
  fs::remove(dir.file("empty"));
  CHECK(message(dir.path()) == "no error");

  SECTION("a link back to a folder above, directly and through others") {
    fs::create_directory_symlink(dir.file("a"), dir.file("a/again"));
    CHECK_THAT(message(dir.path()), Contains("/a/again: a link back to ") && Contains("/a, in which it lies"));
    fs::remove(dir.file("a/again"));
    fs::create_directories(dir.file("a/b/c"));
    fs::create_directory_symlink(dir.path(), dir.file("a/b/c/root"));
    CHECK_THAT(message(dir.path()), Contains("/a/b/c/root: a link back to "));
  }
  SECTION("a link to itself") {
    fs::create_symlink("self", dir.file("a/self"));
    CHECK_THAT(message(dir.path()), Contains("/a/self: "));
  }
  SECTION("a link beside is followed") {
    write(dir, "c/2.png", test::pattern_png(1, 1));
    fs::create_directory_symlink(dir.file("c"), dir.file("a/more"));
    CHECK(data::ImageFolder(dir.path()).size() == 3);
  }
  SECTION("a folder without permission") {
    fs::permissions(dir.file("a"), fs::perms::none);
    std::error_code error;
    fs::directory_iterator it(dir.file("a"), error);
    if (error) CHECK_THAT(message(dir.path()), Contains("/a: "));
    else WARN("skipped: this user may read folders without permission");
    fs::permissions(dir.file("a"), fs::perms::owner_all);
  }
}

TEST_CASE("image folders: settings that cannot work are refused", "[data][images]") {
  const test::TempDir dir;
  write(dir, "a/1.png", test::pattern_png(1, 1));
  CHECK_THROWS_AS(data::ImageFolder(dir.path(), {.height = 300}), ValueError);
  CHECK_THROWS_AS(data::ImageFolder(dir.path(), {.width = 0}), ValueError);
  CHECK_NOTHROW(data::ImageFolder(dir.path(), {.height = 300, .fit = data::ResizeExact{}}));
}

namespace {

/// Three classes of 8 x 6 to 20 x 14 pixels.
void write_images(const test::TempDir& dir) {
  for (Index i = 0; i < 24; ++i) write(dir, text("c", i % 3, "/", i, ".png"), test::pattern_png(8 + i % 13, 6 + i % 9));
}

std::vector<float> all_of(data::DataLoader& loader, Index batches) {
  std::vector<float> out;
  for (Index b = 0; b < batches; ++b) {
    const data::Batch& batch = loader.next();
    out.insert(out.end(), batch.images.begin(), batch.images.end());
  }
  return out;
}

}  // namespace

TEST_CASE("image folders: images are decoded, resized and cropped", "[data][images]") {
  const test::TempDir dir;
  write(dir, "a/1.png", test::pattern_png(9, 12));
  write(dir, "b/2.jpg", test::baseline_jpeg());
  const data::ImageFolder set(dir.path(), {.height = 5, .width = 4, .fit = data::ResizeCenterCrop{6}});
  CHECK(set.decode(0).pixels == test::pattern_image(9, 12).pixels);
  std::vector<std::uint8_t> buffer, expected(60);
  const data::ImagePixels p = set.image(0, {}, buffer);
  CHECK(p.bytes == buffer.data());
  data::resize_image(test::pattern_image(9, 12), {{0, 0, 9, 12}, 6, 8, {0, 2, 5, 4}}, expected.data());
  CHECK(buffer == expected);
  CHECK(set.image(1, {}, buffer).bytes == buffer.data());
  CHECK(buffer.size() == 60);
}

TEST_CASE("image folders: batches have the same bits with any number of threads", "[data][images]") {
  const test::TempDir dir;
  write_images(dir);
  const data::ImageFolder set(dir.path(), {.height = 7, .width = 7, .fit = data::RandomResizedCrop{}});
  REQUIRE(set.size() == 24);
  const auto read = [&](int threads, Index prefetch, std::uint64_t seed) {
    const Threads setting(threads);
    data::DataLoader loader(set, {.batch_size = 5,
                                  .shuffle = true,
                                  .augment = data::imagenet_augment,
                                  .normalize = data::imagenet_normalize(),
                                  .seed = seed,
                                  .prefetch = prefetch});
    return all_of(loader, 15);
  };
  const std::vector<float> one = read(1, 2, 4);
  CHECK(read(4, 2, 4) == one);
  CHECK(read(4, 0, 4) == one);
  CHECK(read(1, 2, 5) != one);

  // What is drawn changes with the epoch, and not with the batch an image is in.
  std::vector<std::uint8_t> first, again, later;
  set.image(3, {9, 0}, first);
  set.image(3, {9, 0}, again);
  set.image(3, {9, 1}, later);
  CHECK(first == again);
  CHECK(first != later);
}

TEST_CASE("image folders: a split for validation reads them through", "[data][images]") {
  const test::TempDir dir;
  write_images(dir);
  const data::ImageFolder set(dir.path(), {.height = 6, .width = 6, .fit = data::ResizeCenterCrop{6}});
  const data::TrainValidation parts = data::split_validation(set, 6, 2);
  data::DataLoader loader(parts.validation, {.batch_size = 6});
  const data::Batch& batch = loader.next();
  for (Index k = 0; k < 3; ++k) CHECK(std::count(batch.labels.begin(), batch.labels.end(), k) == 2);
  CHECK(!loader.draws());
}

TEST_CASE("image folders: bad files are refused by name, or left out and listed", "[data][images]") {
  const test::TempDir dir;
  const test::ImageBytes good = test::pattern_png(4, 4);
  write(dir, "a/1.png", good);
  write(dir, "b/5.png", good);
  const test::ImageBytes cut(good.begin(), good.end() - 20);
  test::ImageBytes cut_jpeg = test::baseline_jpeg();
  cut_jpeg.resize(cut_jpeg.size() - 10);
  write(dir, "a/2 cut.png", cut);
  write(dir, "a/3 cut.jpg", cut_jpeg);
  write(dir, "a/4 empty.jpg", {});
  write(dir, "a/5 text.png", {'h', 'e', 'l', 'l', 'o'});
  write(dir, "a/6 huge.png", test::png_of(1u << 31, 1u << 31, 8, 2, {0}));
  write(dir, "a/7 other.webp", {'R', 'I', 'F', 'F'});
  write(dir, "a/8 short.png", test::png_of(9, 9, 8, 2, {0}));
  fs::create_symlink("nowhere", dir.file("a/9 link.png"));

  const data::ImageFolderOptions small{.height = 2, .width = 2, .fit = data::ResizeExact{}};
  const data::ImageFolder strict(dir.path(), small);
  REQUIRE(strict.size() == 10);
  std::vector<std::uint8_t> buffer;
  CHECK_NOTHROW(strict.image(0, {}, buffer));
  for (Index i = 1; i < 9; ++i)
    CHECK_THAT(error_of<FileError>([&] { strict.image(i, {}, buffer); }), Contains("[image] " + strict.path(i) + ": "));
  data::DataLoader loader(strict, {.batch_size = 10});
  CHECK_THAT(error_of<FileError>([&] { loader.next(); }), Contains("[image] " + dir.path() + "/a/"));

  data::ImageFolderOptions skipping = small;
  skipping.bad = data::BadImages::skip;
  for (const int threads : {1, 4}) {
    const Threads setting(threads);
    const data::ImageFolder set(dir.path(), skipping);
    CHECK(set.size() == 2);
    CHECK((set.label(0) == 0 && set.label(1) == 1));
    REQUIRE(set.skipped().size() == 8);
    const char* reasons[] = {"the file is cut",     "the file is cut", "the file is empty", "neither a JPEG nor a PNG",
                             "claims 2147483648 x", "neither a JPEG",  "not enough pixels", "not a regular file"};
    for (Index i = 0; i < 8; ++i) {
      const data::BadImage& bad = set.skipped()[static_cast<std::size_t>(i)];
      CHECK(bad.path == strict.path(i + 1));
      CHECK_THAT(bad.reason, Contains(bad.path) && Contains(reasons[i]));
    }
  }
  skipping.limits.file_bytes = 20;
  CHECK_THAT(error_of<FileError>([&] { data::ImageFolder set(dir.path(), skipping); }),
             Contains("/a: no image in it that can be read") && Contains("10 files were left out") &&
                 Contains("1.png: 120 bytes, expected at most 20"));
}

TEST_CASE("the real Imagenette subset", "[data][images]") {
  const char* dir = std::getenv("QDISTILL_IMAGENETTE_DIR");
  if (!dir || !*dir) {
    WARN("skipped: set QDISTILL_IMAGENETTE_DIR to a folder with Imagenette's train and val to read them");
    return;
  }
  for (const char* part : {"train", "val"}) {
    const data::ImageFolder set(data::detail::join(dir, part), {.bad = data::BadImages::skip});
    CHECK(set.classes() == 10);
    CHECK(set.class_names()[0] == "n01440764");
    CHECK(set.skipped().empty());
    data::DataLoader loader(set, {.batch_size = 64, .normalize = data::imagenet_normalize()});
    double sum = 0, squares = 0;
    Index values = 0;
    for (const data::Batch& batch : loader)
      for (const float v : batch.images) sum += v, squares += v * v, ++values;
    CHECK(values == set.size() * 3 * 224 * 224);
    // ImageNet's constants were taken from such photographs.
    CHECK(sum / static_cast<double>(values) == Approx(0).margin(0.25));
    CHECK(squares / static_cast<double>(values) == Approx(1).margin(0.7));
  }
}

#else

TEST_CASE("image folders: reading", "[data][images]") {
  WARN("skipped: stb_image was not found, so qdistill::images is not built. HINT: install libstb-dev");
}

#endif
