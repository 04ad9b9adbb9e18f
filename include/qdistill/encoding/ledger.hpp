/// The bytes of a packed file, item by item. Their sum is the file's size on disk.
#pragma once

#include <string>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// All fields in bytes.
struct Ledger {
  Index codes = 0;           ///< packed or Huffman-coded codes, each tensor rounded up to whole bytes
  Index scales = 0;          ///< scales and offsets of buckets
  Index tables = 0;          ///< tables of points or codewords
  Index widths = 0;          ///< bit widths of groups
  Index huffman_table = 0;   ///< code lengths of the Huffman codes
  Index full_precision = 0;  ///< tensors stored as float32 or float16
  Index header = 0;          ///< names, shapes, numbers of a whole tensor, the network, free fields
  Index padding = 0;         ///< spaces that align the data

  Index total() const noexcept {
    return codes + scales + tables + widths + huffman_table + full_precision + header + padding;
  }
  bool operator==(const Ledger&) const = default;
};

/// The items by name, in the order in which they are shown.
struct LedgerItem {
  const char* name;
  Index Ledger::*bytes;
};
inline constexpr LedgerItem ledger_items[] = {{"codes", &Ledger::codes},
                                              {"scales", &Ledger::scales},
                                              {"tables", &Ledger::tables},
                                              {"widths", &Ledger::widths},
                                              {"huffman table", &Ledger::huffman_table},
                                              {"full precision", &Ledger::full_precision},
                                              {"header", &Ledger::header},
                                              {"padding", &Ledger::padding}};

/// One line per item that is not zero, and the total.
inline std::string to_string(const Ledger& ledger) {
  std::string out;
  const auto line = [&](const char* item, Index bytes) {
    const std::string number = text(bytes);
    std::string label = item;
    label.resize(16, ' ');
    out += label + std::string(number.size() < 12 ? 12 - number.size() : 1, ' ') + number + " bytes\n";
  };
  for (const LedgerItem& item : ledger_items)
    if (ledger.*item.bytes != 0) line(item.name, ledger.*item.bytes);
  line("total", ledger.total());
  return out;
}

}  // namespace qdistill::inline QDISTILL_ABI
