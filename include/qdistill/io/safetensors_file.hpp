/// A safetensors file in memory: names, types, shapes and bytes. This header has the types only; reading and writing,
/// which need the JSON library, are in io/safetensors.hpp.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/io/dtype.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// A tensor to be written. `bytes` (row-major, little-endian) must live until the file is written.
struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
};

/// A TensorEntry for `values`.
template <class T>
TensorEntry tensor_entry(std::string name, std::vector<Index> shape, std::span<const T> values) {
  return {std::move(name), dtype_of<T>, std::move(shape), std::as_bytes(values)};
}
template <class T>
TensorEntry tensor_entry(std::string name, std::vector<Index> shape, const std::vector<T>& values) {
  return tensor_entry(std::move(name), std::move(shape), std::span<const T>(values));
}

/// A tensor inside a SafetensorsFile. `bytes` is not aligned to the element: copy, do not cast the pointer.
struct TensorView {
  Dtype dtype = Dtype::F32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;

  Index numel() const noexcept { return static_cast<Index>(bytes.size()) / size_of(dtype); }
};

namespace detail {

template <class From, class F>
void each_element(std::span<const std::byte> bytes, F&& f) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(From); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    f(i, value);
  }
}

}  // namespace detail

/// What a file holds. Owns the file's bytes, so it moves and does not copy.
class SafetensorsFile {
 public:
  using Tensors = std::map<std::string, TensorView, std::less<>>;
  using Metadata = std::map<std::string, std::string, std::less<>>;

  SafetensorsFile() = default;
  SafetensorsFile(std::string source, std::vector<std::byte> content, Tensors tensors, Metadata metadata)
      : source_(std::move(source)),
        content_(std::move(content)),
        tensors_(std::move(tensors)),
        metadata_(std::move(metadata)) {}
  SafetensorsFile(SafetensorsFile&&) noexcept = default;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept = default;
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  /// The file's path, for messages.
  const std::string& source() const noexcept { return source_; }
  const Tensors& tensors() const noexcept { return tensors_; }
  const Metadata& metadata() const noexcept { return metadata_; }
  bool has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }

  /// Throws FileError, naming the file, if there is no such tensor.
  const TensorView& at(std::string_view name) const {
    const auto found = tensors_.find(name);
    check<FileError>(found != tensors_.end(), "safetensors", source_, ": no tensor '", name, "'");
    return found->second;
  }

  /// A copy of the values of tensor `name` as T (float, double or a signed or unsigned integer of 8 to 64 bits).
  /// Floats of every width convert to each other (F64 to float rounds), integers and BOOL (0, 1) to integers that can
  /// hold them. Throws FileError for a tensor that is missing, of the other kind, or does not fit.
  template <class T>
  std::vector<T> values(std::string_view name) const {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>, "use std::uint8_t for BOOL");
    const TensorView& tensor = at(name);
    const bool is_float = tensor.dtype == Dtype::F64 || tensor.dtype == Dtype::F32 || tensor.dtype == Dtype::F16 ||
                          tensor.dtype == Dtype::BF16;
    check<FileError>(is_float == std::is_floating_point_v<T>, "safetensors", source_, ": got tensor '", name, "' of ",
                     io::name(tensor.dtype), ", expected ",
                     std::is_floating_point_v<T> ? "a floating-point type" : "an integer type");
    std::vector<T> out(static_cast<std::size_t>(tensor.numel()));
    if constexpr (std::is_floating_point_v<T>) {
      switch (tensor.dtype) {
        case Dtype::F64:
          detail::each_element<double>(tensor.bytes, [&](std::size_t i, double v) { out[i] = static_cast<T>(v); });
          break;
        case Dtype::F32:
          detail::each_element<float>(tensor.bytes, [&](std::size_t i, float v) { out[i] = v; });
          break;
        case Dtype::F16:
          detail::each_element<std::uint16_t>(tensor.bytes,
                                              [&](std::size_t i, std::uint16_t v) { out[i] = half_to_float(v); });
          break;
        default:
          detail::each_element<std::uint16_t>(tensor.bytes,
                                              [&](std::size_t i, std::uint16_t v) { out[i] = bfloat16_to_float(v); });
      }
    } else {
      const auto store = [&](std::size_t i, auto v) {
        check<FileError>(std::in_range<T>(v), "safetensors", source_, ": got ", static_cast<Index>(v), " in tensor '",
                         name, "', which does not fit the wanted type");
        out[i] = static_cast<T>(v);
      };
      switch (tensor.dtype) {
        case Dtype::I64:
          detail::each_element<std::int64_t>(tensor.bytes, store);
          break;
        case Dtype::I32:
          detail::each_element<std::int32_t>(tensor.bytes, store);
          break;
        case Dtype::I16:
          detail::each_element<std::int16_t>(tensor.bytes, store);
          break;
        case Dtype::I8:
          detail::each_element<std::int8_t>(tensor.bytes, store);
          break;
        default:
          detail::each_element<std::uint8_t>(tensor.bytes, store);
      }
    }
    return out;
  }

 private:
  std::string source_;
  std::vector<std::byte> content_;
  Tensors tensors_;
  Metadata metadata_;
};

/// Bytes of a written file.
struct SafetensorsLayout {
  Index header = 0;   ///< length field and JSON
  Index padding = 0;  ///< spaces after the JSON
  Index data = 0;
  Index total() const noexcept { return header + padding + data; }
};

}  // namespace qdistill::inline QDISTILL_ABI::io
