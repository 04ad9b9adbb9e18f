/// A table of a model's layers: name, type, shapes of parameters, how many, bytes in float32 and as stored.
#pragma once

#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

namespace detail {

template <class T>
void summarize(const Module<T>& module, const std::string& name, std::vector<std::vector<std::string>>& rows) {
  Index count = 0;
  std::string shapes, how;
  for (const auto& [suffix, p] : module.own_parameters()) {
    count += p->data().numel();
    shapes += (shapes.empty() ? "" : ", ") + suffix + ' ' + text(p->shape());
    if (p->parametrization() && how.empty()) how = p->parametrization()->description();
  }
  if (!name.empty() || count > 0)
    rows.push_back({name.empty() ? "(model)" : name, module.type(), shapes, count ? text(count) : "",
                    count ? text(count * static_cast<Index>(sizeof(T))) : "", how});
  for (const auto& child : module.children()) summarize(*child.module, joined(name, child.name), rows);
}

}  // namespace detail

/// The table as text, one line per module, with the totals below.
template <class T>
std::string summary(const Module<T>& model) {
  std::vector<std::vector<std::string>> rows{{"layer", "type", "parameter shapes", "parameters", "bytes", "quantized"}};
  detail::summarize(model, "", rows);
  const Index total = model.parameter_count();
  rows.push_back({"total", model.type(), "", text(total), text(total * static_cast<Index>(sizeof(T))), ""});
  std::vector<std::size_t> width(6, 0);
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = row[c].size() > width[c] ? row[c].size() : width[c];
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string pad(width[c] - row[c].size(), ' ');
      const bool number = c == 3 || c == 4;
      line += (c ? "  " : "") + (number ? pad + row[c] : row[c] + pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace qdistill::inline QDISTILL_ABI::nn
