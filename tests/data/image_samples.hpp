/// Small image files for tests: PNG written here (with stored, uncompressed data), and two JPEG files as text.
#pragma once

#include <string_view>

#include "qdistill/data/image_file.hpp"

namespace test {

using ImageBytes = std::vector<std::uint8_t>;

inline void append_be32(ImageBytes& out, std::uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(v >> shift));
}

inline void append_chunk(ImageBytes& out, std::string_view type, const ImageBytes& data) {
  append_be32(out, static_cast<std::uint32_t>(data.size()));
  const std::size_t begin = out.size();
  out.insert(out.end(), type.begin(), type.end());
  out.insert(out.end(), data.begin(), data.end());
  append_be32(out,
              qdistill::data::detail::png_crc(out.data() + begin, static_cast<qdistill::Index>(out.size() - begin)));
}

/// zlib's format with one stored block; at most 65535 bytes.
inline ImageBytes stored(const ImageBytes& raw) {
  const auto n = static_cast<std::uint32_t>(raw.size());
  ImageBytes out{0x78, 0x01, 0x01};
  for (const std::uint32_t v : {n, ~n})
    for (const int shift : {0, 8}) out.push_back(static_cast<std::uint8_t>(v >> shift));
  out.insert(out.end(), raw.begin(), raw.end());
  std::uint32_t a = 1, b = 0;
  for (const std::uint8_t v : raw) a = (a + v) % 65521, b = (b + a) % 65521;
  append_be32(out, b << 16 | a);
  return out;
}

/// A PNG file from its parts: header fields and unpacked rows, each behind its filter byte.
inline ImageBytes png_of(std::uint32_t height, std::uint32_t width, std::uint8_t depth, std::uint8_t color,
                         const ImageBytes& rows) {
  ImageBytes out{0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A}, header;
  append_be32(header, width);
  append_be32(header, height);
  header.insert(header.end(), {depth, color, 0, 0, 0});
  append_chunk(out, "IHDR", header);
  append_chunk(out, "IDAT", stored(rows));
  append_chunk(out, "IEND", {});
  return out;
}

/// The value of a test image at (y, x, channel).
inline std::uint8_t pattern(qdistill::Index y, qdistill::Index x, qdistill::Index c) {
  return static_cast<std::uint8_t>(y * 37 + x * 101 + c * 59 + y * x * 13 % 71);
}

inline qdistill::data::RgbImage pattern_image(qdistill::Index height, qdistill::Index width) {
  qdistill::data::RgbImage image{height, width, {}};
  for (qdistill::Index y = 0; y < height; ++y)
    for (qdistill::Index x = 0; x < width; ++x)
      for (qdistill::Index c = 0; c < 3; ++c) image.pixels.push_back(pattern(y, x, c));
  return image;
}

inline ImageBytes pattern_png(qdistill::Index height, qdistill::Index width) {
  ImageBytes rows;
  for (qdistill::Index y = 0; y < height; ++y) {
    rows.push_back(0);
    for (qdistill::Index x = 0; x < width; ++x)
      for (qdistill::Index c = 0; c < 3; ++c) rows.push_back(pattern(y, x, c));
  }
  return png_of(static_cast<std::uint32_t>(height), static_cast<std::uint32_t>(width), 8, 2, rows);
}

inline ImageBytes from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  ImageBytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<std::uint8_t>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  return out;
}

/// 16 x 16, baseline, written by Pillow 13 (quality 90, optimised tables, no subsampling): quarters of (200, 40, 40),
/// (40, 180, 60), (50, 60, 190) and (220, 210, 200).
inline ImageBytes baseline_jpeg() {
  return from_hex(
      "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c"
      "0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509"
      "140d0b0d141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414"
      "1414ffc00011080010001003011100021101031101ffc400160001010100000000000000000000000000070809ffc40014100100"
      "000000000000000000000000000000ffc4001801000301010000000000000000000000000708090506ffc4001411010000000000"
      "0000000000000000000000ffda000c03010002110311003f00140dcea9818e9149d544c756ba939776ffd9");
}

/// 16 x 24, grey, progressive, written by Pillow 13 (quality 80): quarters of 88, 124, 72 and 212.
inline ImageBytes progressive_jpeg() {
  return from_hex(
      "ffd8ffe000104a46494600010100000100010000ffdb00430006040506050406060506070706080a100a0a09090a140e0f0c1017"
      "141818171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffc2000b080010001801011100ffc4"
      "00160001010100000000000000000000000000060405ffda0008010100000001c4b2c38bd7ff00ffc40017100003010000000000"
      "000000000000000000041005ffda000801010001050217b813ffc4001910000105000000000000000000000000001000020381c1"
      "ffda0008010100063f024e33d68fffc4001610000300000000000000000000000000000020c1ffda0008010100013f2120bdffda"
      "0008010100000010fbffc400171000030100000000000000000000000000002081f0ffda0008010100013f1034ab5fffd9");
}

}  // namespace test
