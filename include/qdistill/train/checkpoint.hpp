/// A checkpoint: named tensors and a JSON object, in one safetensors file that is written beside, synced and renamed.
///
/// Whoever has state puts it in and takes it out under a prefix of its own: the model ("model."), the optimizer
/// ("optimizer."), the best model so far ("best."); numbers go into `numbers`.
#pragma once

#include "qdistill/io/safetensors.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/train/json.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

class Checkpoint {
 public:
  Json numbers = Json::object();

  template <class T>
  void put(const std::string& name, const Tensor<T>& tensor) {
    Item item;
    item.dtype = io::dtype_of<T>;
    item.shape.assign(tensor.shape().begin(), tensor.shape().end());
    const std::vector<T> values = tensor.to_vector();
    const auto bytes = std::as_bytes(std::span<const T>(values));
    item.bytes.assign(bytes.begin(), bytes.end());
    tensors_[name] = std::move(item);
  }
  template <class T>
  void put(const std::string& prefix, const nn::Module<T>& model) {
    for (const auto& e : nn::state_dict(model)) {
      if (e.values.defined()) put(prefix + e.name, e.values);
      else put(prefix + e.name, e.count);
    }
  }
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  /// The names that start with `prefix`, without it.
  std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> out;
    for (const auto& [name, item] : tensors_)
      if (name.compare(0, prefix.size(), prefix) == 0) out.push_back(name.substr(prefix.size()));
    return out;
  }
  /// Throws FileError if there is no such tensor.
  Shape shape(const std::string& name) const {
    const auto found = tensors_.find(name);
    check<FileError>(found != tensors_.end(), "checkpoint", source_, ": no tensor '", name, "'");
    return Shape(found->second.shape);
  }
  /// Overwrites `tensor`. Throws FileError if the name is missing or the type or shape differs.
  template <class T>
  void take(const std::string& name, Tensor<T>& tensor) const {
    const auto found = tensors_.find(name);
    check<FileError>(found != tensors_.end(), "checkpoint", source_, ": no tensor '", name, "'");
    const Item& item = found->second;
    check<FileError>(item.dtype == io::dtype_of<T> && Shape(item.shape) == tensor.shape(), "checkpoint", source_,
                     ": got '", name, "' of shape ", std::span<const Index>(item.shape), " and type ",
                     io::name(item.dtype), ", expected ", tensor.shape(), " and ", io::name(io::dtype_of<T>));
    std::vector<T> values(item.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), item.bytes.data(), item.bytes.size());
    tensor.copy_from(Tensor<T>::from(std::span<const T>(values), tensor.shape()));
  }
  template <class T>
  void take(const std::string& prefix, nn::Module<T>& model) const {
    for (auto& e : nn::state_dict(model)) {
      if (e.values.defined()) take(prefix + e.name, e.values);
      else take(prefix + e.name, e.count);
    }
  }

  void save(const std::string& path) const {
    std::vector<io::TensorEntry> entries;
    for (const auto& [name, item] : tensors_) entries.push_back({name, item.dtype, item.shape, item.bytes});
    io::SafetensorsFile::Metadata metadata;
    metadata["qdistill.checkpoint"] = json_line(numbers);
    io::save_safetensors(path, entries, metadata);
  }
  /// Throws FileError for a file that is not a checkpoint.
  static Checkpoint load(const std::string& path) {
    const io::SafetensorsFile file = io::load_safetensors(path);
    const auto found = file.metadata().find("qdistill.checkpoint");
    check<FileError>(found != file.metadata().end(), "checkpoint", path, ": not a checkpoint");
    Checkpoint c;
    c.source_ = path;
    c.numbers = parse_json(found->second, path);
    for (const auto& [name, view] : file.tensors())
      c.tensors_[name] = {view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}};
    return c;
  }

 private:
  struct Item {
    io::Dtype dtype = io::Dtype::F32;
    std::vector<Index> shape;
    std::vector<std::byte> bytes;
  };
  std::string source_ = "checkpoint";
  std::map<std::string, Item> tensors_;
};

}  // namespace qdistill::inline QDISTILL_ABI::train
