/// The sizes as the third paper counts them (Stock et al. 2020, section 4), to be printed beside the ledger's real
/// bytes: B log2(k) bits for a tensor of B blocks, k codewords of d numbers in float16, everything else in float32.
/// MB = 2^20 bytes.
#pragma once

#include <cmath>

#include "qdistill/encoding/encoding.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// How many codewords a tensor of `blocks` blocks gets where `wanted` are asked for: at most the largest power of two
/// below blocks / 4, so that a codeword stands for more than 4 blocks (as in the authors' code), but one at least.
/// Throws ValueError for a negative number of blocks or none wanted.
inline Index codeword_count(Index blocks, Index wanted) {
  check(blocks >= 0 && wanted >= 1, "codeword_count", "got ", blocks, " blocks and ", wanted,
        " wanted codewords, expected at least 0 and 1");
  Index most = 1;
  while (most < blocks / 8 + (blocks % 8 != 0)) most *= 2;  // while 2 most < blocks / 4
  return wanted < most ? wanted : most;
}

/// The paper's figures for a model, gathered tensor by tensor.
struct ProductSize {
  double index_bits = 0;     ///< of all blocks
  double centroid_bits = 0;  ///< of all codewords
  double others = 0;         ///< numbers that stay in float32
  double weights = 0;        ///< all numbers of the model

  /// A tensor of n elements in blocks of d, with k codewords. Throws ValueError if d or k is below 1, or d is no
  /// divisor of n.
  void add_product(Index n, Index d, Index k) {
    check(n >= 0 && d >= 1 && k >= 1 && n % d == 0, "product_size", "got ", n, " elements, block_size ", d, " and ", k,
          " codewords, expected at least 0, 1, 1 and a divisor");
    index_bits += static_cast<double>(n / d) * std::log2(static_cast<double>(k));
    centroid_bits += 16.0 * static_cast<double>(k) * static_cast<double>(d);
    weights += static_cast<double>(n);
  }
  void add_other(Index n) { others += static_cast<double>(n), weights += static_cast<double>(n); }
  /// A tensor that is not a product code counts in float32, whatever it is stored as.
  void add(const Encoding& encoding) {
    const Index n = checked_numel("product_size", encoding.shape);
    if (const auto* e = std::get_if<ProductEncoding>(&encoding.data)) add_product(n, e->block_size, e->count());
    else add_other(n);
  }

  double index_mb() const { return megabytes(index_bits); }
  double centroids_mb() const { return megabytes(centroid_bits); }
  double other_mb() const { return megabytes(32 * others); }
  double total_mb() const { return index_mb() + centroids_mb() + other_mb(); }
  double uncompressed_mb() const { return megabytes(32 * weights); }
  /// How many times smaller than in float32.
  double ratio() const { return uncompressed_mb() / total_mb(); }

 private:
  static double megabytes(double bits) { return bits / 8 / (1 << 20); }
};

}  // namespace qdistill::inline QDISTILL_ABI
