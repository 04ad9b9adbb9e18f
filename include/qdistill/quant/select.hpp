/// Which parameters are quantized: predicates on a parameter's name, kind, shape and place.
#pragma once

#include <functional>
#include <string_view>

#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct Candidate {
  std::string name;
  nn::Kind kind = nn::Kind::weight;
  Shape shape;
  Index index = 0;         ///< place in registration order
  Index count = 0;         ///< parameters of the model
  bool quantized = false;  ///< carries a parametrization already
};

using Select = std::function<bool(const Candidate&)>;

/// The parameters of `model` that `select` chooses, in registration order.
template <class T>
std::vector<nn::NamedParameter<T>> selected(const nn::Module<T>& model, const Select& select) {
  const auto parameters = model.named_parameters();
  std::vector<nn::NamedParameter<T>> out;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const nn::Parameter<T>& p = *parameters[i].parameter;
    const Candidate candidate{parameters[i].name,
                              p.kind(),
                              p.shape(),
                              static_cast<Index>(i),
                              static_cast<Index>(parameters.size()),
                              p.parametrization() != nullptr};
    if (select(candidate)) out.push_back(parameters[i]);
  }
  return out;
}

/// Every parameter tensor, biases and batch norm included: what the published runs did.
inline Select all_parameters() {
  return [](const Candidate&) { return true; };
}
/// Weights of linear and convolution layers and embeddings; no biases, no normalisation.
inline Select weights_only() {
  return [](const Candidate& c) { return c.kind == nn::Kind::weight; };
}
/// Those of `inner` but the first and the last parameter tensor in registration order, the authors' "first and last
/// layer". In the CIFAR CNNs these are the output layer's weight and the last batch norm's bias.
inline Select not_first_last(Select inner = all_parameters()) {
  return [inner = std::move(inner)](const Candidate& c) { return c.index > 0 && c.index + 1 < c.count && inner(c); };
}
/// True if `name` matches the shell pattern `pattern` (* any run of characters, ? any one).
inline bool matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = std::string_view::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) ++p, ++n;
    else if (p < pattern.size() && pattern[p] == '*') star = p++, mark = n;
    else if (star != std::string_view::npos) p = star + 1, n = ++mark;
    else return false;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}
/// Parameters whose full name matches the shell pattern.
inline Select named(std::string pattern) {
  return [pattern = std::move(pattern)](const Candidate& c) { return matches(pattern, c.name); };
}
/// Those of `inner` whose full name does not match.
inline Select except(std::string pattern, Select inner = all_parameters()) {
  return [pattern = std::move(pattern), inner = std::move(inner)](const Candidate& c) {
    return !matches(pattern, c.name) && inner(c);
  };
}

/// Those of `inner` of more than mb 2^20 / 4 elements: mb in float32, MB = 2^20 bytes. The rule of DiffQ (Defossez,
/// Adi, Synnaeve 2022), whose default of 0.01 takes more than 2621.
inline Select larger_than_mb(double mb, Select inner = all_parameters()) {
  check(mb >= 0, "larger_than_mb", "got ", mb, " MB, expected 0 or more");
  return [mb, inner = std::move(inner)](const Candidate& c) {
    return static_cast<double>(c.shape.numel()) > mb * 0x1p20 / 4 && inner(c);
  };
}
/// Those of `inner` for which neither the full name ("conv1.weight") nor the last part of it ("weight") matches one of
/// the shell patterns.
inline Select excluding(std::vector<std::string> patterns, Select inner = all_parameters()) {
  return [patterns = std::move(patterns), inner = std::move(inner)](const Candidate& c) {
    const std::string_view full = c.name, bare = full.substr(full.rfind('.') + 1);
    for (const std::string& pattern : patterns)
      if (matches(pattern, full) || matches(pattern, bare)) return false;
    return inner(c);
  };
}
/// Those of `inner` whose number of elements is a multiple of group_size (0: any).
inline Select divisible_by(Index group_size, Select inner = all_parameters()) {
  check(group_size >= 0, "divisible_by", "got ", group_size, ", expected 0 or more");
  return [group_size, inner = std::move(inner)](const Candidate& c) {
    return (group_size == 0 || c.shape.numel() % group_size == 0) && inner(c);
  };
}
/// Those of `inner` that carry no quantizer yet.
inline Select not_quantized(Select inner = all_parameters()) {
  return [inner = std::move(inner)](const Candidate& c) { return !c.quantized && inner(c); };
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
