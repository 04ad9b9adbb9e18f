/// The two layouts in which DiffQ's code packs levels (Defossez, Adi, Synnaeve 2022, published code): one plane of
/// words for each bit of a code. Our files hold codes as encoding/bits.hpp packs them; these are for reading and
/// writing such states. The last bits of both are filled with zeros.
///
///   torch_pack   words of W bits, planes [bits, G], G = ceil(n / W): element p G + g is bit p of word g
///   pack64       words of 64 bits, lines of 2048 elements, [lines, bits, 32]: element 2048 l + 32 p + g is bit p of
///                word g of line l
///
/// Plane j holds bit j of every code. A line of pack64 is what torch_pack makes of 2048 elements.
#pragma once

#include <algorithm>
#include <concepts>
#include <limits>
#include <span>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

inline constexpr Index pack64_line = 64 * 32;  // elements

/// Writes n codes into zeroed planes of `groups` words each, n <= groups * width of a word.
template <class Word>
void write_planes(const std::uint16_t* codes, Index n, int bits, Index groups, Word* planes) {
  for (Index i = 0; i < n; ++i)
    for (int j = 0; j < bits; ++j)
      planes[j * groups + i % groups] |= static_cast<Word>(static_cast<Word>(codes[i] >> j & 1) << (i / groups));
}

template <class Word>
void read_planes(const Word* planes, Index n, int bits, Index groups, std::uint16_t* codes) {
  for (Index i = 0; i < n; ++i)
    for (int j = 0; j < bits; ++j)
      codes[i] = static_cast<std::uint16_t>(codes[i] | (planes[j * groups + i % groups] >> (i / groups) & 1) << j);
}

inline void check_plane_codes(std::string_view op, std::span<const std::uint16_t> codes, int bits) {
  check(bits >= 1 && bits <= 16, op, "got ", bits, " bits, expected 1 to 16");
  for (std::size_t i = 0; i < codes.size(); ++i)
    check(codes[i] >> bits == 0, op, "got code ", codes[i], " at element ", i, ", expected less than ", 1 << bits);
}

/// Throws unless `size` words are what n codes take, if every `elements` codes take `words` words per bit.
inline void check_plane_words(std::string_view op, std::size_t size, Index n, int bits, Index elements, Index words) {
  check(bits >= 1 && bits <= 16, op, "got ", bits, " bits, expected 1 to 16");
  check(n >= 0, op, "got ", n, " codes, expected at least 0");
  const Index units = n / elements + (n % elements != 0);
  check(units <= static_cast<Index>(size) && units * words * bits == static_cast<Index>(size), op, "got ", size,
        " words for ", n, " codes of ", bits, " bits");
}

}  // namespace detail

/// Planes [bits, ceil(n / W)] of the n `codes`, row-major. Word: an unsigned type of W = 8, 16, 32 or 64 bits; the
/// signed types that DiffQ stores have the same bits. Throws ValueError if `bits` is not 1 to 16 or a code does not
/// fit.
template <std::unsigned_integral Word>
std::vector<Word> torch_pack(std::span<const std::uint16_t> codes, int bits) {
  detail::check_plane_codes("torch_pack", codes, bits);
  constexpr Index width = std::numeric_limits<Word>::digits;
  const auto n = static_cast<Index>(codes.size()), groups = (n + width - 1) / width;
  std::vector<Word> planes(static_cast<std::size_t>(bits * groups), 0);
  detail::write_planes(codes.data(), n, bits, groups, planes.data());
  return planes;
}

/// The n codes in `planes`. Throws ValueError if these are not bits * ceil(n / W) words.
template <std::unsigned_integral Word>
std::vector<std::uint16_t> torch_unpack(std::span<const Word> planes, Index n, int bits) {
  constexpr Index width = std::numeric_limits<Word>::digits;
  detail::check_plane_words("torch_unpack", planes.size(), n, bits, width, 1);
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(n), 0);
  detail::read_planes(planes.data(), n, bits, (n + width - 1) / width, codes.data());
  return codes;
}

/// Planes [ceil(n / 2048), bits, 32] of the n `codes`, row-major. Throws as torch_pack.
inline std::vector<std::uint64_t> pack64(std::span<const std::uint16_t> codes, int bits) {
  detail::check_plane_codes("pack64", codes, bits);
  const auto n = static_cast<Index>(codes.size());
  const Index line = detail::pack64_line, lines = (n + line - 1) / line;
  std::vector<std::uint64_t> planes(static_cast<std::size_t>(lines * bits * 32), 0);
  for (Index l = 0; l < lines; ++l)
    detail::write_planes(codes.data() + l * line, std::min(line, n - l * line), bits, 32,
                         planes.data() + l * bits * 32);
  return planes;
}

/// The n codes in `planes`. Throws ValueError if these are not 32 * bits * ceil(n / 2048) words.
inline std::vector<std::uint16_t> unpack64(std::span<const std::uint64_t> planes, Index n, int bits) {
  const Index line = detail::pack64_line;
  detail::check_plane_words("unpack64", planes.size(), n, bits, line, 32);
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(n), 0);
  for (Index l = 0; l * line < n; ++l)
    detail::read_planes(planes.data() + l * bits * 32, std::min(line, n - l * line), bits, 32, codes.data() + l * line);
  return codes;
}

}  // namespace qdistill::inline QDISTILL_ABI
