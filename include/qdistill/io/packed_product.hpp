/// Scheme "product" of the packed file (format 2): NAME.codes (U8), one code per block, and NAME.codewords (F16, [k,
/// d]). The block size is d; a code has as many bits as k needs. Decoded, a tensor has d times as many elements as
/// codes, so whoever decodes a file of unknown origin should look at its shape first.
///
///   {"scheme": "product", "shape", "coding": "plain" or "huffman"}
#pragma once

#include "qdistill/io/packed_codec.hpp"

namespace qdistill::inline QDISTILL_ABI::io::detail {

template <>
struct Codec<ProductEncoding> {
  static constexpr const char* scheme = "product";
  static int format(const ProductEncoding&) noexcept { return 2; }
  template <class F>
  static void each_stream(const ProductEncoding& e, F&& f) {
    f("", pool(e), std::span<const std::uint16_t>(e.codes));
  }

  static nlohmann::json write(PackedWriter& out, const std::string& name, const std::vector<Index>& shape,
                              const ProductEncoding& e) {
    out.codes(name + ".codes", pool(e), e.codes);
    out.halves(name + ".codewords", {e.count(), e.block_size}, e.codewords, out.ledger.tables);
    return {{"scheme", scheme}, {"shape", shape}, {"coding", out.coding(pool(e))}};
  }

  static Encoding read(PackedReader& in, const std::string& name, const nlohmann::json& description) {
    ProductEncoding e;
    e.codewords = in.halves(name + ".codewords");
    const auto& words = in.tensor(name + ".codewords").shape;
    check<FileError>(words.size() == 2 && words[0] >= 1 && words[1] >= 1, scheme, "got codewords of shape ",
                     std::span<const Index>(words), ", expected [k, d]");
    e.block_size = words[1];
    auto shape = json_indices(json_field(description, "shape"), "shape");
    const Index n = checked_numel("shape", shape);
    check<FileError>(n % e.block_size == 0, scheme, "got codewords of ", e.block_size,
                     " numbers, expected a divisor of the ", n, " elements");
    e.codes = in.codes(name + ".codes", pool(e), n / e.block_size, json_coding(description));
    return {std::move(shape), std::move(e)};
  }

 private:
  static CodePool pool(const ProductEncoding& e) { return {"product.", e.bits()}; }
};

}  // namespace qdistill::inline QDISTILL_ABI::io::detail
