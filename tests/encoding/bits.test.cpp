#include "qdistill/encoding/bits.hpp"

#include <catch2/catch.hpp>

#include "qdistill/core/random.hpp"

using namespace qdistill;

TEST_CASE("pack_bits: the layout is least significant bit first", "[bits]") {
  CHECK(pack_bits(std::vector<std::uint16_t>{1, 2, 3, 0, 3}, 2) == std::vector<std::uint8_t>{0b00111001, 0b11});
  CHECK(pack_bits(std::vector<std::uint16_t>{0x123, 0x456}, 12) == std::vector<std::uint8_t>{0x23, 0x61, 0x45});
  CHECK(pack_bits({}, 7).empty());
}

TEST_CASE("pack_bits and unpack_bits give the codes back", "[bits]") {
  const RandomStream random{2, 0};
  for (int bits = 1; bits <= 16; ++bits) {
    for (Index n = 0; n < 40; ++n) {
      CAPTURE(bits, n);
      std::vector<std::uint16_t> codes(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::uint16_t>(random.below(i, std::uint32_t{1} << bits));
      const auto bytes = pack_bits(codes, bits);
      CHECK(static_cast<Index>(bytes.size()) == packed_bytes(n, bits));
      CHECK(packed_bytes(n, bits) == (n * bits + 7) / 8);
      CHECK(unpack_bits(bytes, n, bits) == codes);
    }
  }
}

TEST_CASE("pack_bits and unpack_bits refuse what does not fit", "[bits]") {
  CHECK_THROWS_AS(pack_bits(std::vector<std::uint16_t>{4}, 2), ValueError);
  CHECK_THROWS_AS(pack_bits({}, 0), ValueError);
  CHECK_THROWS_AS(pack_bits({}, 17), ValueError);
  const std::vector<std::uint8_t> bytes{0xFF, 0x01};
  CHECK(unpack_bits(bytes, 9, 1).size() == 9);
  CHECK_THROWS_AS(unpack_bits(bytes, 8, 1), ValueError);
  CHECK_THROWS_AS(unpack_bits(bytes, 17, 1), ValueError);
  CHECK_THROWS_AS(unpack_bits(bytes, -1, 1), ValueError);
  CHECK_THROWS_AS(unpack_bits(bytes, std::numeric_limits<Index>::max(), 16), ValueError);
  CHECK_THROWS_AS(unpack_bits(bytes, 9, 0), ValueError);
  CHECK_THROWS_AS(unpack_bits(bytes, 9, 40), ValueError);
  CHECK_THROWS_AS(unpack_bits(std::vector<std::uint8_t>{0xFF, 0x03}, 9, 1), ValueError);
}
