/// Model state to and from safetensors files, PyTorch's included.
#pragma once

#include <set>

#include "qdistill/io/safetensors.hpp"
#include "qdistill/nn/state_dict.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// How a state is loaded.
struct LoadOptions {
  bool strict = true;  ///< missing or unexpected names are errors
  std::map<std::string, std::string> rename =
      {};  ///< name in the file -> name in the model; a trailing * stands for a rest
};

namespace detail {

inline std::string renamed(const std::string& name, const std::map<std::string, std::string>& rename) {
  if (const auto exact = rename.find(name); exact != rename.end()) return exact->second;
  for (const auto& [from, to] : rename) {
    if (from.empty() || from.back() != '*' || name.compare(0, from.size() - 1, from, 0, from.size() - 1) != 0) continue;
    const std::string rest = name.substr(from.size() - 1);
    return !to.empty() && to.back() == '*' ? to.substr(0, to.size() - 1) + rest : to;
  }
  return name;
}

inline std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < 8; ++i) out += (i ? ", " : "") + names[i];
  if (names.size() > 8) out += text(" and ", names.size() - 8, " more");
  return out;
}

}  // namespace detail

/// Writes the model's state dict under PyTorch's names (float as F32, double as F64, counts as I64).
template <class T>
void save_state(const nn::Module<T>& model, const std::string& path,
                const std::map<std::string, std::string>& metadata = {}) {
  std::vector<std::vector<T>> values;
  std::vector<std::vector<Index>> counts;
  std::vector<io::TensorEntry> entries;
  const auto state = nn::state_dict(model);
  values.reserve(state.size()), counts.reserve(state.size());
  for (const auto& e : state) {
    std::vector<Index> shape(e.shape().begin(), e.shape().end());
    if (e.values.defined())
      entries.push_back(io::tensor_entry(e.name, shape, std::span<const T>(values.emplace_back(e.values.to_vector()))));
    else
      entries.push_back(
          io::tensor_entry(e.name, shape, std::span<const Index>(counts.emplace_back(e.count.to_vector()))));
  }
  io::SafetensorsFile::Metadata meta(metadata.begin(), metadata.end());
  io::save_safetensors(path, entries, meta);
}

/// Loads a state dict. Shapes must agree; float types convert. Nothing is changed unless everything fits. Throws
/// FileError naming the file, the keys and the shapes.
template <class T>
nn::LoadReport load_state(nn::Module<T>& model, const io::SafetensorsFile& file, const LoadOptions& options = {}) {
  std::map<std::string, std::string> by_model_name;
  for (const auto& [name, view] : file.tensors()) by_model_name[detail::renamed(name, options.rename)] = name;
  nn::LoadReport report;
  auto state = nn::state_dict(model);
  std::set<std::string> used;
  for (const auto& e : state) {
    const auto found = by_model_name.find(e.name);
    if (found == by_model_name.end()) {
      report.missing.push_back(e.name);
      continue;
    }
    used.insert(e.name);
    const auto& view = file.at(found->second);
    check<FileError>(Shape(view.shape) == e.shape(), "load_state", file.source(), ": got '", found->second,
                     "' of shape ", std::span<const Index>(view.shape), ", expected ", e.shape(), " for '", e.name,
                     "'");
  }
  for (const auto& [name, stored] : by_model_name)
    if (!used.count(name)) report.unexpected.push_back(name);
  check<FileError>(!options.strict || (report.missing.empty() && report.unexpected.empty()), "load_state",
                   file.source(), ": missing keys: [", detail::listed(report.missing), "], unexpected keys: [",
                   detail::listed(report.unexpected), "]. HINT: give a name map, or load with strict = false");
  for (auto& e : state) {
    if (!used.count(e.name)) continue;
    const std::string& stored = by_model_name[e.name];
    if (e.values.defined()) e.values.copy_from(Tensor<T>::from(file.template values<T>(stored), e.shape()));
    else e.count.copy_from(Tensor<Index>::from(file.template values<Index>(stored), e.shape()));
  }
  return report;
}
template <class T>
nn::LoadReport load_state(nn::Module<T>& model, const std::string& path, const LoadOptions& options = {}) {
  return load_state(model, io::load_safetensors(path), options);
}

}  // namespace qdistill::inline QDISTILL_ABI::train
