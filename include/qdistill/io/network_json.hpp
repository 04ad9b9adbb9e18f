/// `Network` to JSON and back. A list of integers, an integer, a fraction, a boolean and a text keep their kinds.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/encoding/network.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

namespace detail {

/// The field `key` of `object`. Throws FileError if `object` is none or has no such field.
inline const nlohmann::json& json_field(const nlohmann::json& object, const char* key) {
  check<FileError>(object.is_object(), "json", "got no object where one with '", key, "' is expected");
  const auto found = object.find(key);
  check<FileError>(found != object.end(), "json", "got no field '", key, "'");
  return *found;
}

inline Index json_index(const nlohmann::json& value, const char* what) {
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<Index>::max())
                        : value.is_number_integer();
  check<FileError>(fits, "json", "got no 64-bit integer as ", what);
  return value.get<Index>();
}

inline int json_int(const nlohmann::json& value, const char* what) {
  const Index wide = json_index(value, what);
  check<FileError>(std::in_range<int>(wide), "json", "got ", wide, " as ", what, ", expected a 32-bit integer");
  return static_cast<int>(wide);
}

inline const std::string& json_text(const nlohmann::json& value, const char* what) {
  check<FileError>(value.is_string(), "json", "got no string as ", what);
  return value.get_ref<const std::string&>();
}

inline std::vector<Index> json_indices(const nlohmann::json& value, const char* what) {
  check<FileError>(value.is_array(), "json", "got no list as ", what);
  std::vector<Index> out;
  for (const auto& element : value) out.push_back(json_index(element, what));
  return out;
}

inline std::map<std::string, std::string> json_texts(const nlohmann::json& value, const char* what) {
  check<FileError>(value.is_object(), "json", "got no object as ", what);
  std::map<std::string, std::string> out;
  for (const auto& item : value.items()) out.emplace(item.key(), json_text(item.value(), what));
  return out;
}

inline Attribute json_attribute(const nlohmann::json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return json_indices(value, "an attribute's list");
  if (value.is_number_float()) return value.get<double>();
  return json_index(value, "an attribute");
}

}  // namespace detail

inline nlohmann::json network_to_json(const Network& network) {
  using nlohmann::json;
  json ops = json::array();
  for (const NetworkOp& op : network.ops) {
    json attributes = json::object();
    for (const auto& [key, value] : op.attributes)
      attributes[key] = std::visit([](const auto& held) { return json(held); }, value);
    ops.push_back({{"op", op.op},
                   {"inputs", op.inputs},
                   {"output", op.output},
                   {"attributes", std::move(attributes)},
                   {"tensors", json(op.tensors)}});
  }
  return {{"version", network.version},
          {"input_shape", network.input_shape},
          {"ops", std::move(ops)},
          {"output", network.output}};
}

/// Throws FileError for another structure, and as `validate(Network)` does (a newer version first).
inline Network network_from_json(const nlohmann::json& value) {
  Network network;
  network.version = detail::json_int(detail::json_field(value, "version"), "the network's version");
  validate(network);
  network.input_shape = detail::json_indices(detail::json_field(value, "input_shape"), "the network's input shape");
  network.output = detail::json_int(detail::json_field(value, "output"), "the network's output");
  const auto& ops = detail::json_field(value, "ops");
  check<FileError>(ops.is_array(), "json", "got no list of operations");
  for (const auto& item : ops) {
    NetworkOp op;
    op.op = detail::json_text(detail::json_field(item, "op"), "an operation's name");
    for (const Index input : detail::json_indices(detail::json_field(item, "inputs"), "inputs")) {
      check<FileError>(std::in_range<int>(input), "json", "got input value ", input, " of ", op.op);
      op.inputs.push_back(static_cast<int>(input));
    }
    op.output = detail::json_int(detail::json_field(item, "output"), "an operation's output");
    const auto& attributes = detail::json_field(item, "attributes");
    check<FileError>(attributes.is_object(), "json", "got no object of attributes of ", op.op);
    for (const auto& attribute : attributes.items())
      op.attributes.emplace(attribute.key(), detail::json_attribute(attribute.value()));
    op.tensors = detail::json_texts(detail::json_field(item, "tensors"), "tensor names");
    network.ops.push_back(std::move(op));
  }
  validate(network);
  return network;
}

}  // namespace qdistill::inline QDISTILL_ABI::io
