/// What the differentiable functions share.
#pragma once

#include "qdistill/autograd/engine.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// Throws GraphError for a tensor that holds nothing.
template <class T>
void check_defined(const char* op, const Tensor<T>& x) {
  check<GraphError>(x.defined(), op, "got an undefined tensor");
}

/// x itself if contiguous, else a copy; either way without graph.
template <class T>
Tensor<T> dense(const Tensor<T>& x) {
  return x.contiguous() ? x.detach() : x.clone();
}

/// `t` where `needed`, else nothing: what is saved for a gradient that nobody asks for only costs memory.
template <class T>
Saved<T> save_if(bool needed, const Tensor<T>& t) {
  return needed ? save(t) : Saved<T>{};
}

/// A buffer for a result of x's shape: x's own when `x` (taken over by the caller) is contiguous, its last owner and
/// outside of any graph, else a new one.
template <class T>
Tensor<T> reuse_or_empty(Tensor<T>& x) {
  if (x.contiguous() && x.sole_owner() && !x.requires_grad()) return x;
  return Tensor<T>::empty(x.shape(), x.device());
}

/// A contiguous tensor seen as outer x n x inner around dimension `dim`.
struct DimSplit {
  Index outer = 1, n = 1, inner = 1;
};
inline DimSplit split_at(const Shape& shape, int dim) noexcept {
  DimSplit s;
  for (int d = 0; d < dim; ++d) s.outer *= shape[d];
  for (int d = dim + 1; d < shape.rank(); ++d) s.inner *= shape[d];
  if (shape.rank() > 0) s.n = shape[dim];
  return s;
}

}  // namespace detail
}  // namespace qdistill::inline QDISTILL_ABI
