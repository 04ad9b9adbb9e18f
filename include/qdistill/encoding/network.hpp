/// The network as plain data: operations, their attributes, the values between them and the names of their tensors.
/// Modules write themselves into it (`describe`), the packed file stores it, and the runtime executes it without the
/// C++ class that it came from. Operation names and their attributes are a contract between `nn` and `runtime`; here
/// only the structure is checked.
///
/// Values are numbered: 0 is the network's input, and operation i produces value i + 1. A value may be used any number
/// of times, but only after the operation that produces it.
#pragma once

#include <cmath>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// What an attribute may hold. Note that {"size", {2, 2}} needs its type: std::vector<Index>{2, 2}.
using Attribute = std::variant<std::int64_t, double, bool, std::string, std::vector<Index>>;
using Attributes = std::map<std::string, Attribute>;
/// Role ("weight", "bias") to the tensor's full name ("conv1.weight").
using TensorNames = std::map<std::string, std::string>;

struct NetworkOp {
  std::string op;           ///< for example "conv2d"
  std::vector<int> inputs;  ///< values
  int output = 0;           ///< value
  Attributes attributes;
  TensorNames tensors;

  bool operator==(const NetworkOp&) const = default;

  bool has(const std::string& attribute) const { return attributes.count(attribute) != 0; }

  /// The attribute of exactly this type (int64, double, bool, string, list). Throws ValueError if it is missing or of
  /// another type.
  template <class V>
  const V& get(const std::string& attribute) const {
    const auto found = attributes.find(attribute);
    check(found != attributes.end(), op, "got no attribute '", attribute, "', expected one");
    const V* value = std::get_if<V>(&found->second);
    check(value != nullptr, op, "got attribute '", attribute, "' of another type than expected");
    return *value;
  }
  /// As `get`, with `otherwise` for a missing attribute.
  template <class V>
  V get_or(const std::string& attribute, V otherwise) const {
    return has(attribute) ? get<V>(attribute) : std::move(otherwise);
  }
  /// The full name of the tensor in a role. Throws ValueError if there is none.
  const std::string& tensor(const std::string& role) const {
    const auto found = tensors.find(role);
    check(found != tensors.end(), op, "got no tensor for '", role, "', expected one");
    return found->second;
  }
};

struct Network {
  /// Version of the meaning of this structure; a reader refuses a newer one.
  static constexpr int current_version = 1;

  int version = current_version;
  std::vector<Index> input_shape;  ///< of one sample, without the batch: (C, H, W) for images
  std::vector<NetworkOp> ops;      ///< in order of execution
  int output = 0;                  ///< the value that the network returns; 0, its input, while it has no operations

  bool operator==(const Network&) const = default;

  /// Appends an operation, makes its result the network's output and returns that value's number. Throws ValueError
  /// if an input is not an earlier value.
  int add(std::string op, std::vector<int> inputs, Attributes attributes = {}, TensorNames tensors = {}) {
    const int values = static_cast<int>(ops.size()) + 1;
    for (const int input : inputs)
      check(input >= 0 && input < values, op, "got input value ", input, ", expected 0 to ", values - 1);
    ops.push_back({std::move(op), std::move(inputs), values, std::move(attributes), std::move(tensors)});
    return output = values;
  }
};

/// Throws ValueError or ShapeError if `network` is not well formed: newer version, values out of range or out of order,
/// nameless operations, attributes that are not finite. An empty network is well formed. Whether an operation is
/// known is the runtime's business.
inline void validate(const Network& network) {
  const char* const where = "network";
  check(network.version >= 1, where, "got version ", network.version, ", expected at least 1");
  check(network.version <= Network::current_version, where, "got version ", network.version, ", expected at most ",
        Network::current_version, ". HINT: use a newer qdistill");
  for (const Index extent : network.input_shape)
    check<ShapeError>(extent >= 1, where, "got input shape ", std::span<const Index>(network.input_shape),
                      ", expected extents of 1 or more");
  const std::size_t limit = 1'000'000;
  check(network.ops.size() <= limit, where, "got ", network.ops.size(), " operations, expected at most ", limit);
  for (std::size_t i = 0; i < network.ops.size(); ++i) {
    const NetworkOp& op = network.ops[i];
    check(!op.op.empty(), where, "got an empty name for operation ", i, ", expected one");
    check(op.output == static_cast<int>(i) + 1, where, "got output value ", op.output, " of operation ", i, " (", op.op,
          "), expected ", i + 1);
    for (const int input : op.inputs)
      check(input >= 0 && input < op.output, where, "got input value ", input, " of operation ", i, " (", op.op,
            "), expected 0 to ", op.output - 1);
    for (const auto& [key, value] : op.attributes) {
      const double* number = std::get_if<double>(&value);
      check(!number || std::isfinite(*number), where, "got attribute '", key, "' of operation ", i, " (", op.op,
            ") that is not finite");
    }
    for (const auto& [role, tensor] : op.tensors)
      check(!role.empty() && !tensor.empty(), where, "got an empty tensor name in operation ", i, " (", op.op, ')');
  }
  const int last = static_cast<int>(network.ops.size());
  check(network.output >= 0 && network.output <= last, where, "got output value ", network.output, ", expected 0 to ",
        last);
}

}  // namespace qdistill::inline QDISTILL_ABI
