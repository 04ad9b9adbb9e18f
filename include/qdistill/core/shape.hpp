/// Shapes and strides: small inline lists of at most 8 dimensions, with PyTorch's rules for negative dims and
/// broadcasting.
#pragma once

#include <initializer_list>
#include <limits>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

inline constexpr int max_rank = 8;

/// A list of up to 8 integers. Throws ShapeError when longer.
class Shape {
 public:
  constexpr Shape() noexcept = default;
  Shape(std::initializer_list<Index> dims) : Shape(std::span<const Index>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const Index> dims) {
    check<ShapeError>(dims.size() <= max_rank, "shape", "got ", dims.size(), " dims, expected at most ", max_rank);
    for (const Index d : dims) dims_[rank_++] = d;
  }

  int rank() const noexcept { return rank_; }
  Index operator[](int d) const noexcept { return dims_[d]; }
  Index& operator[](int d) noexcept { return dims_[d]; }
  const Index* begin() const noexcept { return dims_; }
  const Index* end() const noexcept { return dims_ + rank_; }
  std::span<const Index> span() const noexcept { return {dims_, static_cast<std::size_t>(rank_)}; }

  /// Product of all dims; 1 for a scalar. The product was checked when the tensor was made.
  Index numel() const noexcept {
    Index n = 1;
    for (const Index d : *this) n *= d;
    return n;
  }
  void push_back(Index d) {
    check<ShapeError>(rank_ < max_rank, "shape", "got more than ", max_rank, " dims");
    dims_[rank_++] = d;
  }
  void insert(int at, Index d) {
    push_back(d);
    for (int i = rank_ - 1; i > at; --i) dims_[i] = dims_[i - 1];
    dims_[at] = d;
  }
  void erase(int at) noexcept {
    for (int i = at; i + 1 < rank_; ++i) dims_[i] = dims_[i + 1];
    --rank_;
  }
  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a.dims_[i] != b.dims_[i]) return false;
    return true;
  }

 private:
  Index dims_[max_rank] = {};
  int rank_ = 0;
};

using Strides = Shape;

namespace detail {
inline void append(std::string& out, const Shape& shape) { append(out, shape.span()); }
}  // namespace detail

/// Number of elements; throws ShapeError for a negative dim or a product beyond 2^62.
inline Index checked_numel(std::string_view op, const Shape& shape) {
  Index n = 1;
  bool zero = false, overflow = false;
  for (const Index d : shape) {
    check<ShapeError>(d >= 0, op, "got shape ", shape, ", expected dims of at least 0");
    if (d == 0) zero = true;
    else if (n > (Index{1} << 62) / d) overflow = true;
    else n *= d;
  }
  check<ShapeError>(zero || !overflow, op, "got shape ", shape, ", which has more than 2^62 elements");
  return zero ? 0 : n;
}

/// Strides of a row-major tensor.
inline Strides row_major(const Shape& shape) noexcept {
  Strides s = shape;
  Index step = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) s[d] = step, step *= shape[d];
  return s;
}

/// Turns a dim in [-rank, rank) into [0, rank). Throws ShapeError.
inline int wrap_dim(std::string_view op, Index dim, int rank) {
  check<ShapeError>(dim >= -rank && dim < rank, op, "got dim ", dim, ", expected it in [", -rank, ", ", rank, ")");
  return static_cast<int>(dim < 0 ? dim + rank : dim);
}

/// The shape that `a` and `b` broadcast to (PyTorch's and NumPy's rule). Throws ShapeError.
inline Shape broadcast(std::string_view op, const Shape& a, const Shape& b) {
  const int rank = a.rank() > b.rank() ? a.rank() : b.rank();
  Shape out;
  for (int d = 0; d < rank; ++d) {
    const int i = d - (rank - a.rank()), j = d - (rank - b.rank());
    const Index x = i < 0 ? 1 : a[i], y = j < 0 ? 1 : b[j];
    check<ShapeError>(x == y || x == 1 || y == 1, op, "got shapes ", a, " and ", b, ", which do not broadcast");
    out.push_back(x == 1 ? y : x);
  }
  return out;
}

/// Strides that read a tensor of `shape` and `strides` as if it had shape `to` (0 where it is repeated).
inline Strides broadcast_strides(const Shape& shape, const Strides& strides, const Shape& to) noexcept {
  Strides out = to;
  const int shift = to.rank() - shape.rank();
  for (int d = 0; d < to.rank(); ++d) out[d] = d < shift || shape[d - shift] == 1 ? 0 : strides[d - shift];
  return out;
}

}  // namespace qdistill::inline QDISTILL_ABI
