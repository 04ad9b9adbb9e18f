/// The sizes as the first paper counts them (Polino et al. 2018, section 3 and the authors' code), to be printed beside
/// the ledger's real bytes. The paper's count is a little smaller: buckets are not rounded up per tensor, and code
/// table, names and padding cost nothing. MB = 10^6 bytes.
#pragma once

#include "qdistill/encoding/encoding.hpp"
#include "qdistill/encoding/huffman.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// How many times smaller a tensor gets: f k / (b k + 2 f) for buckets of k elements with two full-precision factors
/// each, f / b without buckets (bucket_size 0). `bits_per_weight` is the width of a code or the mean Huffman length;
/// with 0 bits and no buckets the ratio is infinite. Throws ValueError for a negative argument or no
/// full_precision_bits.
inline double size_reduction(double bits_per_weight, Index bucket_size, double full_precision_bits = 32) {
  check(bits_per_weight >= 0 && bucket_size >= 0 && full_precision_bits > 0, "size_reduction", "got ", bits_per_weight,
        " bits, bucket_size ", bucket_size, ", full_precision_bits ", full_precision_bits,
        ", expected no negative number");
  if (bucket_size == 0) return full_precision_bits / bits_per_weight;
  const auto k = static_cast<double>(bucket_size);
  return full_precision_bits * k / (bits_per_weight * k + 2 * full_precision_bits);
}

/// (4 u + h/8 q + 8 q/k) / 10^6 MB for u unquantized and q quantized weights, h bits per quantized weight, buckets of
/// k elements (0: none, their factors are then not counted). Throws ValueError for a negative argument.
inline double paper_size_mb(double unquantized, double quantized, double bits_per_weight, Index bucket_size) {
  check(unquantized >= 0 && quantized >= 0 && bits_per_weight >= 0 && bucket_size >= 0, "paper_size_mb", "got ",
        unquantized, " + ", quantized, " weights, ", bits_per_weight, " bits, bucket_size ", bucket_size,
        ", expected no negative number");
  const double buckets = bucket_size > 0 ? quantized / static_cast<double>(bucket_size) : 0.0;
  return (4 * unquantized + bits_per_weight / 8 * quantized + 8 * buckets) / 1e6;
}

/// The paper's figures for a model, gathered tensor by tensor.
///
///   PaperSize size;
///   for (const auto& [name, encoding] : model.tensors) size.add(encoding);
///
/// A table of points counts as uniform levels do: its indices go into the pool, although tensors differ in their
/// points, and the points cost nothing. The paper has no float16, no width per group and no codebook. Such a tensor
/// counts with the plain bits of all that it stores, widths and codewords included, since those grow with the model;
/// it stays out of the pool, because its codes are other things than levels of one width.
struct PaperSize {
  double unquantized = 0;             ///< weights in float32
  double quantized = 0;               ///< weights with codes in the pool
  double buckets = 0;                 ///< sum of elements / bucket_size, a real number
  double plain_bits = 0;              ///< of all codes in the pool
  std::vector<std::uint64_t> counts;  ///< of every code, pooled over all tensors: one Huffman code for the model
  double others = 0;                  ///< weights of the kinds that the paper does not have
  double other_bits = 0;              ///< all that they store

  void add(const Encoding& encoding) {
    const auto n = static_cast<double>(checked_numel("paper_size", encoding.shape));
    std::visit([&](const auto& e) { count(n, e); }, encoding.data);
  }
  /// Mean Huffman length of a code in the pool, in bits.
  double huffman_bits() const { return mean_bit_length(counts); }
  /// Mean width of a code in the pool, in bits; 0 if there is none.
  double bits() const { return quantized > 0 ? plain_bits / quantized : 0.0; }
  /// Size with codes of their full width, in MB.
  double plain_mb() const { return (4 * unquantized + plain_bits / 8 + 8 * buckets + other_bits / 8) / 1e6; }
  /// Size with Huffman-coded codes, in MB.
  double huffman_mb() const {
    return (4 * unquantized + huffman_bits() / 8 * quantized + 8 * buckets + other_bits / 8) / 1e6;
  }
  /// Size of the same weights in full precision, in MB.
  double full_precision_mb() const { return 4 * (unquantized + quantized + others) / 1e6; }

 private:
  void count(double n, const DenseEncoding& e) {
    if (!e.half) unquantized += n;
    else others += n, other_bits += 16 * n;
  }
  void count(double n, const UniformEncoding& e) { count_codes(n, e.codes, e.bits, e.bucket_size); }
  void count(double n, const TableEncoding& e) { count_codes(n, e.codes, e.bits(), e.bucket_size); }
  template <class Kind>
  void count(double n, const Kind& e) {
    others += n, other_bits += static_cast<double>(detail::plain_bits(e));
  }
  void count_codes(double n, std::span<const std::uint16_t> codes, int bits, Index bucket_size) {
    quantized += n;
    plain_bits += n * bits;
    if (bucket_size > 0) buckets += n / static_cast<double>(bucket_size);
    if (counts.size() < (std::size_t{1} << bits)) counts.resize(std::size_t{1} << bits);
    for (const auto code : codes) ++counts[code];
  }
};

}  // namespace qdistill::inline QDISTILL_ABI
