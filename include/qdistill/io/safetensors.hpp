/// Reading and writing safetensors files (format: the README and `tensor.rs` of huggingface/safetensors).
///
///   8 bytes   little-endian length N of the header, N <= 100,000,000
///   N bytes   JSON: {"__metadata__": {string: string}, NAME: {"dtype", "shape", "data_offsets": [begin, end]}, ...},
///             beginning with '{', padded with spaces
///   the rest  row-major little-endian data; the offsets count from here, the ranges cover it without gap or overlap
///
/// Every claim of a header is checked before memory is reserved for it. In error messages, bytes are counted from the
/// beginning of the JSON.
#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "qdistill/encoding/encoding.hpp"  // checked_numel
#include "qdistill/io/atomic_file.hpp"
#include "qdistill/io/file.hpp"
#include "qdistill/io/safetensors_file.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

inline constexpr std::uint64_t max_header_bytes = 100'000'000;

namespace detail {

/// `name` for a message: at most 80 bytes, control characters replaced.
inline std::string shown(std::string_view name) {
  std::string out(name.substr(0, 80));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  return name.size() > 80 ? out + "..." : out;
}

/// Receives the header's JSON event by event and accepts only the format's own structure: keys at depth 1 are tensors
/// or "__metadata__", at depth 2 their fields; arrays hold unsigned integers only.
class HeaderHandler {
 public:
  struct Tensor {
    Dtype dtype = Dtype::F32;
    std::vector<Index> shape;
    std::vector<Index> offsets;
    bool has_dtype = false, has_shape = false, has_offsets = false;
  };
  using Tensors = std::map<std::string, Tensor, std::less<>>;

  explicit HeaderHandler(const std::string& source) : source_(source) {}
  Tensors tensors;
  SafetensorsFile::Metadata metadata;

  bool start_object(std::size_t) {
    switch (state_) {
      case State::start:
        state_ = State::names;
        return true;
      case State::tensor_value:
        state_ = State::fields;
        return true;
      case State::metadata_value:
        state_ = State::metadata_keys;
        return true;
      default:
        refuse("an object where none may be");
    }
  }
  bool key(std::string& name) {
    if (state_ == State::names) {
      if (name == "__metadata__") {
        if (seen_metadata_) refuse("a repeated name '__metadata__'");
        seen_metadata_ = true;
        state_ = State::metadata_value;
        return true;
      }
      const auto [position, inserted] = tensors.try_emplace(std::move(name));
      if (!inserted) refuse(text("a repeated name '", shown(position->first), '\''));
      name_ = &position->first;
      tensor_ = &position->second;
      state_ = State::tensor_value;
    } else if (state_ == State::metadata_keys) {
      const auto [position, inserted] = metadata.try_emplace(std::move(name));
      if (!inserted) refuse(text("a repeated metadata key '", shown(position->first), '\''));
      metadata_value_ = &position->second;
      state_ = State::metadata_string;
    } else if (name == "dtype") {
      first_time(tensor_->has_dtype, "dtype");
      state_ = State::dtype_value;
    } else if (name == "shape") {
      first_time(tensor_->has_shape, "shape");
      state_ = State::shape_value;
    } else if (name == "data_offsets") {
      first_time(tensor_->has_offsets, "data_offsets");
      state_ = State::offsets_value;
    } else {
      refuse(text("an unknown field '", shown(name), "' of tensor '", shown(*name_), '\''));
    }
    return true;
  }
  bool end_object() {
    if (state_ == State::fields) {
      if (!tensor_->has_dtype || !tensor_->has_shape || !tensor_->has_offsets)
        refuse(text("tensor '", shown(*name_), "' without dtype, shape or data_offsets"));
      state_ = State::names;
    } else {
      state_ = state_ == State::metadata_keys ? State::names : State::end;
    }
    return true;
  }
  bool start_array(std::size_t) {
    if (state_ == State::shape_value) state_ = State::shape;
    else if (state_ == State::offsets_value) state_ = State::offsets;
    else refuse("an array where none may be");
    return true;
  }
  bool end_array() {
    if (state_ == State::offsets && tensor_->offsets.size() != 2)
      refuse(text("tensor '", shown(*name_), "' with ", tensor_->offsets.size(), " data_offsets, expected 2"));
    state_ = State::fields;
    return true;
  }
  bool number_unsigned(std::uint64_t value) {
    if (state_ != State::shape && state_ != State::offsets) refuse("a number where none may be");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()))
      refuse(text("the number ", value, ", which does not fit 63 bits"));
    auto& list = state_ == State::shape ? tensor_->shape : tensor_->offsets;
    if (state_ == State::offsets && list.size() == 2) refuse("more than 2 data_offsets");
    list.push_back(static_cast<Index>(value));
    return true;
  }
  bool string(std::string& value) {
    if (state_ == State::metadata_string) {
      *metadata_value_ = std::move(value);
      state_ = State::metadata_keys;
    } else if (state_ == State::dtype_value) {
      if (!parse_dtype(value, tensor_->dtype))
        refuse(text("tensor '", shown(*name_), "' of dtype '", shown(value), "', which is not supported"));
      state_ = State::fields;
    } else {
      refuse("a string where none may be");
    }
    return true;
  }
  bool null() { refuse("null where none may be"); }
  bool boolean(bool) { refuse("a boolean where none may be"); }
  bool number_integer(std::int64_t) { refuse("a signed number, expected unsigned integers"); }
  bool number_float(double, const std::string&) {
    refuse("a fraction or too large a number, expected unsigned integers");
  }
  bool binary(std::vector<std::uint8_t>&) { refuse("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    refuse(text("what is not JSON at byte ", position));
  }

  [[noreturn]] void refuse(std::string_view what) const {
    fail<FileError>("safetensors", source_, ": the header holds ", what);
  }

 private:
  enum class State {
    start,
    names,
    tensor_value,
    fields,
    dtype_value,
    shape_value,
    shape,
    offsets_value,
    offsets,
    metadata_value,
    metadata_keys,
    metadata_string,
    end
  };

  void first_time(bool& seen, const char* field) {
    if (seen) refuse(text("a repeated field '", field, "' of tensor '", shown(*name_), '\''));
    seen = true;
  }

  const std::string& source_;
  State state_ = State::start;
  bool seen_metadata_ = false;
  const std::string* name_ = nullptr;
  Tensor* tensor_ = nullptr;
  std::string* metadata_value_ = nullptr;
};

}  // namespace detail

/// The file whose bytes are `content`; `source` names it in messages. Throws FileError for anything that the format
/// forbids.
inline SafetensorsFile parse_safetensors(std::vector<std::byte> content, std::string source) {
  const char* const op = "safetensors";
  check<FileError>(content.size() >= 8, op, source, ": got ", content.size(), " bytes, expected at least 8");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), 8);
  check<FileError>(header_bytes <= max_header_bytes, op, source, ": got a header of ", header_bytes,
                   " bytes, expected at most ", max_header_bytes);
  check<FileError>(header_bytes <= content.size() - 8, op, source, ": got a header of ", header_bytes,
                   " bytes in a file of ", content.size(), "; it is truncated or no safetensors file");
  const char* const json = reinterpret_cast<const char*>(content.data()) + 8;
  check<FileError>(header_bytes > 0 && json[0] == '{', op, source, ": the header does not begin with '{'");

  check<FileError>(std::memchr(json, 0, static_cast<std::size_t>(header_bytes)) == nullptr, op, source,
                   ": the header holds a zero byte, where the JSON library would stop reading");

  detail::HeaderHandler header(source);
  nlohmann::json::sax_parse(json, json + header_bytes, &header);

  const auto data = std::span<const std::byte>(content).subspan(8 + static_cast<std::size_t>(header_bytes));
  const auto data_bytes = static_cast<Index>(data.size());
  struct Range {
    Index begin, end;
    const std::string* name;
  };
  std::vector<Range> ranges;
  ranges.reserve(header.tensors.size());
  SafetensorsFile::Tensors tensors;
  while (!header.tensors.empty()) {
    auto node = header.tensors.extract(header.tensors.begin());
    auto& tensor = node.mapped();
    const Index begin = tensor.offsets[0], end = tensor.offsets[1];
    const std::string label = text(source, ": tensor '", detail::shown(node.key()), "'");
    check<FileError>(begin <= end && end <= data_bytes, op, label, ": got data_offsets ",
                     std::span<const Index>(tensor.offsets), ", expected a range within ", data_bytes, " bytes");
    bool fits = false;
    try {
      const Index n = checked_numel(op, tensor.shape);
      fits = (end - begin) % size_of(tensor.dtype) == 0 && n == (end - begin) / size_of(tensor.dtype);
    } catch (const ShapeError&) {
    }
    check<FileError>(fits, op, label, ": its shape and dtype ", name(tensor.dtype), " do not fit its ", end - begin,
                     " bytes");
    const auto bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    const auto placed = tensors.emplace_hint(tensors.end(), std::move(node.key()),
                                             TensorView{tensor.dtype, std::move(tensor.shape), bytes});
    ranges.push_back({begin, end, &placed->first});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  Index covered = 0;
  for (const Range& range : ranges) {
    check<FileError>(range.begin == covered, op, source, ": the data of tensor '", detail::shown(*range.name),
                     "' begins at ", range.begin, ", expected ", covered, " (no gap, no overlap)");
    covered = range.end;
  }
  check<FileError>(covered == data_bytes, op, source, ": got ", data_bytes, " bytes of data, but the tensors cover ",
                   covered);
  return {std::move(source), std::move(content), std::move(tensors), std::move(header.metadata)};
}

/// Reads the file at `path`. Throws FileError.
inline SafetensorsFile load_safetensors(const std::string& path) { return parse_safetensors(read_file(path), path); }

namespace detail {

/// `value` as a JSON string. Throws ValueError if it is not UTF-8.
inline std::string json_string(std::string_view value) {
  try {
    return nlohmann::json(value).dump();
  } catch (const nlohmann::json::exception&) {
    fail("safetensors", "got a text that is not UTF-8: '", shown(value), '\'');
  }
}

struct SafetensorsParts {
  std::string head;  // length, JSON, padding
  std::vector<std::span<const std::byte>> parts;
  SafetensorsLayout layout;
};

inline SafetensorsParts safetensors_parts(std::span<const TensorEntry> entries,
                                          const SafetensorsFile::Metadata& metadata) {
  const char* const op = "safetensors";
  std::vector<const TensorEntry*> order;
  for (const auto& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
  });
  std::set<std::string_view> names;
  SafetensorsParts out;
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (json.back() != '{') json += ',';
      json += json_string(key) + ':' + json_string(value);
    }
    json += '}';
  }
  for (const TensorEntry* entry : order) {
    check(entry->name != "__metadata__" && names.insert(entry->name).second, op, "got tensor name '",
          shown(entry->name), "' twice, or reserved");
    const Index n = checked_numel(op, entry->shape);
    check<ShapeError>(n <= std::numeric_limits<Index>::max() / 8 &&
                          n * size_of(entry->dtype) == static_cast<Index>(entry->bytes.size()),
                      op, "got ", entry->bytes.size(), " bytes for tensor '", shown(entry->name), "' of shape ",
                      std::span<const Index>(entry->shape), ' ', name(entry->dtype));
    if (json.size() > 1) json += ',';
    json += json_string(entry->name) + ":{\"dtype\":\"" + name(entry->dtype) + "\",\"shape\":[";
    for (std::size_t i = 0; i < entry->shape.size(); ++i) json += text(i ? "," : "", entry->shape[i]);
    const Index begin = out.layout.data;
    out.layout.data += static_cast<Index>(entry->bytes.size());
    json += text("],\"data_offsets\":[", begin, ',', out.layout.data, "]}");
    out.parts.push_back(entry->bytes);
  }
  json += '}';
  out.layout.header = 8 + static_cast<Index>(json.size());
  while (json.size() % 8 != 0) json += ' ';
  check(json.size() <= max_header_bytes, op, "got a header of ", json.size(), " bytes, expected at most ",
        max_header_bytes);
  out.layout.padding = 8 + static_cast<Index>(json.size()) - out.layout.header;
  const std::uint64_t length = json.size();
  out.head.resize(8);
  std::memcpy(out.head.data(), &length, 8);
  out.head += json;
  return out;
}

}  // namespace detail

/// The bytes of a file with these tensors and metadata: sorted as the reference writer does (wide types first, then by
/// name), the data aligned to 8 bytes. Throws ShapeError for bytes that do not fit a shape, ValueError for a repeated
/// or reserved name, or a text that is not UTF-8.
inline std::vector<std::byte> to_safetensors(std::span<const TensorEntry> entries,
                                             const SafetensorsFile::Metadata& metadata = {}) {
  const auto parts = detail::safetensors_parts(entries, metadata);
  std::vector<std::byte> out;
  out.reserve(static_cast<std::size_t>(parts.layout.total()));
  const auto head = std::as_bytes(std::span<const char>(parts.head));
  out.insert(out.end(), head.begin(), head.end());
  for (const auto part : parts.parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

/// Writes such a file in one step (io/atomic_file.hpp). Throws as to_safetensors, or FileError.
inline SafetensorsLayout save_safetensors(const std::string& path, std::span<const TensorEntry> entries,
                                          const SafetensorsFile::Metadata& metadata = {}) {
  auto parts = detail::safetensors_parts(entries, metadata);
  parts.parts.insert(parts.parts.begin(), std::as_bytes(std::span<const char>(parts.head)));
  write_file(path, parts.parts);
  return parts.layout;
}

}  // namespace qdistill::inline QDISTILL_ABI::io
