/// JPEG and PNG files: what is checked before a decoder sees them, and the decoder.
///
/// `decode_image` is the one function of the library that stands in no header: link qdistill::images, or compile
/// src/images.cpp along, which includes stb_image (Debian: libstb-dev). All else here needs neither.
///
/// `check_image` walks the file from the first to the last of its parts (PNG: Portable Network Graphics, W3C 2003, 5;
/// JPEG: ITU-T T.81, annex B), so that a decoder is only given files whose parts lie within them and whose pixels can
/// be there: nobody allocates what a header merely claims.
#pragma once

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// What an image file may be at most.
struct ImageLimits {
  Index file_bytes = Index{1} << 26;
  Index pixels = Index{1} << 26;  ///< height * width; decoding takes 6 to 30 bytes for each
};

/// What the header of a file says.
struct ImageHeader {
  Index height = 0;
  Index width = 0;
};

/// An image as it was decoded: `height` rows of `width` pixels of 3 bytes, red, green, blue.
struct RgbImage {
  Index height = 0;
  Index width = 0;
  std::vector<std::uint8_t> pixels;
};

namespace detail {

/// A position in the bytes of an image file, and how to complain about it.
class ImageReader {
 public:
  ImageReader(std::span<const std::uint8_t> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  Index size() const noexcept { return static_cast<Index>(bytes_.size()); }
  const std::uint8_t* data(Index at) const noexcept { return bytes_.data() + at; }
  Index byte(Index at) const noexcept { return bytes_[static_cast<std::size_t>(at)]; }
  Index be16(Index at) const noexcept { return byte(at) << 8 | byte(at + 1); }
  Index be32(Index at) const noexcept { return be16(at) << 16 | be16(at + 2); }
  template <class... Parts>
  void require(bool condition, const Parts&... parts) const {
    check<FileError>(condition, "image", file_, ": ", parts...);
  }
  void require_size(const ImageHeader& h, const ImageLimits& limits) const {
    require(h.height > 0 && h.width > 0, "claims ", h.height, " x ", h.width, " pixels");
    require(h.width <= limits.pixels / h.height, "claims ", h.height, " x ", h.width, " pixels, expected at most ",
            limits.pixels, " in all");
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::string_view file_;
};

/// The CRC of PNG: the polynomial 0xEDB88320, reflected.
inline std::uint32_t png_crc(const std::uint8_t* p, Index n) noexcept {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? c >> 1 ^ 0xEDB88320u : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  std::uint32_t crc = ~0u;
  for (Index i = 0; i < n; ++i) crc = crc >> 8 ^ table[(crc ^ p[i]) & 255];
  return ~crc;
}

/// A PNG file is chunks: length (4 bytes), type (4), data, CRC of type and data (4); IHDR first, IEND last. Chunks
/// whose type begins with a capital are needed to decode the image.
inline ImageHeader check_png(const ImageReader& in, const ImageLimits& limits) {
  ImageHeader header;
  for (Index at = 8;;) {
    in.require(at + 12 <= in.size(), "ends at byte ", in.size(), " before the chunk IEND: the file is cut");
    const Index length = in.be32(at), next = at + 12 + length;
    const std::string_view type(reinterpret_cast<const char*>(in.data(at + 4)), 4);
    in.require(next <= in.size(), "ends at byte ", in.size(), " inside the chunk at byte ", at, " of ", length,
               " bytes: the file is cut");
    in.require((at == 8) == (type == "IHDR"), "expected the chunk IHDR first and once, at byte ", at);
    const bool known = type == "IHDR" || type == "PLTE" || type == "IDAT" || type == "IEND";
    in.require(known || (type[0] & 0x20) != 0, "an unknown chunk at byte ", at);
    in.require(png_crc(in.data(at + 4), 4 + length) == static_cast<std::uint32_t>(in.be32(next - 4)),
               "the checksum of the chunk at byte ", at, " is wrong: the file is damaged");
    if (type == "IEND") return header;
    if (type == "IHDR") {
      in.require(length == 13, "a header of ", length, " bytes, expected 13");
      header = {in.be32(at + 12), in.be32(at + 8)};
      in.require_size(header, limits);
      constexpr Index channels_of[] = {1, 0, 3, 1, 2, 0, 4};
      const Index depth = in.byte(at + 16), color = in.byte(at + 17), channels = color > 6 ? 0 : channels_of[color];
      in.require(channels > 0 && depth <= 16, "depth ", depth, " and colour type ", color, ", expected those of PNG");
      // Deflate makes at most 1032 bytes of one.
      const Index raw = ((header.width * depth * channels + 7) / 8 + 1) * header.height;
      in.require(raw / 1032 <= in.size(), "claims ", header.height, " x ", header.width, " pixels, more than ",
                 in.size(), " bytes can hold");
    }
    at = next;
  }
}

/// The Huffman tables of a JPEG segment: class and number (1 byte), how many codes there are of length 1 .. 16 (16
/// bytes), then as many symbols, at most 256. [at, end): the segment's data.
inline void check_jpeg_tables(const ImageReader& in, Index at, Index end) {
  while (at < end) {
    Index codes = 0;
    for (Index k = 1; k <= 16 && at + k < end; ++k) codes += in.byte(at + k);
    in.require(at + 17 + codes <= end && codes <= 256, "a Huffman table of ", codes, " codes at byte ", at,
               ", expected at most 256 and within its segment");
    at += 17 + codes;
  }
}

/// A JPEG file is segments: 0xFF, a marker, length (2 bytes, itself included), data; coded data follows a start of scan
/// and contains 0xFF only before 0 or a restart marker.
inline ImageHeader check_jpeg(const ImageReader& in, const ImageLimits& limits) {
  constexpr Index most_scans = 256;  // each costs time for every pixel, however few its bytes
  ImageHeader header;
  Index scans = 0;
  for (Index at = 2;;) {
    const void* mark =
        at < in.size() ? std::memchr(in.data(at), 0xFF, static_cast<std::size_t>(in.size() - at)) : nullptr;
    at = mark ? static_cast<const std::uint8_t*>(mark) - in.data(0) : in.size();
    while (at < in.size() && in.byte(at) == 0xFF) ++at;
    in.require(at < in.size(), "ends at byte ", in.size(), " before the end of the image: the file is cut");
    const Index marker = in.byte(at++);
    if (marker == 0xD9) break;
    if (marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // stuffed zero, restart
    const Index length = at + 2 <= in.size() ? in.be16(at) : 0;
    in.require(length >= 2 && at + length <= in.size(), "ends at byte ", in.size(), " inside the segment at byte ", at,
               ": the file is cut");
    if (marker == 0xC4) check_jpeg_tables(in, at + 2, at + length);
    else if (marker == 0xDA) in.require(++scans <= most_scans, "more than ", most_scans, " scans");
    else if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC8) {
      in.require(marker <= 0xC2, "arithmetic, lossless or hierarchical coding (frame type ", marker - 0xC0,
                 "), expected baseline or progressive");
      in.require(header.height == 0 && length >= 8, "expected one frame header, of 8 bytes or more, at byte ", at);
      header = {in.be16(at + 3), in.be16(at + 5)};
      in.require_size(header, limits);
      // A block of 8 x 8 takes at least one bit, 1 byte for 512 pixels.
      in.require(header.height * header.width / 1024 <= in.size(), "claims ", header.height, " x ", header.width,
                 " pixels, more than ", in.size(), " bytes can hold");
    }
    at += length;
  }
  in.require(header.height > 0 && scans > 0, "holds no image");
  return header;
}

}  // namespace detail

/// Checks the structure of a JPEG or PNG file, told by its content; `file` names it in errors. Throws FileError
/// "[image] FILE: ..." for another format, a file that is cut or damaged, and a file or an image beyond `limits`.
inline ImageHeader check_image(std::span<const std::uint8_t> bytes, std::string_view file,
                               const ImageLimits& limits = {}) {
  constexpr std::uint8_t png[] = {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A}, jpeg[] = {0xFF, 0xD8, 0xFF};
  const detail::ImageReader in(bytes, file);
  in.require(!bytes.empty(), "the file is empty");
  in.require(in.size() <= limits.file_bytes, in.size(), " bytes, expected at most ", limits.file_bytes);
  const auto begins = [&](std::span<const std::uint8_t> magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (begins(png)) return detail::check_png(in, limits);
  in.require(begins(jpeg), "neither a JPEG nor a PNG file");
  return detail::check_jpeg(in, limits);
}

/// Decodes a JPEG (baseline or progressive) or PNG file that passes `check_image`. Grey becomes three equal channels,
/// transparency is dropped, 16 bits are cut to 8; the orientation in a camera's metadata is not applied (torchvision
/// does not either). Throws FileError. Defined in src/images.cpp: link qdistill::images. May be called by several
/// threads.
RgbImage decode_image(std::span<const std::uint8_t> bytes, std::string_view file, const ImageLimits& limits = {});

}  // namespace qdistill::inline QDISTILL_ABI::data
