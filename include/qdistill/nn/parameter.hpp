/// A trainable tensor of a layer, with an optional parametrization on top.
#pragma once

#include "qdistill/autograd/grad_mode.hpp"
#include "qdistill/nn/recompute.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

template <class T>
class Parameter {
 public:
  Parameter(Tensor<T> data, Kind kind) : data_(requires_grad(data)), kind_(kind) {}

  /// The stored tensor, a leaf of the graph.
  const Tensor<T>& data() const noexcept { return data_; }
  Tensor<T>& data() noexcept { return data_; }
  Kind kind() const noexcept { return kind_; }
  const Shape& shape() const noexcept { return data_.shape(); }

  /// The weight that the layer computes with. Without a parametrization the stored tensor itself; else its effective
  /// weight, computed once per step: again only when a stored tensor changed, the phase or the grad mode differ, or a
  /// backward sweep has freed the graph that it was part of.
  Tensor<T> effective(Phase phase) {
    if (auto* const source = detail::weight_source<T>()) return source->weight(*this, phase);
    if (frozen_ && grad_enabled()) {
      const NoGrad no_grad;
      return effective(phase);
    }
    if (!parametrization_) return frozen_ ? data_.detach() : data_;
    refresh();
    Cached& slot = cache_[(phase == Phase::train ? 0 : 2) + (grad_enabled() ? 1 : 0)];
    const std::uint64_t generation = grad_enabled() ? graph_generation() : 0;
    if (!slot.value.defined() || slot.version != refreshed_ || slot.generation != generation) {
      slot.value = {};  // its buffer serves the new one
      slot.value = parametrization_->effective(phase);
      slot.version = refreshed_, slot.generation = generation;
    }
    return slot.value;
  }

  /// Puts a parametrization on the parameter (built on data()), or takes it off when null.
  void set_parametrization(std::shared_ptr<Parametrization<T>> p) {
    parametrization_ = std::move(p);
    clear_cache();
  }
  const std::shared_ptr<Parametrization<T>>& parametrization() const noexcept { return parametrization_; }
  /// A frozen parameter is a constant to the graph: nothing that it stores takes a gradient.
  void freeze(bool on = true) noexcept { frozen_ = on; }
  bool frozen() const noexcept { return frozen_; }
  /// Drops the cached effective weights and the graph nodes they hold.
  void clear_cache() noexcept {
    for (Cached& slot : cache_) slot = {};
    refreshed_ = ~std::uint64_t{0};
  }
  /// What is really stored of this parameter.
  Encoding encode() const {
    if (!parametrization_) return dense_encoding(data_);
    refresh();
    return parametrization_->encode();
  }

 private:
  void refresh() const {
    if (stored_version() == refreshed_) return;
    parametrization_->refresh();
    refreshed_ = stored_version();
  }
  std::uint64_t stored_version() const {
    std::uint64_t sum = 0;
    for (const StoredTensor<T>& s : parametrization_->stored()) sum += s.tensor.version();
    return sum;
  }
  struct Cached {
    Tensor<T> value;
    std::uint64_t version = 0, generation = 0;
  };
  Tensor<T> data_;
  Kind kind_;
  bool frozen_ = false;
  std::shared_ptr<Parametrization<T>> parametrization_;
  mutable std::uint64_t refreshed_ = ~std::uint64_t{0};  // encode() may be what projects the stored tensors
  Cached cache_[4];
};

/// Shared, so that two layers may use one parameter (one effective weight, one encoding, counted once).
template <class T>
using ParameterPtr = std::shared_ptr<Parameter<T>>;

}  // namespace qdistill::inline QDISTILL_ABI::nn
