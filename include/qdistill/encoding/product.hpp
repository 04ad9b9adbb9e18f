/// Codes into a codebook of blocks: product quantization (Stock et al. 2020, section 3).
#pragma once

#include <vector>

#include "qdistill/core/half.hpp"
#include "qdistill/encoding/encoding_checks.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// The flat tensor is cut into blocks of `block_size` consecutive elements; each is one codeword. With the weight of a
/// convolution [C_out, C_in, K, K] a block of K * K elements is one kernel, with that of a linear layer
/// [C_out, C_in] it lies along the inputs: the paper's blocks, in the tensor's own order.
struct ProductEncoding {
  Index block_size = 0;              ///< d, a divisor of the number of elements
  std::vector<std::uint16_t> codes;  ///< one per block
  std::vector<float> codewords;      ///< k x d, row-major; stored as float16, every value must be one exactly

  /// k, the number of codewords.
  Index count() const noexcept { return block_size > 0 ? static_cast<Index>(codewords.size()) / block_size : 0; }
  /// Width of a code, 1 to 16.
  int bits() const noexcept {
    int b = 1;
    while (b < 16 && (Index{1} << b) < count()) ++b;
    return b;
  }
  bool operator==(const ProductEncoding&) const = default;
};

namespace detail {

/// Bits of all parts, none rounded up to bytes: codes and float16 codewords (Stock et al. 2020).
inline Index plain_bits(const ProductEncoding& e) {
  return static_cast<Index>(e.codes.size()) * e.bits() + static_cast<Index>(e.codewords.size()) * 16;
}

inline void check_encoding(std::string_view op, Index n, const ProductEncoding& e) {
  check(e.block_size >= 1, op, "got block_size ", e.block_size, ", expected at least 1");
  check<ShapeError>(n % e.block_size == 0, op, "got block_size ", e.block_size, ", expected a divisor of the ", n,
                    " elements");
  const auto numbers = static_cast<Index>(e.codewords.size());
  check<ShapeError>(numbers >= e.block_size && numbers % e.block_size == 0 && numbers / e.block_size <= 65536, op,
                    "got ", numbers, " numbers in the codebook, expected 1 to 65536 codewords of ", e.block_size);
  check<ShapeError>(static_cast<Index>(e.codes.size()) == n / e.block_size, op, "got ", e.codes.size(),
                    " codes, expected ", n / e.block_size, " blocks of ", e.block_size);
  check_codes<std::uint16_t>(op, e.codes, static_cast<std::uint32_t>(numbers / e.block_size));
  for (std::size_t i = 0; i < e.codewords.size(); ++i)
    check(std::isfinite(e.codewords[i]) && is_half(e.codewords[i]), op, "got ", e.codewords[i], " in the codebook at ",
          i, ", expected a finite float16 number");
}

inline std::vector<float> decode(const ProductEncoding& e) {
  std::vector<float> out;
  out.reserve(e.codes.size() * static_cast<std::size_t>(e.block_size));
  for (const auto code : e.codes) {
    const auto* const word = e.codewords.data() + code * e.block_size;
    out.insert(out.end(), word, word + e.block_size);
  }
  return out;
}

}  // namespace detail

}  // namespace qdistill::inline QDISTILL_ABI
