/// Scheme "dense" of the packed file (format 1; format 2 for float16): NAME holds the values, F32 or F16.
#pragma once

#include "qdistill/io/packed_codec.hpp"

namespace qdistill::inline QDISTILL_ABI::io::detail {

template <>
struct Codec<DenseEncoding> {
  static constexpr const char* scheme = "dense";
  static int format(const DenseEncoding& e) noexcept { return e.half ? 2 : 1; }
  template <class F>
  static void each_stream(const DenseEncoding&, F&&) {}

  static nlohmann::json write(PackedWriter& out, const std::string& name, const std::vector<Index>& shape,
                              const DenseEncoding& e) {
    if (e.half) out.halves(name, shape, e.values, out.ledger.full_precision);
    else out.floats(name, shape, e.values, out.ledger.full_precision);
    return {{"scheme", scheme}};
  }

  static Encoding read(PackedReader& in, const std::string& name, const nlohmann::json&) {
    const TensorView& tensor = in.tensor(name);
    const bool half = tensor.dtype == Dtype::F16;
    return {tensor.shape, DenseEncoding{half ? in.halves(name) : in.floats(name), half}};
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::io::detail
