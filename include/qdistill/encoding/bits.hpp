/// Dense packing of codes: b bits each, least significant bit first, across byte boundaries; the last byte is filled
/// with zero bits.
#pragma once

#include <span>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Bytes that n codes of `bits` bits take. n >= 0, bits 1 to 16.
inline Index packed_bytes(Index n, int bits) noexcept { return n / 8 * bits + (n % 8 * bits + 7) / 8; }

/// Packs `codes`. Throws ValueError if `bits` is not 1 to 16 or a code does not fit.
inline std::vector<std::uint8_t> pack_bits(std::span<const std::uint16_t> codes, int bits) {
  check(bits >= 1 && bits <= 16, "pack_bits", "got ", bits, " bits, expected 1 to 16");
  std::vector<std::uint8_t> out;
  out.reserve(static_cast<std::size_t>(packed_bytes(static_cast<Index>(codes.size()), bits)));
  std::uint32_t window = 0;
  int held = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    check(codes[i] >> bits == 0, "pack_bits", "got code ", codes[i], " at element ", i, ", expected less than ",
          1 << bits);
    window |= static_cast<std::uint32_t>(codes[i]) << held;
    for (held += bits; held >= 8; held -= 8, window >>= 8) out.push_back(static_cast<std::uint8_t>(window & 0xFF));
  }
  if (held > 0) out.push_back(static_cast<std::uint8_t>(window & 0xFF));
  return out;
}

/// The n codes in `bytes`. Throws ValueError if `bits` is not 1 to 16, if the length is not packed_bytes(n, bits), or
/// if a filling bit is not 0. Allocates only after the length was checked.
inline std::vector<std::uint16_t> unpack_bits(std::span<const std::uint8_t> bytes, Index n, int bits) {
  check(bits >= 1 && bits <= 16, "unpack_bits", "got ", bits, " bits, expected 1 to 16");
  const auto size = static_cast<Index>(bytes.size());
  check(n >= 0 && n / 8 <= size && packed_bytes(n, bits) == size, "unpack_bits", "got ", size, " bytes for ", n,
        " codes of ", bits, " bits");
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(n));
  const std::uint32_t mask = (std::uint32_t{1} << bits) - 1;
  std::uint32_t window = 0;
  int held = 0;
  std::size_t next = 0;
  for (auto& code : codes) {
    for (; held < bits; held += 8) window |= static_cast<std::uint32_t>(bytes[next++]) << held;
    code = static_cast<std::uint16_t>(window & mask);
    window >>= bits;
    held -= bits;
  }
  check(window == 0, "unpack_bits", "got filling bits that are not 0 after the last code");
  return codes;
}

}  // namespace qdistill::inline QDISTILL_ABI
