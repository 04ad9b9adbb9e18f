/// The packed file: a safetensors file, so that any reader of that format opens it.
///
/// The metadata string "qdistill" holds JSON:
///
///   {"format": 1 or 2, "network": {...}, "info": {string: string}, "tensors": {NAME: {"scheme": ..., ...}}}
///
/// The scheme of a tensor says as which stored tensors, all named after it, it stands in the file. Each kind of
/// encoding has one, and its codec in a file of its own (io/packed_codec.hpp); here is what frames them. All codes of
/// one pool (the levels of one bit width, say) share one Huffman code, as the first paper counts it (Polino et al.
/// 2018, section 5); its table is stored as qdistill.huffman.BITS (U8).
///
/// A file says the smallest format that has all that it holds, so that a model without anything new opens in an older
/// reader. A code of a lone symbol would have no bits, and a reader could not tell its length from the file's; such a
/// pool is stored plain.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/io/json.hpp"
#include "qdistill/io/packed_codec.hpp"
#include "qdistill/io/packed_dense.hpp"
#include "qdistill/io/packed_grouped.hpp"
#include "qdistill/io/packed_product.hpp"
#include "qdistill/io/packed_table.hpp"
#include "qdistill/io/packed_uniform.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// The newest format version; all from 1 to this one are read.
inline constexpr int packed_format_version = 2;

namespace detail {

/// Calls f(codec, data) with the codec of `encoding`'s kind and its data.
template <class F>
decltype(auto) with_codec(const Encoding& encoding, F&& f) {
  return std::visit([&]<class Kind>(const Kind& data) { return f(Codec<Kind>{}, data); }, encoding.data);
}

/// Reads with the codec whose scheme the description names; the kinds are those of Encoding.
template <class... Kinds>
Encoding read_encoding(const std::variant<Kinds...>*, PackedReader& in, const std::string& name,
                       const nlohmann::json& description) {
  const std::string& scheme = json_text(json_field(description, "scheme"), "scheme");
  Encoding out;
  const bool known =
      ((scheme == Codec<Kinds>::scheme && (out = Codec<Kinds>::read(in, name, description), true)) || ...);
  check<FileError>(known, "scheme", "got '", shown(scheme), "', expected one of:", text(' ', Codec<Kinds>::scheme)...);
  return out;
}

/// The Huffman codes of those pools of `model` for which they make the file smaller.
inline HuffmanCodes huffman_codes(const PackedModel& model) {
  std::map<std::string, std::vector<std::uint64_t>> counts;
  const auto each_stream = [&](auto&& f) {
    for (const auto& [name, encoding] : model.tensors)
      with_codec(encoding, [&](auto codec, const auto& data) { codec.each_stream(data, f); });
  };
  each_stream([&](const std::string&, const CodePool& pool, std::span<const std::uint16_t> codes) {
    auto& count = counts[pool.table()];
    count.resize(std::size_t{1} << pool.bits);
    for (const auto code : codes) ++count[code];
  });
  HuffmanCodes codes;
  std::map<std::string, Index> saved;
  for (const auto& [table, count] : counts) {
    const auto& code = codes.emplace(table, HuffmanCode(count)).first->second;
    const Index header_entry = 90;  // about what the table takes in the file's header
    saved[table] = -static_cast<Index>(code.to_bytes().size()) - header_entry;
  }
  each_stream([&](const std::string&, const CodePool& pool, std::span<const std::uint16_t> stream) {
    saved[pool.table()] += packed_bytes(static_cast<Index>(stream.size()), pool.bits) -
                           static_cast<Index>((codes.at(pool.table()).encoded_bits(stream) + 7) / 8);
  });
  for (const auto& [table, bytes] : saved)
    if (bytes <= 0 || codes.at(table).lone()) codes.erase(table);
  return codes;
}

/// The tensors and metadata of a packed file. Entries point into `buffers` and the model.
struct PackedParts {
  std::vector<std::vector<std::uint8_t>> buffers;
  std::vector<TensorEntry> entries;
  SafetensorsFile::Metadata metadata;
  Ledger ledger;  // without header and padding
};

inline PackedParts packed_parts(const PackedModel& model, const PackOptions& options) {
  using nlohmann::json;
  validate(model);
  PackedWriter out;
  if (options.huffman) out.huffman = huffman_codes(model);
  int format = 1;
  json tensors = json::object();
  for (const auto& [name, encoding] : model.tensors)
    with_codec(encoding, [&, &name = name, &shape = encoding.shape](auto codec, const auto& data) {
      tensors[name] = codec.write(out, name, shape, data);
      format = std::max(format, codec.format(data));
    });
  for (const auto& [table, code] : out.huffman) out.bytes(table, code.to_bytes(), out.ledger.huffman_table);
  const json description{{"format", format},
                         {"network", network_to_json(model.network)},
                         {"info", json(model.info)},
                         {"tensors", std::move(tensors)}};
  PackedParts parts{std::move(out.buffers), std::move(out.entries), {}, out.ledger};
  try {
    parts.metadata.emplace("qdistill", description.dump());
  } catch (const json::exception&) {
    fail("save_packed", "got a name or an info field that is not UTF-8");
  }
  return parts;
}

/// Reads one packed file.
class Unpacker {
 public:
  explicit Unpacker(const SafetensorsFile& file) : file_(file), reader_(file) {}

  PackedModel read() {
    const auto metadata = file_.metadata().find("qdistill");
    check<FileError>(metadata != file_.metadata().end(), op, file_.source(),
                     ": not a packed model (no 'qdistill' in the metadata)");
    const nlohmann::json description = parse_json(metadata->second, 8, op, file_.source());
    PackedModel model;
    int format = 0;
    within("the description", [&] {
      format = json_int(json_field(description, "format"), "format");
      check<FileError>(format >= 1, "format", "got version ", format, ", expected at least 1");
      check<FileError>(format <= packed_format_version, "format", "got version ", format, ", expected at most ",
                       packed_format_version, ". HINT: use a newer qdistill");
      model.info = json_texts(json_field(description, "info"), "info");
    });
    within("the network", [&] { model.network = network_from_json(json_field(description, "network")); });
    const nlohmann::json* tensors = nullptr;
    within("the description", [&] {
      tensors = &json_field(description, "tensors");
      check<FileError>(tensors->is_object(), "json", "got no object as tensors");
    });
    for (const auto& item : tensors->items())
      within(text("tensor '", shown(item.key()), '\''), [&] {
        Encoding e = read_encoding(static_cast<decltype(Encoding::data)*>(nullptr), reader_, item.key(), item.value());
        const int needed = with_codec(e, [](auto codec, const auto& data) { return codec.format(data); });
        check<FileError>(needed <= format, "scheme", "got what format ", needed, " has, in a file of format ", format);
        model.tensors.emplace(item.key(), std::move(e));
      });
    within("the model", [&] {
      validate(model);
      check<FileError>(reader_.used() == file_.tensors().size(), "tensors", "got ", file_.tensors().size(),
                       " stored tensors, of which ", reader_.used(), " are described");
    });
    return model;
  }

 private:
  static constexpr const char* op = "load_packed";

  /// Runs f; errors name the file and the part.
  template <class F>
  void within(const std::string& part, F&& f) const {
    try {
      f();
    } catch (const Error& e) {
      fail<FileError>(op, file_.source(), ": ", part, ": ", e.what());
    }
  }

  const SafetensorsFile& file_;
  PackedReader reader_;
};

}  // namespace detail

/// Writes `model` to `path` in one step and returns where the bytes went; their sum is the file's size. Throws Error if
/// the model is not well formed (validate), FileError if the file cannot be written.
inline Ledger save_packed(const std::string& path, const PackedModel& model, const PackOptions& options = {}) {
  auto parts = detail::packed_parts(model, options);
  const SafetensorsLayout layout = save_safetensors(path, parts.entries, parts.metadata);
  parts.ledger.header = layout.header;
  parts.ledger.padding = layout.padding;
  return parts.ledger;
}

/// The bytes that save_packed would write.
inline std::vector<std::byte> to_packed(const PackedModel& model, const PackOptions& options = {}) {
  const auto parts = detail::packed_parts(model, options);
  return to_safetensors(parts.entries, parts.metadata);
}

/// The model in `file`. Throws FileError, naming the file and the part, for anything that does not fit, or a newer
/// format.
inline PackedModel unpack(const SafetensorsFile& file) { return detail::Unpacker(file).read(); }

/// The model in the packed file at `path`. Throws FileError.
inline PackedModel load_packed(const std::string& path) { return unpack(load_safetensors(path)); }

}  // namespace qdistill::inline QDISTILL_ABI::io
