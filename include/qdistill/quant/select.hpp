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
  Index index = 0;  ///< place in registration order
  Index count = 0;  ///< parameters of the model
};

using Select = std::function<bool(const Candidate&)>;

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

}  // namespace qdistill::inline QDISTILL_ABI::quant
