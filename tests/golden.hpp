/// Golden cases: recorded inputs and outputs in tests/golden/ (or QDISTILL_GOLDEN_DIR). An OpCase, or any test file,
/// names the operation it can repeat; the runner (golden/golden.test.cpp) walks the files.
#pragma once

#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "qdistill/autograd/engine.hpp"
#include "qdistill/io/safetensors.hpp"

namespace qdistill_test {

using namespace qdistill;

#if !defined(QDISTILL_TEST_DIR)
#define QDISTILL_TEST_DIR "tests"
#endif

inline std::string golden_dir() {
  const char* dir = std::getenv("QDISTILL_GOLDEN_DIR");
  return dir && *dir ? dir : QDISTILL_TEST_DIR "/golden";
}

/// One case of a topic, without its scalar type.
class GoldenCase {
 public:
  GoldenCase(const nlohmann::json& json, const io::SafetensorsFile& file) : json_(json), file_(file) {}

  std::string name() const { return json_.at("name").get<std::string>(); }
  std::string op() const { return json_.at("op").get<std::string>(); }
  bool is_float64() const { return json_.at("dtype") == "float64"; }
  const nlohmann::json& json() const { return json_; }
  const nlohmann::json& params() const { return json_.at("params"); }
  /// params()[key], or `otherwise` when absent or null.
  template <class V>
  V param(const char* key, V otherwise) const {
    const auto found = params().find(key);
    return found == params().end() || found->is_null() ? otherwise : found->template get<V>();
  }
  /// A parameter that is one integer or a list of them, as a list of `count`.
  std::vector<Index> list(const char* key, std::size_t count, Index otherwise) const {
    const auto found = params().find(key);
    if (found == params().end() || found->is_null()) return std::vector<Index>(count, otherwise);
    if (found->is_array()) return found->template get<std::vector<Index>>();
    return std::vector<Index>(count, found->template get<Index>());
  }
  bool has(const std::string& tensor) const { return file_.has(name() + "/" + tensor); }
  Shape shape(const std::string& tensor) const { return Shape(file_.at(name() + "/" + tensor).shape); }

  /// Stored tensor as U: float, double, or Index for integers.
  template <class U>
  Tensor<U> tensor(const std::string& tensor_name) const {
    const std::string full = name() + "/" + tensor_name;
    return Tensor<U>::from(std::span<const U>(file_.template values<U>(full)), Shape(file_.at(full).shape));
  }

  /// Names of the outputs that the handler compared.
  const std::vector<std::string>& compared() const { return compared_; }
  const std::vector<std::string>& failures() const { return failures_; }

  /// Compares `got` with the stored tensor at the case's tolerances; shapes must hold as many elements.
  template <class U>
  void compare(const std::string& tensor_name, const Tensor<U>& got) {
    compared_.push_back(tensor_name);
    if (!got.defined()) return fail_with(tensor_name + ": undefined");
    compare_values(tensor_name, got.to_vector());
  }
  template <class U>
  void compare_values(const std::string& tensor_name, const std::vector<U>& got) {
    if (compared_.empty() || compared_.back() != tensor_name) compared_.push_back(tensor_name);
    double rtol = json_.at("rtol").get<double>(), atol = json_.at("atol").get<double>();
    if (const auto own = json_.find("tolerances");
        own != json_.end() && !own->is_null() && own->contains(tensor_name)) {
      rtol = own->at(tensor_name).at(0).template get<double>(),
      atol = own->at(tensor_name).at(1).template get<double>();
    }
    using Stored = std::conditional_t<std::is_floating_point_v<U>, double, Index>;
    const std::vector<Stored> want = file_.template values<Stored>(name() + "/" + tensor_name);
    if (want.size() != got.size())
      return fail_with(tensor_name + ": " + std::to_string(got.size()) + " elements, expected " +
                       std::to_string(want.size()));
    for (std::size_t i = 0; i < want.size(); ++i) {
      const double a = static_cast<double>(got[i]), b = static_cast<double>(want[i]);
      if (std::isnan(a) && std::isnan(b)) continue;
      if (a == b || std::fabs(a - b) <= atol + rtol * std::fabs(b)) continue;
      return fail_with(tensor_name + "[" + std::to_string(i) + "]: " + std::to_string(a) + ", expected " +
                       std::to_string(b));
    }
  }
  void compare_value(const std::string& tensor_name, double got) {
    compare_values(tensor_name, std::vector<double>{got});
  }
  void fail_with(const std::string& message) { failures_.push_back(message); }

 private:
  const nlohmann::json& json_;
  const io::SafetensorsFile& file_;
  std::vector<std::string> compared_, failures_;
};

/// A case in its own scalar type T (float or double).
template <class T>
class Golden {
 public:
  using Scalar = T;
  explicit Golden(GoldenCase& c) : case_(c) {}
  GoldenCase* operator->() const { return &case_; }
  GoldenCase& operator*() const { return case_; }

  Tensor<T> input(const std::string& name) const { return case_.tensor<T>(name); }
  /// As input(), undefined when the case has no such tensor.
  Tensor<T> optional(const std::string& name) const { return case_.has(name) ? input(name) : Tensor<T>{}; }
  Tensor<Index> indices(const std::string& name) const { return case_.tensor<Index>(name); }
  /// An input that takes a gradient; undefined when the case has no such tensor.
  Tensor<T> leaf(const std::string& name) const { return case_.has(name) ? requires_grad(input(name)) : Tensor<T>{}; }
  void compare(const std::string& name, const Tensor<T>& got) const { case_.compare(name, got); }
  /// Compares y with "output" (if `output_name` is not empty), runs backward from "grad_output" and compares
  /// grad_<name> for each leaf.
  void check(const Tensor<T>& y, std::initializer_list<std::pair<const char*, Tensor<T>>> leaves,
             const std::string& output_name = "output") const {
    if (!output_name.empty()) compare(output_name, y);
    if (!case_.has("grad_output")) return;
    y.backward(input("grad_output"));
    for (const auto& [name, leaf] : leaves) {
      if (!leaf.defined() || !case_.has(std::string("grad_") + name)) continue;
      compare(std::string("grad_") + name, leaf.grad().defined() ? leaf.grad() : Tensor<T>::zeros(leaf.shape()));
    }
  }

 private:
  GoldenCase& case_;
};

using GoldenHandler = std::function<void(GoldenCase&)>;

/// Handlers by operation name.
inline std::map<std::string, GoldenHandler>& golden_handlers() {
  static std::map<std::string, GoldenHandler> handlers;
  return handlers;
}

/// Registers `f`, called with Golden<float> or Golden<double>, for operation `op`. Meant for a namespace-scope
/// `const bool registered = golden("softmax", [](auto g) { ... });`
template <class F>
bool golden(const std::string& op, F f) {
  golden_handlers()[op] = [f](GoldenCase& c) {
    if (c.is_float64()) f(Golden<double>(c));
    else f(Golden<float>(c));
  };
  return true;
}

/// Networks whose parameters are counted, by their name in parameter_counts.json.
inline std::map<std::string, std::function<Index()>>& golden_counts() {
  static std::map<std::string, std::function<Index()>> counts;
  return counts;
}
inline bool golden_count(const std::string& network, std::function<Index()> count) {
  golden_counts()[network] = std::move(count);
  return true;
}

}  // namespace qdistill_test
