/// The one translation unit of qdistill::images: stb_image behind data::decode_image. Its symbols stay in this file, so
/// a program may have an stb_image of its own.
///
/// stb_image trusts files more than we do. What it is given has passed check_image; its memory is zeroed, so that a
/// table that a file never defines is empty rather than left over; and it gets no more memory than the checked size
/// justifies, so that a small image's data cannot unpack to gigabytes.
#include <climits>
#include <cstring>
#include <memory>
#include <new>

#include "qdistill/data/image_file.hpp"

namespace {

/// Bytes that the decoder may still take on this thread.
thread_local std::size_t budget = 0;

/// Before each block, keeping malloc's alignment.
constexpr std::size_t prefix = 16;

void* take(std::size_t size) noexcept {
  if (size > budget) return nullptr;
  auto* block = static_cast<unsigned char*>(::operator new(size + prefix, std::nothrow));
  if (!block) return nullptr;
  budget -= size;
  std::memcpy(block, &size, sizeof size);
  std::memset(block + prefix, 0, size);
  return block + prefix;
}

void give(void* pointer) noexcept {
  if (!pointer) return;
  auto* block = static_cast<unsigned char*>(pointer) - prefix;
  std::size_t size = 0;
  std::memcpy(&size, block, sizeof size);
  budget += size;
  ::operator delete(block);
}

void* take_more(void* pointer, std::size_t old_size, std::size_t size) noexcept {
  void* bigger = take(size);
  if (bigger && pointer) {
    std::memcpy(bigger, pointer, old_size < size ? old_size : size);
    give(pointer);
  }
  return bigger;
}

}  // namespace

#define STBI_MALLOC(size) take(size)
#define STBI_REALLOC_SIZED(pointer, old_size, size) take_more(pointer, old_size, size)
#define STBI_FREE(pointer) give(pointer)
#define STBI_ASSERT(condition) static_cast<void>(0)  // never an abort because of a file; check_image is what holds
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#if __has_include(<stb_image.h>)
#include <stb_image.h>
#else
#include <stb/stb_image.h>
#endif

namespace qdistill::inline QDISTILL_ABI::data {

RgbImage decode_image(std::span<const std::uint8_t> bytes, std::string_view file, const ImageLimits& limits) {
  const ImageHeader header = check_image(bytes, file, limits);
  check<FileError>(bytes.size() <= INT_MAX, "image", file, ": ", bytes.size(), " bytes, expected fewer than 2^31");
  // At most 29 bytes for a pixel (16-bit RGBA: unpacked, unfiltered, de-interlaced, reduced to 8 bits), JPEG's planes
  // being padded to blocks of up to 32 x 32; the file's compressed data once or twice; tables.
  const auto padded = [](Index n) { return static_cast<std::size_t>((n + 31) / 32 * 32); };
  budget = 29 * padded(header.height) * padded(header.width) + 4 * bytes.size() + (std::size_t{1} << 16);
  int width = 0, height = 0, channels = 0;
  // Its reason is that of the last failure whenever, and some have none: this sets one.
  stbi_info_from_memory(bytes.data(), 0, &width, &height, &channels);
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(data, static_cast<int>(bytes.size()), &width, &height, &channels, 3), stbi_image_free);
  check<FileError>(pixels != nullptr, "image", file, ": cannot be decoded: ", stbi_failure_reason());
  check<FileError>(width == header.width && height == header.height, "image", file, ": got ", height, " x ", width,
                   " pixels, expected ", header.height, " x ", header.width);
  RgbImage image{header.height, header.width, {}};
  image.pixels.assign(pixels.get(), pixels.get() + 3 * header.height * header.width);
  return image;
}

}  // namespace qdistill::inline QDISTILL_ABI::data
