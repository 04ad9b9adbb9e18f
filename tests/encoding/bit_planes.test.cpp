#include "qdistill/encoding/bit_planes.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "qdistill/core/random.hpp"

namespace qdistill_test {

namespace {

std::vector<std::uint16_t> random_codes(std::size_t n, int bits) {
  const RandomStream random{n, 0};
  std::vector<std::uint16_t> codes(n);
  for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint16_t>(random.below(i, std::uint32_t{1} << bits));
  return codes;
}

std::vector<std::uint16_t> indices(const GoldenCase& c) {
  std::vector<std::uint16_t> codes;
  for (const Index i : c.tensor<Index>("indices").to_vector()) codes.push_back(static_cast<std::uint16_t>(i));
  return codes;
}

/// Compares with the signed words that are stored, and unpacks what was stored.
template <class Word, class Signed>
void compare_planes(GoldenCase& c) {
  const auto codes = indices(c);
  const int bits = c.param<int>("bits", 0);
  const auto n = static_cast<Index>(codes.size());
  std::vector<Word> planes;
  if constexpr (sizeof(Word) == 8) planes = pack64(codes, bits);
  else planes = torch_pack<Word>(codes, bits);
  std::vector<Index> words;
  for (const Word w : planes) words.push_back(static_cast<Signed>(w));
  c.compare_values("packed", words);
  std::vector<Word> stored;
  for (const Index w : c.tensor<Index>("packed").to_vector()) stored.push_back(static_cast<Word>(w));
  const auto unpacked = [&] {
    if constexpr (sizeof(Word) == 8) return unpack64(stored, n, bits);
    else return torch_unpack<Word>(stored, n, bits);
  }();
  if (unpacked != codes) c.fail_with("packed: does not unpack to the indices");
}

const bool torch_planes = golden("torch_pack", [](auto g) {
  switch (g->template param<int>("word_bits", 0)) {
    case 8:
      return compare_planes<std::uint8_t, std::uint8_t>(*g);
    case 16:
      return compare_planes<std::uint16_t, std::int16_t>(*g);
    default:
      return compare_planes<std::uint32_t, std::int32_t>(*g);
  }
});
const bool wide_planes = golden("pack64", [](auto g) { compare_planes<std::uint64_t, std::int64_t>(*g); });

template <class Word>
void there_and_back() {
  const Index width = std::numeric_limits<Word>::digits;
  for (const int bits : {1, 3, 8, 16})
    for (const std::size_t n : {0u, 1u, 7u, 8u, 9u, 63u, 64u, 65u, 300u}) {
      CAPTURE(width, bits, n);
      const auto codes = random_codes(n, bits);
      const auto planes = torch_pack<Word>(codes, bits);
      const Index groups = (static_cast<Index>(n) + width - 1) / width;
      CHECK(static_cast<Index>(planes.size()) == bits * groups);
      CHECK(torch_unpack<Word>(planes, static_cast<Index>(n), bits) == codes);
      for (std::size_t i = 0; i < n; ++i)  // by the definition, element by element
        for (int j = 0; j < bits; ++j) {
          const auto at = static_cast<Index>(i);
          REQUIRE((planes[j * groups + at % groups] >> (at / groups) & 1) == (codes[i] >> j & 1));
        }
    }
}

}  // namespace

TEST_CASE("bit planes: torch_pack there and back, with every word", "[bits]") {
  there_and_back<std::uint8_t>();
  there_and_back<std::uint16_t>();
  there_and_back<std::uint32_t>();
  there_and_back<std::uint64_t>();
}

TEST_CASE("bit planes: pack64 is torch_pack of each 2048 elements", "[bits]") {
  for (const int bits : {1, 5, 16})
    for (const std::size_t n : {0u, 1u, 2047u, 2048u, 2049u, 5000u}) {
      CAPTURE(bits, n);
      auto codes = random_codes(n, bits);
      const auto planes = pack64(codes, bits);
      CHECK(unpack64(planes, static_cast<Index>(n), bits) == codes);
      const std::size_t lines = (n + 2047) / 2048;
      codes.resize(lines * 2048, 0);
      std::vector<std::uint64_t> expected;
      for (std::size_t l = 0; l < lines; ++l) {
        const auto line = torch_pack<std::uint64_t>(std::span(codes).subspan(l * 2048, 2048), bits);
        expected.insert(expected.end(), line.begin(), line.end());
      }
      CHECK(planes == expected);
    }
}

TEST_CASE("bit planes: what does not fit is refused", "[bits]") {
  const std::vector<std::uint16_t> codes{1, 4};
  CHECK_THROWS_AS(torch_pack<std::uint16_t>(codes, 2), ValueError);
  CHECK_THROWS_AS(pack64(codes, 2), ValueError);
  CHECK_THROWS_AS(pack64(codes, 0), ValueError);
  CHECK_THROWS_AS(torch_pack<std::uint8_t>(codes, 17), ValueError);
  const std::vector<std::uint16_t> words(6, 0);
  CHECK(torch_unpack<std::uint16_t>(words, 32, 3).size() == 32);
  CHECK_THROWS_AS(torch_unpack<std::uint16_t>(words, 33, 3), ValueError);
  CHECK_THROWS_AS(torch_unpack<std::uint16_t>(words, 16, 3), ValueError);
  CHECK_THROWS_AS(torch_unpack<std::uint16_t>(words, -1, 3), ValueError);
  CHECK_THROWS_AS(torch_unpack<std::uint16_t>(words, 32, 0), ValueError);
  CHECK_THROWS_AS(torch_unpack<std::uint16_t>(words, std::numeric_limits<Index>::max(), 3), ValueError);
  CHECK_THROWS_AS(unpack64(std::vector<std::uint64_t>(32, 0), std::numeric_limits<Index>::max(), 1), ValueError);
  CHECK_THROWS_AS(unpack64(std::vector<std::uint64_t>(31, 0), 5, 1), ValueError);
}

}  // namespace qdistill_test
