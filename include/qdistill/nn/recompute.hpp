/// How modules and parameters take part in recomputation (nn/checkpoint.hpp).
#pragma once

#include "qdistill/nn/parametrization.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

template <class T>
class Parameter;

namespace detail {

/// Holds `place` at another value as long as it lives.
template <class V>
class Scoped {
 public:
  Scoped(V& place, V value) : place_(place), before_(std::exchange(place, std::move(value))) {}
  ~Scoped() { place_ = std::move(before_); }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  V& place_;
  V before_;
};

/// Where the parameters of a checkpointed module get their effective weights while it runs.
template <class T>
class WeightSource {
 public:
  virtual Tensor<T> weight(Parameter<T>& parameter, Phase phase) = 0;

 protected:
  ~WeightSource() = default;
};

/// The calling thread's; null outside of a checkpointed module.
template <class T>
WeightSource<T>*& weight_source() noexcept {
  thread_local WeightSource<T>* source = nullptr;
  return source;
}

inline bool& recomputing_now() noexcept {
  thread_local bool on = false;
  return on;
}

}  // namespace detail

/// True while the calling thread runs a module's forward pass a second time. A module whose forward pass changes the
/// module, as batch normalisation's moves its running statistics, must leave that out then.
inline bool recomputing() noexcept { return detail::recomputing_now(); }

}  // namespace qdistill::inline QDISTILL_ABI::nn
