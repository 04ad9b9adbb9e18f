#include "qdistill/encoding/huffman.hpp"

#include <catch2/catch.hpp>

#include "qdistill/core/random.hpp"

using namespace qdistill;

namespace {

std::vector<std::uint64_t> count(const std::vector<std::uint16_t>& codes, std::size_t symbols) {
  std::vector<std::uint64_t> counts(symbols, 0);
  for (const auto c : codes) ++counts[c];
  return counts;
}

std::uint64_t fibonacci(int n) {
  std::uint64_t a = 1, b = 1;
  for (int i = 0; i < n; ++i) b = std::exchange(a, a + b);
  return b;
}

/// Total bits of the best code of at most `limit` bits, by trying every non-decreasing list of lengths.
std::uint64_t best_by_search(std::vector<std::uint64_t> weights, int limit) {
  std::sort(weights.rbegin(), weights.rend());
  std::uint64_t best = ~std::uint64_t{0};
  std::vector<int> lengths(weights.size(), 1);
  while (true) {
    double kraft = 0;
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      kraft += std::ldexp(1.0, -lengths[i]);
      bits += weights[i] * static_cast<std::uint64_t>(lengths[i]);
    }
    if (kraft <= 1) best = std::min(best, bits);
    std::size_t i = lengths.size();
    while (i > 0 && lengths[i - 1] == limit) --i;
    if (i == 0) return best;
    ++lengths[i - 1];
    for (std::size_t j = i; j < lengths.size(); ++j) lengths[j] = lengths[i - 1];
  }
}

std::uint64_t total_bits(const std::vector<std::uint64_t>& weights, const std::vector<std::uint8_t>& lengths) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) bits += weights[i] * lengths[i];
  return bits;
}

}  // namespace

TEST_CASE("huffman: mean length of small distributions", "[huffman]") {
  CHECK(mean_bit_length(std::vector<std::uint64_t>{}) == 0);
  CHECK(mean_bit_length(std::vector<std::uint64_t>{0, 7, 0}) == 0);
  CHECK(mean_bit_length(std::vector<std::uint64_t>{3, 5}) == 1);
  CHECK(mean_bit_length(std::vector<std::uint64_t>{1, 1, 1, 1}) == 2);
  CHECK(mean_bit_length(std::vector<std::uint64_t>{4, 2, 1, 1}) == Approx(1.75).epsilon(1e-15));
}

TEST_CASE("huffman: limited lengths are the best under the limit", "[huffman]") {
  const RandomStream random{11, 0};
  std::uint64_t at = 0;
  for (int trial = 0; trial < 60; ++trial) {
    std::vector<std::uint64_t> weights(2 + random.below(at++, 5));
    for (auto& w : weights) {
      w = 1 + (std::uint64_t{1} << random.below(at++, 9));
      w += random.below(at++, 3);
    }
    for (int limit = 3; limit <= 6; ++limit) {
      CAPTURE(trial, limit, weights);
      const auto lengths = huffman_lengths(weights, limit);
      CHECK(*std::max_element(lengths.begin(), lengths.end()) <= limit);
      CHECK(total_bits(weights, lengths) == best_by_search(weights, limit));
    }
  }
  std::vector<std::uint64_t> weights;
  for (int i = 0; i < 40; ++i) weights.push_back(fibonacci(i));
  const auto lengths = huffman_lengths(weights);
  CHECK(*std::max_element(lengths.begin(), lengths.end()) == huffman_max_length);
  double kraft = 0;
  for (const auto l : lengths) kraft += std::ldexp(1.0, -l);
  CHECK(kraft == 1.0);
  CHECK_THROWS_AS(huffman_lengths(std::vector<std::uint64_t>{1, 1, 1}, 1), ValueError);
}

TEST_CASE("huffman: encode and decode give the codes back", "[huffman]") {
  const RandomStream random{5, 0};
  for (const int bits : {1, 2, 3, 4, 8, 12, 16}) {
    for (const std::size_t n : {1u, 2u, 3u, 7u, 8u, 9u, 1000u, 20000u}) {
      CAPTURE(bits, n);
      std::vector<std::uint16_t> codes(n);
      const double middle = std::ldexp(0.5, bits), width = std::ldexp(0.1, bits);
      for (std::size_t i = 0; i < n; ++i)
        codes[i] =
            static_cast<std::uint16_t>(std::clamp(middle + width * random.normal(i), 0.0, std::ldexp(1.0, bits) - 1.0));
      const auto counts = count(codes, std::size_t{1} << bits);
      const HuffmanCode code(counts);
      const auto bytes = code.encode(codes);
      CHECK(code.decode(bytes, static_cast<Index>(n)) == codes);
      CHECK(bytes.size() == (code.encoded_bits(codes) + 7) / 8);
      CHECK(static_cast<double>(code.encoded_bits(codes)) == Approx(mean_bit_length(counts) * double(n)));
      const HuffmanCode again = HuffmanCode::from_bytes(code.to_bytes(), code.symbols());
      CHECK(again.decode(bytes, static_cast<Index>(n)) == codes);
      CHECK(again.to_bytes() == code.to_bytes());
    }
  }
}

TEST_CASE("huffman: long codes, equal lengths beyond the look-up table, a lone symbol and none", "[huffman]") {
  std::vector<std::uint64_t> counts;
  for (int i = 0; i < 50; ++i) counts.push_back(fibonacci(i));
  std::vector<std::uint16_t> all;
  for (std::uint16_t repeat = 0; repeat < 3; ++repeat)
    for (std::uint16_t s = 0; s < 50; ++s) all.push_back(static_cast<std::uint16_t>(49 - s));
  const HuffmanCode skewed(counts);
  CHECK(skewed.decode(skewed.encode(all), static_cast<Index>(all.size())) == all);

  const HuffmanCode flat(std::vector<std::uint64_t>(65536, 1));
  CHECK(flat.lengths()[77] == 16);
  const std::vector<std::uint16_t> some{0, 1, 65535, 32768, 4097};
  CHECK(flat.decode(flat.encode(some), 5) == some);

  const HuffmanCode lone(std::vector<std::uint64_t>{0, 0, 9, 0});
  CHECK(lone.lone());
  CHECK(lone.encode(std::vector<std::uint16_t>(9, 2)).empty());
  CHECK(lone.decode({}, 9) == std::vector<std::uint16_t>(9, 2));
  CHECK(HuffmanCode::from_bytes(lone.to_bytes(), 4).decode({}, 3) == std::vector<std::uint16_t>(3, 2));
  CHECK_THROWS_AS(lone.decode(std::vector<std::uint8_t>{0}, 3), ValueError);
  CHECK_THROWS_AS(lone.encode(std::vector<std::uint16_t>{1}), ValueError);

  const HuffmanCode none(std::vector<std::uint64_t>(4, 0));
  CHECK(none.encode({}).empty());
  CHECK(none.decode({}, 0).empty());
  CHECK_THROWS_AS(none.decode({}, 1), ValueError);
}

TEST_CASE("huffman: corrupt streams and tables are refused", "[huffman]") {
  const HuffmanCode code(std::vector<std::uint64_t>{10, 5, 2, 1});
  const std::vector<std::uint16_t> codes{0, 1, 0, 2, 3, 0, 0, 1, 3};
  const auto bytes = code.encode(codes);
  CHECK_THROWS_AS(code.decode(bytes, 10000), ValueError);
  CHECK_THROWS_AS(code.decode(bytes, -1), ValueError);
  CHECK_THROWS_AS(code.decode(bytes, 1), ValueError);
  for (std::size_t n = 0; n < bytes.size(); ++n)
    CHECK_THROWS_AS(code.decode(std::span(bytes).first(n), static_cast<Index>(codes.size())), ValueError);
  auto longer = bytes;
  longer.push_back(0);
  CHECK_THROWS_AS(code.decode(longer, static_cast<Index>(codes.size())), ValueError);
  // Any bytes either decode or throw; with a sanitizer this shows that nothing is read outside.
  const RandomStream random{3, 0};
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    std::vector<std::uint8_t> noise(1 + trial % 7);
    for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<std::uint8_t>(random.bits(trial * 8 + i));
    try {
      const auto n = static_cast<Index>(1 + trial % 40);
      const auto decoded = code.decode(noise, n);
      CHECK(decoded.size() == static_cast<std::size_t>(n));
      CHECK(code.encode(decoded) == noise);
    } catch (const ValueError&) {
      SUCCEED();
    }
  }
  const auto table = [](std::vector<std::uint16_t> lengths) {
    return HuffmanCode::from_bytes(pack_bits(lengths, 5), static_cast<Index>(lengths.size()));
  };
  CHECK_NOTHROW(table({1, 2, 2}));
  CHECK_THROWS_AS(table({1, 1, 1}), ValueError);   // more codes than there are
  CHECK_THROWS_AS(table({1, 2, 3}), ValueError);   // incomplete
  CHECK_THROWS_AS(table({0, 2, 0}), ValueError);   // a lone symbol has length 1
  CHECK_THROWS_AS(table({1, 25, 2}), ValueError);  // too long
  CHECK_THROWS_AS(HuffmanCode::from_bytes({}, 4), ValueError);
  CHECK_THROWS_AS(HuffmanCode::from_bytes({}, 70000), ValueError);
  CHECK_THROWS_AS(code.encode(std::vector<std::uint16_t>{4}), ValueError);
  CHECK_THROWS_AS(mean_bit_length(std::vector<std::uint64_t>{~std::uint64_t{0}, 1}), ValueError);
  CHECK_THROWS_AS(mean_bit_length(std::vector<std::uint64_t>(65537, 1)), ValueError);
}
