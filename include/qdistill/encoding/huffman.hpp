/// Canonical Huffman codes: one code for all codes of a model, as the first paper counts its sizes (Polino et al. 2018,
/// section 5), but really encoded and decoded.
///
/// Lengths are optimal (Huffman 1952); where the optimum needs more than `max_length` bits, optimal under that limit
/// (package-merge: Larmore, Hirschberg 1990). Codes are canonical: given by their lengths alone, in order of (length,
/// symbol), most significant bit first. A lone symbol takes 0 bits.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "qdistill/core/error.hpp"
#include "qdistill/encoding/bits.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// The longest code that HuffmanCode uses, in bits.
inline constexpr int huffman_max_length = 24;

namespace detail {

struct WeightedSymbol {
  std::uint64_t weight;
  std::uint32_t symbol;
};

/// The symbols that occur, by (count, symbol). Throws ValueError for more than 65536 symbols or 2^47 occurrences.
inline std::vector<WeightedSymbol> occurring_symbols(std::span<const std::uint64_t> counts) {
  check(counts.size() <= 65536, "huffman", "got ", counts.size(), " symbols, expected at most 65536");
  const std::uint64_t limit = std::uint64_t{1} << 47;
  std::vector<WeightedSymbol> out;
  std::uint64_t total = 0;
  for (std::size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] == 0) continue;
    check(counts[s] <= limit - total, "huffman", "got more than 2^47 occurrences");
    total += counts[s];
    out.push_back({counts[s], static_cast<std::uint32_t>(s)});
  }
  std::sort(out.begin(), out.end(), [](const WeightedSymbol& a, const WeightedSymbol& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.symbol < b.symbol;
  });
  return out;
}

/// Depths of the leaves of a Huffman tree for 2 or more sorted weights (two queues: leaves, and nodes in the order in
/// which they were made, which is sorted too). Ties take the leaf first, which keeps the longest code short.
inline std::vector<int> huffman_depths(std::span<const WeightedSymbol> leaves) {
  const std::size_t n = leaves.size();
  std::vector<std::uint64_t> weight(2 * n - 1);
  std::vector<std::size_t> parent(2 * n - 1, 0);
  for (std::size_t i = 0; i < n; ++i) weight[i] = leaves[i].weight;
  std::size_t leaf = 0, node = n;
  for (std::size_t made = n; made < 2 * n - 1; ++made) {
    for (int child = 0; child < 2; ++child) {
      const std::size_t pick = leaf < n && (node >= made || weight[leaf] <= weight[node]) ? leaf++ : node++;
      weight[made] += weight[pick];
      parent[pick] = made;
    }
  }
  std::vector<int> depth(2 * n - 1, 0);
  for (std::size_t i = 2 * n - 2; i-- > 0;) depth[i] = depth[parent[i]] + 1;
  depth.resize(n);
  return depth;
}

/// Depths of at most `limit` for 2 or more sorted weights, 2^limit >= their number (package-merge). Row r holds, by
/// weight, the leaves and the packages of row r - 1; choosing the first 2 n - 2 of the last row chooses, row by row,
/// the first leaves and the first packages of the rows before.
inline std::vector<int> limited_depths(std::span<const WeightedSymbol> leaves, int limit) {
  const std::size_t n = leaves.size();
  std::vector<std::vector<bool>> is_leaf(static_cast<std::size_t>(limit));
  std::vector<std::uint64_t> row, packages;
  for (auto& kinds : is_leaf) {
    row.clear();
    std::size_t i = 0, p = 0;
    while (i < n || p < packages.size()) {
      const bool take_leaf = i < n && (p == packages.size() || leaves[i].weight <= packages[p]);
      row.push_back(take_leaf ? leaves[i++].weight : packages[p++]);
      kinds.push_back(take_leaf);
    }
    packages.clear();
    for (std::size_t k = 0; k + 1 < row.size(); k += 2) packages.push_back(row[k] + row[k + 1]);
  }
  std::vector<int> depth(n, 0);
  std::size_t take = 2 * n - 2;
  for (std::size_t r = is_leaf.size(); r-- > 0;) {
    std::size_t chosen_leaves = 0;
    for (std::size_t k = 0; k < take; ++k) chosen_leaves += is_leaf[r][k];
    for (std::size_t k = 0; k < chosen_leaves; ++k) ++depth[k];
    take = 2 * (take - chosen_leaves);
  }
  return depth;
}

}  // namespace detail

/// The mean length in bits of an optimal code without limit, weighted by the counts; 0 for one symbol or none.
/// Throws ValueError for more than 65536 symbols or 2^47 occurrences.
inline double mean_bit_length(std::span<const std::uint64_t> counts) {
  const auto leaves = detail::occurring_symbols(counts);
  if (leaves.size() < 2) return 0.0;
  const auto depth = detail::huffman_depths(leaves);
  std::uint64_t total = 0, bits = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    total += leaves[i].weight;
    bits += leaves[i].weight * static_cast<std::uint64_t>(depth[i]);
  }
  return static_cast<double>(bits) / static_cast<double>(total);
}

/// Optimal code lengths per symbol, at most `max_length`; 0 for symbols that do not occur and for a lone symbol.
/// Throws ValueError as mean_bit_length does, or if 2^max_length is less than the number of symbols that occur.
inline std::vector<std::uint8_t> huffman_lengths(std::span<const std::uint64_t> counts,
                                                 int max_length = huffman_max_length) {
  const auto leaves = detail::occurring_symbols(counts);
  std::vector<std::uint8_t> lengths(counts.size(), 0);
  if (leaves.size() < 2) return lengths;
  check(max_length >= 1 && max_length <= 32 && leaves.size() <= (std::uint64_t{1} << max_length), "huffman_lengths",
        "got max_length ", max_length, " for ", leaves.size(), " symbols, expected enough for them and at most 32");
  auto depth = detail::huffman_depths(leaves);
  if (*std::max_element(depth.begin(), depth.end()) > max_length) depth = detail::limited_depths(leaves, max_length);
  for (std::size_t i = 0; i < leaves.size(); ++i) lengths[leaves[i].symbol] = static_cast<std::uint8_t>(depth[i]);
  return lengths;
}

/// A canonical code over symbols 0 .. symbols() - 1.
class HuffmanCode {
 public:
  /// The optimal code for `counts`. Throws as huffman_lengths does.
  explicit HuffmanCode(std::span<const std::uint64_t> counts) : lengths_(huffman_lengths(counts)) {
    for (std::size_t s = 0; s < counts.size(); ++s)
      if (counts[s] != 0) used_.push_back(static_cast<std::uint16_t>(s));
    build();
  }

  /// The code that `to_bytes` wrote. Throws ValueError if `bytes` is not a complete code over that many symbols.
  static HuffmanCode from_bytes(std::span<const std::uint8_t> bytes, Index symbols) {
    check(symbols >= 0 && symbols <= 65536, "HuffmanCode", "got ", symbols, " symbols, expected at most 65536");
    const auto lengths = unpack_bits(bytes, symbols, length_bits);
    HuffmanCode code;
    code.lengths_.assign(lengths.size(), 0);
    std::uint64_t kraft = 0;  // in units of 2^-huffman_max_length
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      const int length = lengths[s];
      check(length <= huffman_max_length, "HuffmanCode", "got a length of ", length, " bits, expected at most ",
            huffman_max_length);
      if (length == 0) continue;
      kraft += std::uint64_t{1} << (huffman_max_length - length);
      code.lengths_[s] = static_cast<std::uint8_t>(length);
      code.used_.push_back(static_cast<std::uint16_t>(s));
    }
    if (code.used_.size() == 1) {
      check(code.lengths_[code.used_[0]] == 1, "HuffmanCode", "got a lone symbol that is not marked by length 1");
      code.lengths_[code.used_[0]] = 0;
    } else {
      check(code.used_.empty() || kraft == std::uint64_t{1} << huffman_max_length, "HuffmanCode",
            "got lengths that are not those of a complete prefix code");
    }
    code.build();
    return code;
  }

  /// The lengths, 5 bits per symbol; a lone symbol is marked by length 1.
  std::vector<std::uint8_t> to_bytes() const {
    std::vector<std::uint16_t> lengths(lengths_.begin(), lengths_.end());
    if (lone()) lengths[used_[0]] = 1;
    return pack_bits(lengths, length_bits);
  }

  Index symbols() const noexcept { return static_cast<Index>(lengths_.size()); }
  /// Bits per symbol; 0 for symbols that do not occur and for a lone one.
  std::span<const std::uint8_t> lengths() const noexcept { return lengths_; }
  /// True if one symbol is all there is: codes then take no bits.
  bool lone() const noexcept { return used_.size() == 1; }

  /// Bits that `codes` take. Throws ValueError for a symbol without a code.
  std::uint64_t encoded_bits(std::span<const std::uint16_t> codes) const {
    std::uint64_t bits = 0;
    for (const auto symbol : codes) {
      check_symbol(symbol);
      bits += lengths_[symbol];
    }
    return bits;
  }

  /// The bits of `codes`, most significant first, rounded up to whole bytes with zero bits. Throws ValueError for a
  /// symbol without a code.
  std::vector<std::uint8_t> encode(std::span<const std::uint16_t> codes) const {
    std::vector<std::uint8_t> out;
    out.reserve(static_cast<std::size_t>((encoded_bits(codes) + 7) / 8));
    std::uint64_t window = 0;
    int held = 0;
    for (const auto symbol : codes) {
      window = window << lengths_[symbol] | codewords_[symbol];
      for (held += lengths_[symbol]; held >= 8; held -= 8)
        out.push_back(static_cast<std::uint8_t>(window >> (held - 8) & 0xFF));
    }
    if (held > 0) out.push_back(static_cast<std::uint8_t>(window << (8 - held) & 0xFF));
    return out;
  }

  /// The n symbols in `bytes`, which must hold exactly them. Throws ValueError if it does not; reads nothing outside
  /// and allocates at most 16 bytes per byte of input (except for a lone symbol, which has no bits).
  std::vector<std::uint16_t> decode(std::span<const std::uint8_t> bytes, Index n) const {
    check(n >= 0 && (n == 0 || !used_.empty()), "HuffmanCode", "got ", n, " codes for a code without symbols");
    if (lone() || n == 0) {
      check(bytes.empty(), "HuffmanCode", "got ", bytes.size(), " bytes, expected none");
      return std::vector<std::uint16_t>(static_cast<std::size_t>(n), lone() ? used_[0] : std::uint16_t{0});
    }
    const std::uint64_t available = std::uint64_t{8} * bytes.size();
    check(static_cast<std::uint64_t>(n) <= available, "HuffmanCode", "got ", bytes.size(), " bytes, too few for ", n,
          " codes");
    std::vector<std::uint16_t> codes(static_cast<std::size_t>(n));
    std::uint64_t window = 0, consumed = 0;  // `held` valid bits at the top of the window
    int held = 0;
    std::size_t next = 0;
    for (auto& code : codes) {
      for (; held <= 56; held += 8, ++next)
        window |= (next < bytes.size() ? std::uint64_t{bytes[next]} : std::uint64_t{0}) << (56 - held);
      Entry entry = table_[static_cast<std::size_t>(window >> (64 - table_bits))];
      if (entry.length == 0) [[unlikely]]
        entry = long_code(window);
      code = entry.symbol;
      window <<= entry.length;
      held -= entry.length;
      consumed += entry.length;
    }
    check(consumed <= available && (consumed + 7) / 8 == bytes.size(), "HuffmanCode", "got ", bytes.size(),
          " bytes, but ", n, " codes take ", consumed, " bits");
    check(consumed == available || (bytes.back() & (0xFF >> (8 - (available - consumed)))) == 0, "HuffmanCode",
          "got filling bits that are not 0 after the last code");
    return codes;
  }

 private:
  static constexpr int length_bits = 5;  // of a length in the stored table
  static constexpr int table_bits = 11;  // resolved by one look-up; longer codes take a short search

  struct Entry {
    std::uint16_t symbol = 0;
    std::uint16_t length = 0;  // 0: longer than table_bits
  };

  HuffmanCode() = default;

  void check_symbol(std::uint16_t symbol) const {
    check(symbol < lengths_.size() && (lengths_[symbol] != 0 || (lone() && used_[0] == symbol)), "HuffmanCode",
          "got symbol ", symbol, ", which has no code");
  }

  /// Assigns codewords in order of (length, symbol) and fills the tables of the decoder.
  void build() {
    codewords_.assign(lengths_.size(), 0);
    table_.assign(std::size_t{1} << table_bits, Entry{});
    if (used_.size() < 2) return;
    sorted_ = used_;
    std::sort(sorted_.begin(), sorted_.end(), [&](std::uint16_t a, std::uint16_t b) {
      return lengths_[a] != lengths_[b] ? lengths_[a] < lengths_[b] : a < b;
    });
    std::uint64_t codeword = 0;
    std::size_t at = 0;
    for (int length = 1; length <= huffman_max_length; ++length) {
      codeword <<= 1;
      first_[static_cast<std::size_t>(length)] = static_cast<std::int64_t>(at) - static_cast<std::int64_t>(codeword);
      for (; at < sorted_.size() && lengths_[sorted_[at]] == length; ++at, ++codeword) {
        codewords_[sorted_[at]] = static_cast<std::uint32_t>(codeword);
        if (length > table_bits) continue;
        const std::size_t begin = static_cast<std::size_t>(codeword) << (table_bits - length);
        const std::size_t count = std::size_t{1} << (table_bits - length);
        std::fill_n(table_.begin() + static_cast<std::ptrdiff_t>(begin), count,
                    Entry{sorted_[at], static_cast<std::uint16_t>(length)});
      }
      end_[static_cast<std::size_t>(length)] = codeword;
    }
  }

  /// The entry of a code longer than table_bits at the top of `window`. The code is complete, so there is one.
  Entry long_code(std::uint64_t window) const noexcept {
    for (int length = table_bits + 1; length <= huffman_max_length; ++length) {
      const std::uint64_t prefix = window >> (64 - length);
      if (prefix < end_[static_cast<std::size_t>(length)]) {
        const auto index = static_cast<std::int64_t>(prefix) + first_[static_cast<std::size_t>(length)];
        return {sorted_[static_cast<std::size_t>(index)], static_cast<std::uint16_t>(length)};
      }
    }
    return {sorted_.back(), huffman_max_length};
  }

  std::vector<std::uint8_t> lengths_;
  std::vector<std::uint32_t> codewords_;
  std::vector<std::uint16_t> used_;    // symbols that occur, ascending
  std::vector<std::uint16_t> sorted_;  // by (length, symbol)
  std::vector<Entry> table_;
  std::array<std::int64_t, huffman_max_length + 1> first_{};  // index in sorted_ minus codeword, per length
  std::array<std::uint64_t, huffman_max_length + 1> end_{};   // one past the last codeword of a length
};

}  // namespace qdistill::inline QDISTILL_ABI
