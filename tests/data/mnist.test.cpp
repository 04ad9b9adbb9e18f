#include "qdistill/data/mnist.hpp"

#include <catch2/catch.hpp>

#include "error_of.hpp"
#include "temp_dir.hpp"

using namespace qdistill;
using Bytes = std::vector<std::uint8_t>;
using Catch::Matchers::Contains;
using qdistill_test::error_of;

namespace {

void put32(Bytes& out, std::uint32_t v) {
  for (int s = 24; s >= 0; s -= 8) out.push_back(static_cast<std::uint8_t>(v >> s));
}

Bytes idx_images(std::uint32_t n, std::uint32_t h, std::uint32_t w) {
  Bytes out{0, 0, 8, 3};
  put32(out, n), put32(out, h), put32(out, w);
  for (std::uint32_t i = 0; i < n * h * w; ++i) out.push_back(static_cast<std::uint8_t>(i % 253));
  return out;
}

Bytes idx_labels(std::uint32_t n) {
  Bytes out{0, 0, 8, 1};
  put32(out, n);
  for (std::uint32_t i = 0; i < n; ++i) out.push_back(static_cast<std::uint8_t>(i % 10));
  return out;
}

std::string refusal(const Bytes& images, const Bytes& labels) {
  return error_of<FileError>([&] { data::parse_mnist(images, "img", labels, "lab"); });
}

}  // namespace

TEST_CASE("mnist reads idx files", "[data][mnist]") {
  const data::ImageSet set = data::parse_mnist(idx_images(5, 4, 3), "img", idx_labels(5), "lab");
  REQUIRE(set.size() == 5);
  CHECK(set.shape() == data::ImageShape{1, 4, 3});
  CHECK(set.label(4) == 4);
  CHECK(int{set.image(2)[1]} == 25);
}

TEST_CASE("mnist refuses what does not fit", "[data][mnist]") {
  const Bytes images = idx_images(5, 4, 3), labels = idx_labels(5);
  for (std::size_t n = 0; n < images.size(); ++n)
    REQUIRE_THAT(refusal(Bytes(images.begin(), images.begin() + static_cast<std::ptrdiff_t>(n)), labels),
                 Contains("[mnist] img: "));
  for (std::size_t n = 0; n < labels.size(); ++n)
    REQUIRE_THAT(refusal(images, Bytes(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(n))),
                 Contains("[mnist] lab: "));
  Bytes bad = images;
  bad.push_back(0);
  CHECK_THAT(refusal(bad, labels), Contains("img: 77 bytes, expected 76"));
  bad = images;
  bad[3] = 1;
  CHECK_THAT(refusal(bad, labels), Contains("img: 1 at byte 3, expected 3"));
  bad = images;
  bad[2] = 0x0D;  // floats
  CHECK_THAT(refusal(bad, labels), Contains("img: 13 at byte 2, expected 8"));
  bad = labels;
  bad[10] = 10;
  CHECK_THAT(refusal(images, bad), Contains("lab: label 10 at byte 10, expected 0 to 9"));
  CHECK_THAT(refusal(images, idx_labels(6)), Contains("6 labels, expected 5"));
  CHECK_THAT(refusal(idx_labels(20), images), Contains("img: 1 at byte 3, expected 3"));
  bad = images;
  bad[0] = 0x1F, bad[1] = 0x8B;
  CHECK_THAT(refusal(bad, labels), Contains("gzip") && Contains("HINT: run gunzip"));
  // Sizes whose product overflows 64 bits, and a size of zero.
  bad = images;
  for (std::size_t i = 4; i < 16; ++i) bad[i] = 0xFF;
  CHECK_THAT(refusal(bad, labels), Contains("img: size 4294967295 at byte 4"));
  bad = images;
  bad[11] = 0;
  CHECK_THAT(refusal(bad, labels), Contains("img: size 0 at byte 8"));
}

TEST_CASE("mnist is read from a folder", "[data][mnist]") {
  const test::TempDir dir;
  dir.write("t10k-images-idx3-ubyte", idx_images(3, 28, 28));
  CHECK_THAT(error_of<FileError>([&] { data::read_mnist(dir.path(), data::Split::test); }),
             Contains("t10k-labels-idx1-ubyte: cannot be opened. HINT: run data/mnist.sh"));
  dir.write("t10k-labels-idx1-ubyte", idx_labels(3));
  const data::ImageSet set = data::read_mnist(dir.path(), data::Split::test);
  CHECK(set.size() == 3);
  CHECK(set.name == "mnist test");
  dir.write("t10k-labels-idx1-ubyte", {});
  CHECK_THROWS_AS(data::read_mnist(dir.path(), data::Split::test), FileError);
  dir.make_directory("train-images-idx3-ubyte");
  CHECK_THROWS_AS(data::read_mnist(dir.path(), data::Split::train), FileError);
}
