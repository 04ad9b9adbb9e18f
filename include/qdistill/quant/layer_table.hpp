/// Figures of each parameter of a network as it is stored: bits, bytes, signal to noise, levels in use. They come from
/// the parameter's Encoding alone, so that every quantizer has them.
///
///   const quant::LayerTable table = quant::layer_table(student);
///   std::fputs(distill::to_table(table).text().c_str(), stdout);  // distill/layer_report.hpp
///
/// What quantizing each tensor costs in loss and accuracy is in distill/sensitivity.hpp.
#pragma once

#include <cmath>
#include <limits>

#include "qdistill/encoding/point_usage.hpp"
#include "qdistill/io/tensor_ledgers.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/quant/select.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// Signal to quantization noise in dB, 10 log10(sum w^2 / sum (w - q)^2), sums in double in the order of the elements.
/// Infinite where all are equal, -infinite for zeros that became something else. Throws ShapeError for different
/// lengths.
template <class T>
double sqnr_db(std::span<const T> w, std::span<const float> q) {
  check<ShapeError>(w.size() == q.size(), "sqnr_db", "got ", w.size(), " weights and ", q.size(),
                    " quantized ones, expected as many");
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double v = static_cast<double>(w[i]), d = v - static_cast<double>(q[i]);
    signal += v * v, noise += d * d;
  }
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

/// One parameter tensor. A code stands for one weight, or for the `block` weights of a codeword; where there are no
/// codes, code bits are those of the stored numbers.
struct LayerFigures {
  std::string name;  ///< "conv1.weight"
  nn::Kind kind = nn::Kind::weight;
  Shape shape;
  Index weights = 0;
  std::string quantizer;          ///< in words, "uniform 4 bits, bucket 256"; "" without one
  std::string encoding;           ///< float32, float16, or the scheme of the packed file: uniform, table, ...
  double code_bits = 0;           ///< of a code, the mean over the weights where widths differ (DiffQ)
  int least_bits = 0;             ///< of the narrowest code, and of the widest
  int most_bits = 0;              ///<
  Index block = 1;                ///< weights of a code
  PointUsage usage;               ///< levels, points or codewords in use; all 0 where there are no codes
  Ledger plain;                   ///< bytes with codes at their width; header and padding belong to no tensor
  Ledger coded;                   ///< bytes with codes Huffman coded where that makes the packed file smaller
  double sqnr_db = std::nan("");  ///< decibels; NaN: no full-precision weight is known

  /// Bits of the codes per weight.
  double bits() const noexcept { return code_bits / static_cast<double>(block); }
  /// Bits of all bytes per weight, scales and tables included, without entropy coding; 0 without weights.
  double stored_bits() const noexcept {
    return weights > 0 ? 8 * static_cast<double>(plain.total()) / static_cast<double>(weights) : 0.0;
  }
};

struct LayerTable {
  std::vector<LayerFigures> layers;  ///< in registration order
  Index other_plain = 0;     ///< bytes of the tensors that have no line: running statistics, what was not chosen
  Index other_coded = 0;     ///< the same beside Huffman codes
  Index huffman_tables = 0;  ///< bytes of the tables that all Huffman codes of the file share

  /// Bytes of all tensors of the packed file, plain and Huffman coded: its ledger without header and padding.
  Index plain_bytes() const noexcept {
    Index sum = other_plain;
    for (const LayerFigures& l : layers) sum += l.plain.total();
    return sum;
  }
  Index coded_bytes() const noexcept {
    Index sum = other_coded + huffman_tables;
    for (const LayerFigures& l : layers) sum += l.coded.total();
    return sum;
  }
};

template <class T>
struct LayerTableOptions {
  Select select = all_parameters();  ///< which tensors get a line; the bytes are those of the whole network's file
  /// nn::state_dict of the unquantized network, which tells the signal to noise where a quantizer does not keep the
  /// full-precision weight (product codes).
  std::vector<nn::StateEntry<T>> reference = {};
};

namespace detail {

/// The tensor of `reference` for a parameter or buffer. Throws ValueError or ShapeError, in the name of `op`, if it is
/// not there or of another shape.
template <class T>
const Tensor<T>& reference_of(const char* op, const std::vector<nn::StateEntry<T>>& reference, const std::string& name,
                              const Shape& shape) {
  for (const nn::StateEntry<T>& e : reference) {
    if (e.name != name || !e.values.defined()) continue;
    check<ShapeError>(e.shape() == shape, op, "got a reference whose '", name, "' has shape ", e.shape(), ", expected ",
                      shape);
    return e.values;
  }
  fail(op, "got a reference of ", reference.size(), " tensors without '", name, "' of shape ", shape);
}

/// The full-precision weight that a parameter still has; undefined if its quantizer keeps none.
template <class T>
Tensor<T> full_precision(const nn::Parameter<T>& parameter) {
  if (!parameter.parametrization()) return parameter.data().detach();
  for (const nn::StoredTensor<T>& s : parameter.parametrization()->stored())
    if (s.name.empty()) return s.tensor.detach();
  return {};
}

/// Bits of codes and how they are called, by kind of encoding.
inline void describe_codes(LayerFigures& l, const DenseEncoding& e) {
  l.encoding = e.half ? "float16" : "float32";
  l.code_bits = l.least_bits = l.most_bits = e.half ? 16 : 32;
}
inline void describe_codes(LayerFigures& l, const UniformEncoding& e) {
  l.code_bits = l.least_bits = l.most_bits = e.bits;
}
inline void describe_codes(LayerFigures& l, const TableEncoding& e) {
  l.code_bits = l.least_bits = l.most_bits = e.bits();
}
inline void describe_codes(LayerFigures& l, const ProductEncoding& e) {
  l.code_bits = l.least_bits = l.most_bits = e.bits();
  l.block = e.block_size;
}
inline void describe_codes(LayerFigures& l, const GroupedEncoding& e) {  // all groups have the same number of weights
  if (e.widths.empty()) return;
  double sum = 0;
  for (const auto width : e.widths) sum += width;
  const auto [least, most] = std::minmax_element(e.widths.begin(), e.widths.end());
  l.code_bits = sum / static_cast<double>(e.widths.size()), l.least_bits = *least, l.most_bits = *most;
}

}  // namespace detail

/// The figures of the chosen parameters. Encodes the whole network, and changes nothing in it that a forward would not.
/// Throws ValueError for an empty choice or a reference that misses one of its names, ShapeError for a reference of
/// another shape, and what a quantizer throws that cannot encode its weight.
template <class T>
LayerTable layer_table(const nn::Module<T>& model, const LayerTableOptions<T>& options = {}) {
  const char* const op = "layer_table";
  const auto chosen = selected(model, options.select);
  check(!chosen.empty(), op, "the selection chose none of the ", model.named_parameters().size(), " parameters");
  io::PackedModel packed;
  for (const auto& [name, parameter] : model.named_parameters()) packed.tensors.emplace(name, parameter->encode());
  for (const auto& buffer : model.named_buffers())
    if (buffer.values) packed.tensors.emplace(buffer.name, nn::dense_encoding(*buffer.values));
  const io::TensorLedgers plain = io::tensor_ledgers(packed, {.huffman = false}), coded = io::tensor_ledgers(packed);

  LayerTable table;
  table.huffman_tables = coded.huffman_tables;
  for (const auto& [name, parameter] : chosen) {
    const Encoding& encoding = packed.tensors.at(name);
    LayerFigures l;
    l.name = name, l.kind = parameter->kind(), l.shape = parameter->shape(), l.weights = l.shape.numel();
    if (parameter->parametrization()) l.quantizer = parameter->parametrization()->description();
    io::detail::with_codec(encoding, [&](auto codec, const auto& data) {
      l.encoding = codec.scheme;
      detail::describe_codes(l, data);
    });
    l.usage = point_usage(encoding);
    l.plain = plain.tensors.at(name), l.coded = coded.tensors.at(name);
    Tensor<T> w = detail::full_precision(*parameter);
    if (!options.reference.empty()) {
      const Tensor<T>& reference = detail::reference_of(op, options.reference, name, l.shape);
      if (!w.defined()) w = reference;
    }
    if (w.defined()) l.sqnr_db = sqnr_db<T>(w.to_vector(), decode_ref(encoding));
    table.layers.push_back(std::move(l));
  }
  for (const auto& [name, ledger] : plain.tensors) table.other_plain += ledger.total();
  for (const auto& [name, ledger] : coded.tensors) table.other_coded += ledger.total();
  for (const LayerFigures& l : table.layers) table.other_plain -= l.plain.total(), table.other_coded -= l.coded.total();
  return table;
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
