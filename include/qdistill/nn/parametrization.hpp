/// A quantizer is a differentiable weight parametrization:
///
///   stored tensors  --effective-->  effective weight  --used by-->  layer
///   dL/d(effective weight)  --backward-->  dL/d(stored tensors)
///
/// and can encode itself to what is really stored. Everything after that (ledger, packed file, runtime, reports) reads
/// only the Encoding, so that adding a quantizer is one file in quant/.
#pragma once

#include <memory>
#include <string>

#include "qdistill/autograd/engine.hpp"
#include "qdistill/encoding/encoding.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

/// What the effective weight is wanted for. They differ where training adds noise.
enum class Phase { train, eval };

/// What a parameter is to its layer; predicates that choose what to quantize see it.
enum class Kind { weight, bias, norm_weight, norm_bias, activation };

inline const char* name(Kind kind) noexcept {
  constexpr const char* names[] = {"weight", "bias", "norm_weight", "norm_bias", "activation"};
  return names[static_cast<int>(kind)];
}

/// A tensor that a parametrization keeps between steps, and how it is optimised.
template <class T>
struct StoredTensor {
  std::string name;        ///< suffix of the parameter's name; "" for the weight itself
  Tensor<T> tensor;        ///< a leaf of the graph if trained
  bool trained = true;     ///< false: constant (the weights under differentiable quantization)
  std::string group = "";  ///< optimizer group; "" is the weights' own
};

/// Base of all quantizers. Virtual calls happen once per parameter and step, never per element.
template <class T>
class Parametrization {
 public:
  virtual ~Parametrization() = default;
  /// Projects stored tensors after they changed (sorts points, clamps). Called before effective().
  virtual void refresh() {}
  /// The weight that the layer uses, of the parameter's shape; differentiable with respect to the stored tensors.
  virtual Tensor<T> effective(Phase phase) = 0;
  /// All stored tensors; the parameter checkpoints and optimises these.
  virtual std::span<const StoredTensor<T>> stored() const = 0;
  /// A differentiable term for the loss (DiffQ: the size in MB); undefined if there is none.
  virtual Tensor<T> penalty() { return {}; }
  /// What is really stored, for a weight in evaluation.
  virtual Encoding encode() const = 0;
  /// Bits of what is stored as the method's paper counts them.
  virtual double size_bits() const { return static_cast<double>(plain_bits(encode())); }
  /// True if backward is the exact gradient of effective(); false for a surrogate such as straight-through.
  virtual bool exact_gradient() const noexcept = 0;
  /// For tables: "uniform 4 bits, bucket 256".
  virtual std::string description() const = 0;
};

/// The float32 encoding of a tensor.
template <class T>
Encoding dense_encoding(const Tensor<T>& x) {
  DenseEncoding data;
  for (const T v : x.to_vector()) data.values.push_back(static_cast<float>(v));
  return {{x.shape().begin(), x.shape().end()}, std::move(data)};
}

}  // namespace qdistill::inline QDISTILL_ABI::nn
