/// One operation of a network file, read with checks: attributes, tensors and the shapes of its inputs. Every error
/// names the operation by number and name, as in "[runtime: operation 3 (conv2d)] got ...". What is read here may come
/// from a damaged or hostile file.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "qdistill/core/tensor.hpp"
#include "qdistill/encoding/encoding.hpp"
#include "qdistill/encoding/network.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

/// Most elements of a weight: 4 GiB of floats. A product code decodes to any multiple of its bytes in the file.
inline constexpr Index max_weight_elements = Index{1} << 30;

/// A tensor with room behind its last element, in which a weight is packed where it lies (runtime/prepared.hpp).
inline Tensor<float> roomy(const Shape& shape) {
  constexpr Index room = 32;  // the widest panel of the product
  return Tensor<float>::empty({shape.numel() + room}).window(shape, row_major(shape), 0);
}

/// Float tensors by name, decoded at first use: a tensor that several operations share is decoded and held once.
class TensorSource {
 public:
  explicit TensorSource(const std::map<std::string, Encoding>& encoded) : encoded_(encoded) {}

  /// Null if there is no such tensor.
  const Encoding* find(const std::string& name) const {
    const auto found = encoded_.find(name);
    return found == encoded_.end() ? nullptr : &found->second;
  }
  /// `e` is what find(name) gave, of at most 8 dims. Throws ShapeError for more than max_weight_elements.
  Tensor<float> decode(const std::string& name, const Encoding& e) {
    check<ShapeError>(checked_numel("runtime", e.shape) <= max_weight_elements, "runtime", "got tensor '", name,
                      "' of shape ", std::span<const Index>(e.shape), ", expected at most 2^30 elements");
    Tensor<float>& held = decoded_[name];
    if (!held.defined()) {
      const std::vector<float> values = decode_ref(e);
      held = roomy(Shape(std::span<const Index>(e.shape)));
      std::copy(values.begin(), values.end(), held.data());
    }
    return held;
  }
  /// Leaves the decoded tensors to those who got them.
  void release() noexcept { decoded_.clear(); }

 private:
  const std::map<std::string, Encoding>& encoded_;
  std::map<std::string, Tensor<float>> decoded_;
};

/// See the head of this file. Shapes are those of one sample, without the batch.
class OpReader {
 public:
  /// `shapes[v]` is the shape of value v. All arguments must outlive the reader.
  OpReader(const NetworkOp& op, std::size_t number, const std::vector<Shape>& shapes, TensorSource& tensors)
      : op_(op), shapes_(shapes), tensors_(tensors), where_(text("runtime: operation ", number, " (", op.op, ')')) {}

  /// The operation's place and name, for error texts.
  const std::string& where() const noexcept { return where_; }

  template <class E = ValueError, class... Parts>
  void require(bool condition, const Parts&... parts) const {
    check<E>(condition, where_, parts...);
  }

  void expect_inputs(std::size_t count) const {
    require(op_.inputs.size() == count, "got ", op_.inputs.size(), " inputs, expected ", count);
  }
  const Shape& input(std::size_t i = 0) const { return shapes_[static_cast<std::size_t>(op_.inputs[i])]; }
  /// The shape of the only input, of exactly `rank` dims, which `what` names.
  const Shape& input_of_rank(int rank, const char* what) const {
    expect_inputs(1);
    require<ShapeError>(input().rank() == rank, "got a sample of shape ", input(), ", expected ", what);
    return input();
  }

  /// An attribute that must be there.
  template <class V>
  V get(const char* name) const {
    const auto found = op_.attributes.find(name);
    require(found != op_.attributes.end(), "got no attribute '", name, "', expected ", kind_of(V{}));
    const V* const value = std::get_if<V>(&found->second);
    require(value != nullptr, "got attribute '", name, "' of another type, expected ", kind_of(V{}));
    return *value;
  }
  template <class V>
  V get_or(const char* name, V otherwise) const {
    return op_.has(name) ? get<V>(name) : std::move(otherwise);
  }
  /// A height and a width, each from `least` to 2^31.
  struct Pair {
    Index h = 0, w = 0;
  };
  Pair pair(const char* name, Index least) const {
    const auto values = get<std::vector<Index>>(name);
    require(values.size() == 2, "got attribute '", name, "' = ", std::span<const Index>(values),
            ", expected a height and a width");
    return {bounded(name, values[0], least), bounded(name, values[1], least)};
  }
  Pair pair_or(const char* name, Index least, Index otherwise) const {
    return op_.has(name) ? pair(name, least) : Pair{otherwise, otherwise};
  }
  /// A whole number from `least` to 2^31.
  Index count_or(const char* name, Index least, Index otherwise) const {
    return bounded(name, get_or<std::int64_t>(name, otherwise), least);
  }

  /// The tensor in a role, of exactly `rank` dims, which `what` names.
  Tensor<float> tensor(const char* role, int rank, const char* what) const {
    const auto found = op_.tensors.find(role);
    require(found != op_.tensors.end(), "got no tensor for '", role, "', expected one");
    const Encoding* const e = tensors_.find(found->second);
    require(e != nullptr, "got no tensor '", found->second, "' for '", role, "', expected it in the file");
    require<ShapeError>(static_cast<int>(e->shape.size()) == rank, "got ", role, " '", found->second, "' of shape ",
                        std::span<const Index>(e->shape), ", expected ", what);
    return tensors_.decode(found->second, *e);
  }
  /// A vector of `size` elements.
  Tensor<float> vector(const char* role, Index size) const {
    Tensor<float> t = tensor(role, 1, "one dim");
    require<ShapeError>(t.numel() == size, "got ", role, " '", op_.tensor(role), "' of ", t.numel(),
                        " elements, expected ", size);
    return t;
  }
  /// The same, or an undefined tensor if the role is not filled.
  Tensor<float> vector_if_any(const char* role, Index size) const {
    return op_.tensors.count(role) ? vector(role, size) : Tensor<float>{};
  }
  /// A role that is not understood would change the result unnoticed.
  void expect_roles(std::initializer_list<const char*> known) const {
    for (const auto& [role, name] : op_.tensors) {
      bool found = false;
      for (const char* const k : known) found = found || role == k;
      require(found, "got tensor '", name, "' for '", role, "', a role that ", op_.op, " does not have");
    }
  }

 private:
  static constexpr const char* kind_of(std::int64_t) { return "a whole number"; }
  static constexpr const char* kind_of(double) { return "a number"; }
  static constexpr const char* kind_of(bool) { return "true or false"; }
  static constexpr const char* kind_of(const std::string&) { return "a text"; }
  static constexpr const char* kind_of(const std::vector<Index>&) { return "a list of whole numbers"; }
  Index bounded(const char* name, Index value, Index least) const {
    require(value >= least && value <= Index{1} << 31, "got attribute '", name, "' with ", value,
            ", expected at least ", least, " and at most 2^31");
    return value;
  }
  const NetworkOp& op_;
  const std::vector<Shape>& shapes_;
  TensorSource& tensors_;
  std::string where_;
};

}  // namespace qdistill::inline QDISTILL_ABI::runtime
