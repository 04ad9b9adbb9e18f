/// The dims that a reduction runs over.
#pragma once

#include "qdistill/kernels/cpu/broadcast.hpp"
#include "qdistill/ops/common.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// One dim, a list of them, or (empty, the default) all. Negative dims count from the end.
class Dims {
 public:
  Dims() noexcept = default;
  Dims(Index dim) : list_{dim} {}
  Dims(std::initializer_list<Index> dims) : list_(dims) {}
  explicit Dims(std::span<const Index> dims) : list_(dims) {}
  const Shape& list() const noexcept { return list_; }
  bool all() const noexcept { return list_.rank() == 0; }

 private:
  Shape list_;
};

namespace detail {

/// A reduction of a tensor of `shape`: its fibers, the shape of the result, and that shape with the reduced dims kept
/// as 1, which broadcasts against the input.
struct Reduced {
  kernels::Fibers fibers;
  Shape shape, out, kept;
  Index length = 1;

  /// Throws ShapeError for a dim out of range or given twice.
  Reduced(const char* op, const Shape& of, const Dims& dims, bool keepdim) : shape(of) {
    bool stays[max_rank] = {};
    for (int d = 0; d < of.rank(); ++d) stays[d] = !dims.all();
    for (const Index dim : dims.list()) {
      if (of.rank() == 0 && (dim == 0 || dim == -1)) continue;  // PyTorch lets a scalar have one dim
      const int d = wrap_dim(op, dim, of.rank());
      check<ShapeError>(stays[d], op, "got dims ", dims.list(), ", expected each of shape ", of, " at most once");
      stays[d] = false;
    }
    for (int d = 0; d < of.rank(); ++d) {
      kept.push_back(stays[d] ? of[d] : 1);
      if (stays[d] || keepdim) out.push_back(kept[d]);
    }
    fibers = kernels::merge_fibers(of, stays);
    length = fibers.length();
  }
  /// Reads up to two tensors of shape `kept` as if they had the input's shape.
  kernels::BroadcastLayout layout() const noexcept { return kernels::broadcast_layout(shape, kept, kept); }
  /// Throws ShapeError if a result would be computed from no element.
  void check_nonempty(const char* op) const {
    check<ShapeError>(length > 0 || fibers.outputs() == 0, op, "got shape ", shape,
                      ", expected at least one element along the reduced dims");
  }
};

}  // namespace detail
}  // namespace qdistill::inline QDISTILL_ABI
