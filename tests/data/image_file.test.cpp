#include "qdistill/data/image_file.hpp"

#include <catch2/catch.hpp>

#include "error_of.hpp"
#include "image_samples.hpp"
#include "qdistill/core/random.hpp"
#include "temp_dir.hpp"

#if !defined(QDISTILL_TEST_IMAGES)
#define QDISTILL_TEST_IMAGES 0
#endif

using namespace qdistill;
using Catch::Matchers::Contains;
using qdistill_test::error_of;
using test::ImageBytes;

namespace {

std::string refusal(const ImageBytes& bytes, const data::ImageLimits& limits = {}) {
  return error_of<FileError>([&] { data::check_image(bytes, "dir/a.jpg", limits); });
}

/// Where the first segment with this marker begins.
std::size_t segment(const ImageBytes& jpeg, std::uint8_t marker) {
  for (std::size_t i = 2; i + 4 < jpeg.size(); i += 2u + static_cast<std::size_t>(jpeg[i + 2] << 8 | jpeg[i + 3]))
    if (jpeg[i + 1] == marker) return i;
  FAIL("no such segment");
  return 0;
}

}  // namespace

TEST_CASE("image files: the size of what is well formed", "[data][images]") {
  const auto size_of = [](const ImageBytes& bytes) {
    const data::ImageHeader h = data::check_image(bytes, "a");
    return std::pair(h.height, h.width);
  };
  CHECK(size_of(test::pattern_png(3, 5)) == std::pair<Index, Index>(3, 5));
  CHECK(size_of(test::pattern_png(1, 1)) == std::pair<Index, Index>(1, 1));
  CHECK(size_of(test::baseline_jpeg()) == std::pair<Index, Index>(16, 16));
  CHECK(size_of(test::progressive_jpeg()) == std::pair<Index, Index>(16, 24));
  const std::uint8_t end[] = {'I', 'E', 'N', 'D'};
  CHECK(data::detail::png_crc(end, 4) == 0xAE426082u);  // as at the end of every PNG file
}

TEST_CASE("image files: cut at any byte they are refused by name", "[data][images]") {
  for (const ImageBytes& whole : {test::pattern_png(3, 5), test::baseline_jpeg(), test::progressive_jpeg()})
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const std::string m = refusal(ImageBytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)));
      REQUIRE_THAT(m, Contains("[image] dir/a.jpg: "));
      if (n > 8) REQUIRE_THAT(m, Contains("the file is cut"));
    }
}

TEST_CASE("image files: a flipped bit in a PNG is noticed", "[data][images]") {
  const ImageBytes whole = test::pattern_png(3, 5);
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      ImageBytes damaged = whole;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ 1 << bit);
      REQUIRE(refusal(damaged) != "");
    }
  ImageBytes damaged = whole;
  damaged[50] ^= 1;
  CHECK_THAT(refusal(damaged), Contains("the checksum of the chunk at byte 33 is wrong"));
}

TEST_CASE("image files: claims are checked before anything is decoded", "[data][images]") {
  CHECK_THAT(refusal(test::png_of(1u << 31, 1, 8, 2, {0})), Contains("claims 2147483648 x 1 pixels, expected at most"));
  CHECK_THAT(refusal(test::png_of(0xFFFFFFFFu, 0xFFFFFFFFu, 16, 6, {0})), Contains("claims 4294967295 x 4294967295"));
  CHECK_THAT(refusal(test::png_of(0, 7, 8, 2, {0})), Contains("claims 0 x 7 pixels"));
  CHECK_THAT(refusal(test::png_of(5000, 5000, 8, 2, {0})), Contains("more than 69 bytes can hold"));
  CHECK_THAT(refusal(test::png_of(2, 2, 8, 5, {0})), Contains("colour type 5"));
  CHECK(refusal(test::png_of(100, 100, 1, 0, {0})) ==
        "no error");  // that much may be there; decoding finds that it is not
  CHECK_THAT(refusal(test::pattern_png(30, 40), {.file_bytes = 1 << 20, .pixels = 1000}),
             Contains("claims 30 x 40 pixels, expected at most 1000"));
  CHECK_THAT(refusal(test::pattern_png(30, 40), {.file_bytes = 1000}), Contains("bytes, expected at most 1000"));

  ImageBytes jpeg = test::baseline_jpeg();
  const std::size_t frame = segment(jpeg, 0xC0);
  for (const std::size_t i : {5u, 6u, 7u, 8u}) jpeg[frame + i] = 0xFF;
  CHECK_THAT(refusal(jpeg), Contains("claims 65535 x 65535 pixels, expected at most 67108864"));
  CHECK_THAT(refusal(jpeg, {.pixels = Index{1} << 40}), Contains("more than 303 bytes can hold"));
  jpeg[frame + 5] = jpeg[frame + 6] = 0;
  CHECK_THAT(refusal(jpeg), Contains("claims 0 x 65535 pixels"));
}

TEST_CASE("image files: what is no JPEG or PNG, or of an unread kind", "[data][images]") {
  CHECK_THAT(refusal({}), Contains("the file is empty"));
  CHECK_THAT(refusal({'G', 'I', 'F', '8', '9', 'a', 1, 0}), Contains("neither a JPEG nor a PNG file"));
  CHECK_THAT(refusal({0xFF, 0xD8}), Contains("neither a JPEG nor a PNG file"));
  ImageBytes jpeg = test::baseline_jpeg();
  jpeg[segment(jpeg, 0xC0) + 1] = 0xC9;
  CHECK_THAT(refusal(jpeg), Contains("expected baseline or progressive"));
  CHECK_THAT(refusal({0xFF, 0xD8, 0xFF, 0xD9}), Contains("holds no image"));
}

TEST_CASE("image files: Huffman tables stay within 256 codes and their segment", "[data][images]") {
  ImageBytes jpeg = test::baseline_jpeg();
  const std::size_t at = segment(jpeg, 0xC4);
  ImageBytes many{0xFF, 0xC4, 1, 0x14, 0x00, 0, 0, 0, 0, 0, 0, 0, 128, 129};  // 257 codes of length 8 and 9
  many.resize(4 + 17 + 257, 0);
  many[2] = static_cast<std::uint8_t>((many.size() - 2) >> 8), many[3] = static_cast<std::uint8_t>(many.size() - 2);
  ImageBytes spliced(jpeg.begin(), jpeg.begin() + static_cast<std::ptrdiff_t>(at));
  spliced.insert(spliced.end(), many.begin(), many.end());
  spliced.insert(spliced.end(), jpeg.begin() + static_cast<std::ptrdiff_t>(at), jpeg.end());
  CHECK_THAT(refusal(spliced), Contains("a Huffman table of 257 codes"));
  jpeg[at + 5] = 200;  // more symbols than the segment holds
  CHECK_THAT(refusal(jpeg), Contains("within its segment"));
}

#if QDISTILL_TEST_IMAGES

TEST_CASE("image files: PNG is decoded exactly", "[data][images]") {
  for (const Index width : {1, 2, 5, 33}) {
    const data::RgbImage image = data::decode_image(test::pattern_png(4, width), "a.png");
    REQUIRE(image.height == 4);
    REQUIRE(image.width == width);
    CHECK(image.pixels == test::pattern_image(4, width).pixels);
  }
  // Grey becomes three channels; alpha is dropped; of 16 bits the upper 8 stay.
  using Pixels = std::vector<std::uint8_t>;
  CHECK(data::decode_image(test::png_of(1, 2, 8, 0, {0, 7, 250}), "g").pixels == Pixels{7, 7, 7, 250, 250, 250});
  CHECK(data::decode_image(test::png_of(1, 1, 8, 6, {0, 1, 2, 3, 0}), "t").pixels == Pixels{1, 2, 3});
  CHECK(data::decode_image(test::png_of(1, 1, 16, 2, {0, 9, 200, 8, 1, 7, 0}), "d").pixels == Pixels{9, 8, 7});
}

TEST_CASE("image files: JPEG is decoded, baseline and progressive", "[data][images]") {
  const auto near = [](const data::RgbImage& image, Index y, Index x, std::array<int, 3> rgb) {
    for (std::size_t c = 0; c < 3; ++c) {
      const int got = image.pixels[static_cast<std::size_t>(3 * (y * image.width + x)) + c];
      if (got < rgb[c] - 4 || got > rgb[c] + 4) return false;
    }
    return true;
  };
  const data::RgbImage colour = data::decode_image(test::baseline_jpeg(), "a.jpg");
  CHECK(near(colour, 4, 4, {200, 40, 40}));
  CHECK(near(colour, 4, 11, {40, 180, 60}));
  CHECK(near(colour, 12, 4, {50, 60, 190}));
  CHECK(near(colour, 12, 11, {220, 210, 200}));
  const data::RgbImage grey = data::decode_image(test::progressive_jpeg(), "a.jpg");
  CHECK(near(grey, 4, 3, {88, 88, 88}));
  CHECK(near(grey, 4, 20, {124, 124, 124}));
  CHECK(near(grey, 12, 3, {72, 72, 72}));
  CHECK(near(grey, 12, 20, {212, 212, 212}));
}

TEST_CASE("image files: what only decoding finds is named", "[data][images]") {
  const auto message = [](const ImageBytes& b) {
    return error_of<FileError>([&] { data::decode_image(b, "dir/b.png"); });
  };
  CHECK_THAT(message(test::png_of(100, 100, 1, 0, {0})),
             Contains("[image] dir/b.png: cannot be decoded: not enough pixels"));
  CHECK_THAT(message(test::png_of(1, 1, 8, 2, {9, 1, 1, 1})), Contains("cannot be decoded: invalid filter"));
  // The limit of memory: 60000 bytes for one pixel.
  CHECK(message(test::png_of(1, 1, 8, 2, ImageBytes(60000, 0))) == "no error");
  ImageBytes jpeg = test::baseline_jpeg();
  jpeg[segment(jpeg, 0xDA) + 5] = 77;  // a component that the frame lacks
  CHECK_THAT(message(jpeg), Contains("dir/b.png: cannot be decoded: "));
}

TEST_CASE("image files: data that unpacks far beyond the image is stopped", "[data][images]") {
  // One deflate block with the fixed code: a literal 0, then 31,000 times its repetition over 258 bytes: 8 MB.
  ImageBytes packed{0x78, 0x01};
  int bits = 0;
  const auto put = [&](const char* code) {
    for (; *code; ++code, ++bits) {
      if (bits % 8 == 0) packed.push_back(0);
      packed.back() = static_cast<std::uint8_t>(packed.back() | (*code - '0') << bits % 8);
    }
  };
  put("110");
  put("00110000");
  for (int k = 0; k < 31000; ++k) put("1100010100000");
  put("0000000");
  test::append_be32(packed, 0);
  ImageBytes bomb = test::png_of(1, 1, 8, 2, {0});
  bomb.resize(33);  // signature and header
  test::append_chunk(bomb, "IDAT", packed);
  test::append_chunk(bomb, "IEND", {});
  CHECK_THAT(error_of<FileError>([&] { data::decode_image(bomb, "b.png"); }),
             Contains("b.png: cannot be decoded: outofmem"));
}

TEST_CASE("image files: damaged ones are decoded to the claimed size or refused, the same each time",
          "[data][images]") {
  const ImageBytes valid[] = {test::baseline_jpeg(), test::progressive_jpeg(), test::pattern_png(6, 9)};
  Index decoded = 0, refused = 0;
  for (std::uint64_t run = 0; run < 3000; ++run) {
    const RandomStream random{5, run};
    ImageBytes bytes = valid[run % 3];
    const std::uint32_t changes = 1 + random.below(0, 3);
    for (std::uint64_t k = 1; k <= changes; ++k)
      bytes[random.below(2 * k, static_cast<std::uint32_t>(bytes.size()))] =
          static_cast<std::uint8_t>(random.bits(2 * k + 1));
    try {
      const data::RgbImage image = data::decode_image(bytes, "f", {.pixels = 4096});
      REQUIRE(image.pixels.size() == static_cast<std::size_t>(3 * image.height * image.width));
      REQUIRE(data::decode_image(bytes, "f", {.pixels = 4096}).pixels == image.pixels);
      ++decoded;
    } catch (const FileError& e) {
      REQUIRE_THAT(e.what(), Contains("[image] f: "));
      ++refused;
    }
  }
  CHECK(decoded > 100);
  CHECK(refused > 100);
}

#else

TEST_CASE("image files: decoding", "[data][images]") {
  WARN("skipped: stb_image was not found, so qdistill::images is not built. HINT: install libstb-dev");
}

#endif
