/// The packed file: a safetensors file, so that any reader of that format opens it.
///
/// A dense tensor NAME is stored as NAME (F32). A uniform one is stored as NAME.codes (U8: packed bits, or the stream
/// of the Huffman code), NAME.scale and, with linear scaling, NAME.offset (F32, one per bucket). All codes of one bit
/// width share one Huffman code, as the first paper counts it (Polino et al. 2018, section 5); its table is stored as
/// qdistill.huffman.BITS (U8). The metadata string "qdistill" holds JSON:
///
///   {"format": 1, "network": {...}, "info": {string: string}, "tensors": {NAME: {"scheme": "dense"} or
///    {"scheme": "uniform", "bits", "bucket_size", "scaling", "shape", "coding": "plain" or "huffman", "mean" if any}}}
///
/// A code of a lone symbol would have no bits, and a reader could not tell its length from the file's; such a width is
/// stored plain.
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
#include "qdistill/io/json.hpp"
#include "qdistill/io/network_json.hpp"
#include "qdistill/io/packed_model.hpp"
#include "qdistill/io/safetensors.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// The format version that is written; all from 1 to this one are read.
inline constexpr int packed_format_version = 1;

namespace detail {

inline std::string huffman_table_name(int bits) { return text("qdistill.huffman.", bits); }

/// The Huffman code of each bit width of `model` for which it makes the file smaller.
inline std::map<int, HuffmanCode> huffman_codes(const PackedModel& model) {
  std::map<int, std::vector<std::uint64_t>> counts;
  for (const auto& [name, encoding] : model.tensors) {
    const auto* uniform = std::get_if<UniformEncoding>(&encoding.data);
    if (!uniform) continue;
    auto& count = counts[uniform->bits];
    count.resize(std::size_t{1} << uniform->bits);
    for (const auto code : uniform->codes) ++count[code];
  }
  std::map<int, HuffmanCode> codes;
  for (const auto& [bits, count] : counts) {
    HuffmanCode code(count);
    const Index header_entry = 90;  // about what the table takes in the file's header
    Index saved = -static_cast<Index>(code.to_bytes().size()) - header_entry;
    for (const auto& [name, encoding] : model.tensors) {
      const auto* uniform = std::get_if<UniformEncoding>(&encoding.data);
      if (!uniform || uniform->bits != bits) continue;
      saved += packed_bytes(static_cast<Index>(uniform->codes.size()), bits) -
               static_cast<Index>((code.encoded_bits(uniform->codes) + 7) / 8);
    }
    if (saved > 0 && !code.lone()) codes.emplace(bits, std::move(code));
  }
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
  const auto huffman = options.huffman ? huffman_codes(model) : std::map<int, HuffmanCode>{};
  PackedParts out;
  const auto add_bytes = [&](std::string name, std::vector<std::uint8_t> bytes, Index& item) {
    const auto size = static_cast<Index>(bytes.size());
    item += size;
    out.buffers.push_back(std::move(bytes));  // moves of the outer vector keep the inner buffers where they are
    out.entries.push_back(tensor_entry(std::move(name), {size}, out.buffers.back()));
  };
  const auto add_floats = [&](std::string name, std::vector<Index> shape, const std::vector<float>& values,
                              Index& item) {
    item += static_cast<Index>(values.size() * sizeof(float));
    out.entries.push_back(tensor_entry(std::move(name), std::move(shape), values));
  };
  json tensors = json::object();
  for (const auto& [name, encoding] : model.tensors) {
    json description = json::object();
    if (const auto* dense = std::get_if<DenseEncoding>(&encoding.data)) {
      description["scheme"] = "dense";
      add_floats(name, encoding.shape, dense->values, out.ledger.full_precision);
    } else {
      const auto& uniform = std::get<UniformEncoding>(encoding.data);
      const auto buckets = static_cast<Index>(uniform.scale.size());
      const auto code = huffman.find(uniform.bits);
      description = {{"scheme", "uniform"},
                     {"bits", uniform.bits},
                     {"bucket_size", uniform.bucket_size},
                     {"scaling", qdistill::name(uniform.scaling)},
                     {"shape", encoding.shape},
                     {"coding", code != huffman.end() ? "huffman" : "plain"}};
      if (uniform.mean) description["mean"] = static_cast<double>(*uniform.mean);
      add_bytes(name + ".codes",
                code != huffman.end() ? code->second.encode(uniform.codes) : pack_bits(uniform.codes, uniform.bits),
                out.ledger.codes);
      add_floats(name + ".scale", {buckets}, uniform.scale, out.ledger.scales);
      if (uniform.scaling == Scaling::linear)
        add_floats(name + ".offset", {buckets}, uniform.offset, out.ledger.scales);
    }
    tensors[name] = std::move(description);
  }
  for (const auto& [bits, code] : huffman)
    add_bytes(huffman_table_name(bits), code.to_bytes(), out.ledger.huffman_table);
  const json description{{"format", packed_format_version},
                         {"network", network_to_json(model.network)},
                         {"info", json(model.info)},
                         {"tensors", std::move(tensors)}};
  try {
    out.metadata.emplace("qdistill", description.dump());
  } catch (const json::exception&) {
    fail("save_packed", "got a name or an info field that is not UTF-8");
  }
  return out;
}

/// Reads one packed file.
class Unpacker {
 public:
  explicit Unpacker(const SafetensorsFile& file) : file_(file) {}

  PackedModel read() {
    const auto metadata = file_.metadata().find("qdistill");
    check<FileError>(metadata != file_.metadata().end(), op, file_.source(),
                     ": not a packed model (no 'qdistill' in the metadata)");
    const nlohmann::json description = parse_json(metadata->second, 8, op, file_.source());
    PackedModel model;
    within("the description", [&] {
      const int format = json_int(json_field(description, "format"), "format");
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
      within(text("tensor '", shown(item.key()), '\''),
             [&] { model.tensors.emplace(item.key(), read_tensor(item.key(), item.value())); });
    within("the model", [&] {
      validate(model);
      check<FileError>(used_.size() == file_.tensors().size(), "tensors", "got ", file_.tensors().size(),
                       " stored tensors, of which ", used_.size(), " are described");
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

  const TensorView& stored(const std::string& name, Dtype dtype) {
    const TensorView& tensor = file_.at(name);
    check<FileError>(tensor.dtype == dtype, "tensors", "got ", io::name(tensor.dtype), " for '", shown(name),
                     "', expected ", io::name(dtype));
    used_.insert(name);
    return tensor;
  }
  std::span<const std::uint8_t> stored_bytes(const std::string& name) {
    const auto bytes = stored(name, Dtype::U8).bytes;
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  }
  std::vector<float> stored_floats(const std::string& name) {
    stored(name, Dtype::F32);
    return file_.values<float>(name);
  }

  const HuffmanCode& huffman(int bits) {
    auto found = huffman_.find(bits);
    if (found == huffman_.end()) {
      auto code = HuffmanCode::from_bytes(stored_bytes(huffman_table_name(bits)), Index{1} << bits);
      check<FileError>(!code.lone(), "huffman", "got a code of a lone symbol");
      found = huffman_.emplace(bits, std::move(code)).first;
    }
    return found->second;
  }

  Encoding read_tensor(const std::string& name, const nlohmann::json& description) {
    const std::string& scheme = json_text(json_field(description, "scheme"), "scheme");
    if (scheme == "dense") {
      const TensorView& tensor = stored(name, Dtype::F32);
      return {tensor.shape, DenseEncoding{file_.values<float>(name)}};
    }
    check<FileError>(scheme == "uniform", "scheme", "got '", shown(scheme), "', expected dense or uniform");
    UniformEncoding uniform;
    uniform.bits = json_int(json_field(description, "bits"), "bits");
    uniform.bucket_size = json_index(json_field(description, "bucket_size"), "bucket_size");
    const std::string& scaling = json_text(json_field(description, "scaling"), "scaling");
    bool known = false;
    for (const Scaling s : {Scaling::linear, Scaling::absmax, Scaling::absnorm}) {
      if (scaling != qdistill::name(s)) continue;
      uniform.scaling = s;
      known = true;
    }
    check<FileError>(known, "scaling", "got '", shown(scaling), "', expected linear, absmax or absnorm");
    qdistill::detail::check_uniform_layout("uniform", uniform.bits, uniform.bucket_size, uniform.scaling);
    if (description.contains("mean")) {
      const auto& mean = json_field(description, "mean");
      check<FileError>(mean.is_number(), "json", "got no number as mean");
      const auto wide = mean.get<double>();
      check<FileError>(std::abs(wide) <= std::numeric_limits<float>::max(), "json", "got a mean beyond float");
      uniform.mean = static_cast<float>(wide);
    }
    auto shape = json_indices(json_field(description, "shape"), "shape");
    const Index n = checked_numel("shape", shape);
    const auto bytes = stored_bytes(name + ".codes");
    const std::string& coding = json_text(json_field(description, "coding"), "coding");
    if (coding == "huffman") {
      uniform.codes = huffman(uniform.bits).decode(bytes, n);
    } else {
      check<FileError>(coding == "plain", "coding", "got '", shown(coding), "', expected plain or huffman");
      uniform.codes = unpack_bits(bytes, n, uniform.bits);
    }
    uniform.scale = stored_floats(name + ".scale");
    if (uniform.scaling == Scaling::linear) uniform.offset = stored_floats(name + ".offset");
    return {std::move(shape), std::move(uniform)};
  }

  const SafetensorsFile& file_;
  std::set<std::string> used_;
  std::map<int, HuffmanCode> huffman_;
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
