/// What the codecs of the packed file share. A codec writes and reads one kind of encoding, one "scheme" of the file,
/// and stands in a file of its own, io/packed_KIND.hpp:
///
///   template <> struct Codec<KindEncoding> {
///     static constexpr const char* scheme = "kind";
///     static int format(const KindEncoding&);                  // the first version of the format that has it
///     static void each_stream(const KindEncoding&, F&& f);     // f(suffix, pool, codes) for each tensor of codes
///     static json write(PackedWriter&, name, shape, const KindEncoding&);  // returns the description
///     static Encoding read(PackedReader&, name, const json& description);
///   };
///
/// All streams of one pool share one Huffman code. Codes that are levels, of whatever scheme, pool by bit width alone,
/// as the first paper counts them: levels are ordered by value and the middle ones are the frequent ones, in every
/// tensor. Product codes have pools of their own. A codeword's number says nothing about its value, so their counts
/// are of another shape (close to flat), and one code for two distributions p of m codes and q of n codes costs
/// m KL(p || r) + n KL(q || r) bits more than two, r = (m p + n q) / (m + n); a second table costs 5 bits a symbol.
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/encoding/bits.hpp"
#include "qdistill/encoding/huffman.hpp"
#include "qdistill/io/network_json.hpp"
#include "qdistill/io/packed_model.hpp"
#include "qdistill/io/safetensors.hpp"

namespace qdistill::inline QDISTILL_ABI::io::detail {

template <class Kind>
struct Codec;

/// Codes that share one Huffman code: levels (family "") or product codes (family "product.") of one width.
struct CodePool {
  const char* family = "";
  int bits = 0;
  /// The stored tensor that holds the code's table.
  std::string table() const { return text("qdistill.huffman.", family, bits); }
};

/// By CodePool::table().
using HuffmanCodes = std::map<std::string, HuffmanCode>;

/// Gathers the tensors of a packed file. Entries point into `buffers` and the model.
struct PackedWriter {
  HuffmanCodes huffman;
  std::vector<std::vector<std::uint8_t>> buffers;
  std::vector<TensorEntry> entries;
  Ledger ledger;  // without header and padding

  /// Each adds its bytes to `item`, a field of `ledger`.
  void bytes(std::string name, std::vector<std::uint8_t> values, Index& item) {
    const auto size = static_cast<Index>(values.size());
    add(std::move(name), Dtype::U8, {size}, std::move(values), item);
  }
  void floats(std::string name, std::vector<Index> shape, const std::vector<float>& values, Index& item) {
    entries.push_back(tensor_entry(std::move(name), std::move(shape), values));
    item += static_cast<Index>(entries.back().bytes.size());
  }
  /// `values` must be float16 numbers.
  void halves(std::string name, std::vector<Index> shape, const std::vector<float>& values, Index& item) {
    std::vector<std::uint8_t> stored(2 * values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t half = float_to_half(values[i]);
      std::memcpy(stored.data() + 2 * i, &half, 2);
    }
    add(std::move(name), Dtype::F16, std::move(shape), std::move(stored), item);
  }
  bool uses_huffman(const CodePool& pool) const { return huffman.count(pool.table()) != 0; }
  void codes(std::string name, const CodePool& pool, std::span<const std::uint16_t> values) {
    const auto code = huffman.find(pool.table());
    bytes(std::move(name), code != huffman.end() ? code->second.encode(values) : pack_bits(values, pool.bits),
          ledger.codes);
  }
  /// What the description says of a tensor whose codes are one stream.
  const char* coding(const CodePool& pool) const { return uses_huffman(pool) ? "huffman" : "plain"; }

 private:
  void add(std::string name, Dtype dtype, std::vector<Index> shape, std::vector<std::uint8_t> values, Index& item) {
    item += static_cast<Index>(values.size());
    buffers.push_back(std::move(values));  // moves of the outer vector keep the inner buffers where they are
    entries.push_back({std::move(name), dtype, std::move(shape), std::as_bytes(std::span(buffers.back()))});
  }
};

/// Gives out the tensors of a packed file by name and type, and remembers which were asked for. Everything throws Error
/// where the file does not have what is asked for; nothing is allocated beyond a constant times the bytes present.
class PackedReader {
 public:
  explicit PackedReader(const SafetensorsFile& file) : file_(file) {}

  const TensorView& tensor(const std::string& name, Dtype dtype) {
    const TensorView& found = tensor(name);
    check<FileError>(found.dtype == dtype, "tensors", "got ", io::name(found.dtype), " for '", shown(name),
                     "', expected ", io::name(dtype));
    return found;
  }
  const TensorView& tensor(const std::string& name) {
    const TensorView& found = file_.at(name);
    used_.insert(name);
    return found;
  }
  std::span<const std::uint8_t> bytes(const std::string& name) {
    const auto stored = tensor(name, Dtype::U8).bytes;
    return {reinterpret_cast<const std::uint8_t*>(stored.data()), stored.size()};
  }
  std::vector<float> floats(const std::string& name) { return floats(name, Dtype::F32); }
  std::vector<float> halves(const std::string& name) { return floats(name, Dtype::F16); }
  /// n codes of `pool`.
  std::vector<std::uint16_t> codes(const std::string& name, const CodePool& pool, Index n, bool huffman) {
    const auto stored = bytes(name);
    return huffman ? code(pool).decode(stored, n) : unpack_bits(stored, n, pool.bits);
  }
  /// How many stored tensors were asked for.
  std::size_t used() const noexcept { return used_.size(); }

 private:
  std::vector<float> floats(const std::string& name, Dtype dtype) {
    tensor(name, dtype);
    return file_.values<float>(name);
  }
  const HuffmanCode& code(const CodePool& pool) {
    auto found = huffman_.find(pool.table());
    if (found == huffman_.end()) {
      auto read = HuffmanCode::from_bytes(bytes(pool.table()), Index{1} << pool.bits);
      check<FileError>(!read.lone(), "huffman", "got a code of a lone symbol");
      found = huffman_.emplace(pool.table(), std::move(read)).first;
    }
    return found->second;
  }

  const SafetensorsFile& file_;
  std::set<std::string> used_;
  HuffmanCodes huffman_;
};

/// A number of the description as a float. A float that was written comes back with its bits.
inline float json_float(const nlohmann::json& value, const char* what) {
  check<FileError>(value.is_number(), "json", "got no number as ", what);
  const auto wide = value.get<double>();
  check<FileError>(std::abs(wide) <= std::numeric_limits<float>::max(), "json", "got a number beyond float as ", what);
  return static_cast<float>(wide);
}

/// The field "coding" of a description: true for a Huffman code.
inline bool json_coding(const nlohmann::json& description) {
  const std::string& coding = json_text(json_field(description, "coding"), "coding");
  check<FileError>(coding == "plain" || coding == "huffman", "coding", "got '", shown(coding),
                   "', expected plain or huffman");
  return coding == "huffman";
}

}  // namespace qdistill::inline QDISTILL_ABI::io::detail
