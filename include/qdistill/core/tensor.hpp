/// Tensor<T>: a cheap handle {storage, shape, strides, offset, optional graph part}. Copying a handle shares the data.
///
/// Rank and device are run-time values; the scalar type is the template parameter. float and double tensors may carry a
/// graph part (autograd/); integer tensors never do. What returns views or does arithmetic lives in ops/, where it is
/// differentiable; the members here never look at the graph.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "qdistill/core/memory.hpp"
#include "qdistill/core/random.hpp"
#include "qdistill/core/shape.hpp"
#include "qdistill/core/storage.hpp"

namespace qdistill::inline QDISTILL_ABI {

template <class T>
class Tensor;

/// What autograd hangs on a tensor: its gradient, and how to go on from there. Implemented in autograd/node.hpp.
template <class T>
class GraphPart {
 public:
  virtual void retain() noexcept = 0;
  virtual void release() noexcept = 0;
  /// Runs the backward sweep from here; `seed` is dL/d(this tensor).
  virtual void backward(Tensor<T> seed, bool retain_graph) = 0;
  virtual Tensor<T>& grad() noexcept = 0;
  virtual bool is_leaf() const noexcept = 0;

 protected:
  ~GraphPart() = default;
};

template <class T>
class Tensor {
  static_assert(std::is_arithmetic_v<T>);

 public:
  using value_type = T;

  /// An undefined tensor: no storage, shape [0].
  Tensor() noexcept = default;

  /// Uninitialised. Throws ShapeError for a bad shape, DeviceError for a device that is not there.
  static Tensor empty(const Shape& shape, Device device = Device::cpu, Lifetime lifetime = Lifetime::step) {
    const Index n = checked_numel("tensor", shape);
    check<ShapeError>(n <= (Index{1} << 44) / static_cast<Index>(sizeof(T)), "tensor", "got shape ", shape,
                      ", which is larger than 2^44 bytes");
    Tensor t;
    t.storage_ = Storage::allocate(static_cast<std::size_t>(n) * sizeof(T), device, lifetime);
    t.shape_ = shape, t.strides_ = row_major(shape), t.contiguous_ = true;
    return t;
  }
  static Tensor full(const Shape& shape, T value, Device device = Device::cpu, Lifetime lifetime = Lifetime::step) {
    Tensor t = empty(shape, device, lifetime);
    fill_elements(t.data(), t.numel(), value);
    return t;
  }
  static Tensor zeros(const Shape& shape, Device device = Device::cpu) { return full(shape, T(0), device); }
  static Tensor ones(const Shape& shape, Device device = Device::cpu) { return full(shape, T(1), device); }
  /// A scalar, shape [].
  static Tensor scalar(T value) { return full({}, value); }
  /// Copies `values`, whose count must be that of `shape`. Throws ShapeError.
  static Tensor from(std::span<const T> values, const Shape& shape) {
    check<ShapeError>(static_cast<Index>(values.size()) == checked_numel("tensor", shape), "tensor", "got ",
                      values.size(), " values, expected as many as shape ", shape, " holds");
    Tensor t = empty(shape);
    if (!values.empty()) std::memcpy(t.data(), values.data(), values.size_bytes());
    return t;
  }
  static Tensor from(std::initializer_list<T> values, const Shape& shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }
  /// A vector, shape [values.size()].
  static Tensor from(std::initializer_list<T> values) { return from(values, {static_cast<Index>(values.size())}); }
  /// start, start + step, ... below (or above, for a negative step) stop. Throws ValueError for step 0.
  static Tensor arange(T start, T stop, T step = T(1)) {
    check(step != T(0), "arange", "got step 0");
    const double count = (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
    Index n = 0;
    if (count > 0) {
      check(count < 0x1p40, "arange", "got ", count, " elements, expected fewer than 2^40");
      n = static_cast<Index>(count);
      if (static_cast<double>(n) < count) ++n;
    }
    Tensor t = empty({n});
    for (Index i = 0; i < n; ++i) t.data()[i] = static_cast<T>(start + static_cast<T>(i) * step);
    return t;
  }
  /// Uniform in [lo, hi).
  static Tensor uniform(const Shape& shape, RandomStream stream, T lo = T(0), T hi = T(1)) {
    Tensor t = empty(shape);
    for (Index i = 0, n = t.numel(); i < n; ++i)
      t.data()[i] = static_cast<T>(lo + (hi - lo) * static_cast<T>(stream.uniform(static_cast<std::uint64_t>(i))));
    return t;
  }
  /// Normal with the given mean and standard deviation.
  static Tensor normal(const Shape& shape, RandomStream stream, T mean = T(0), T std = T(1)) {
    Tensor t = empty(shape);
    for (Index i = 0, n = t.numel(); i < n; ++i)
      t.data()[i] = static_cast<T>(mean + std * static_cast<T>(stream.normal(static_cast<std::uint64_t>(i))));
    return t;
  }

  bool defined() const noexcept { return static_cast<bool>(storage_); }
  const Shape& shape() const noexcept { return shape_; }
  const Strides& strides() const noexcept { return strides_; }
  int rank() const noexcept { return shape_.rank(); }
  /// Size along `dim`, which may be negative. Throws ShapeError.
  Index size(Index dim) const { return shape_[wrap_dim("size", dim, rank())]; }
  Index numel() const noexcept { return defined() ? shape_.numel() : 0; }
  Device device() const noexcept { return defined() ? storage_->device() : Device::cpu; }
  /// True if no two indices address the same element and none is skipped: data()[0 .. numel()) is the whole tensor, in
  /// order.
  bool contiguous() const noexcept { return contiguous_; }

  /// Address of the first element. Whoever writes through it to a tensor that a graph may have saved calls
  /// mark_changed().
  T* data() noexcept { return storage_ ? static_cast<T*>(storage_->data()) + offset_ : nullptr; }
  const T* data() const noexcept { return storage_ ? static_cast<const T*>(storage_->data()) + offset_ : nullptr; }
  /// All elements in order. Throws ShapeError unless contiguous.
  std::span<T> span() {
    check<ShapeError>(contiguous_ || !defined(), "span", "got a strided view of shape ", shape_,
                      ", expected a contiguous tensor; call contiguous(x) first");
    return {data(), static_cast<std::size_t>(numel())};
  }
  std::span<const T> span() const {
    check<ShapeError>(contiguous_ || !defined(), "span", "got a strided view of shape ", shape_,
                      ", expected a contiguous tensor; call contiguous(x) first");
    return {data(), static_cast<std::size_t>(numel())};
  }
  /// The element at `index`, one number per dim, negative from the end. Throws ShapeError when out of range.
  T& at(std::initializer_list<Index> index) { return data()[offset_of(index)]; }
  const T& at(std::initializer_list<Index> index) const { return data()[offset_of(index)]; }
  /// The value of a tensor of one element. Throws ShapeError.
  T item() const {
    check<ShapeError>(numel() == 1, "item", "got shape ", shape_, ", expected one element");
    return *data();
  }
  /// All elements in row-major order, copied.
  std::vector<T> to_vector() const {
    std::vector<T> out(static_cast<std::size_t>(numel()));
    gather_elements(*this, out.data());
    return out;
  }

  /// Counts as an in-place change: a graph that saved this data refuses to go backward.
  void mark_changed() noexcept {
    if (storage_) storage_->bump_version();
  }
  std::uint64_t version() const noexcept { return storage_ ? storage_->version() : 0; }
  /// Sets every element.
  void fill(T value) {
    check<ShapeError>(contiguous_ || !defined(), "fill", "got a strided view, expected a contiguous tensor");
    fill_elements(data(), numel(), value);
    mark_changed();
  }
  /// Overwrites the elements with those of `source`, of the same shape. Throws ShapeError.
  void copy_from(const Tensor& source) {
    check<ShapeError>(shape_ == source.shape_, "copy_from", "got shape ", source.shape_, ", expected ", shape_);
    check<ShapeError>(contiguous_ || !defined(), "copy_from", "got a strided destination, expected a contiguous one");
    gather_elements(source, data());
    mark_changed();
  }
  /// Same elements in storage of its own, contiguous, without graph.
  Tensor clone() const {
    if (!defined()) return {};
    Tensor t = empty(shape_, device());
    gather_elements(*this, t.data());
    return t;
  }
  /// Same data without graph.
  Tensor detach() const {
    Tensor t = *this;
    t.graph_ = {};
    return t;
  }
  /// A window on the same storage, without graph. `offset` counts elements from this tensor's first one. The caller
  /// vouches for the bounds; ops/view.hpp holds the checked views.
  Tensor window(const Shape& shape, const Strides& strides, Index offset) const {
    Tensor t;
    t.storage_ = storage_, t.shape_ = shape, t.strides_ = strides, t.offset_ = offset_ + offset;
    t.contiguous_ = is_row_major(shape, strides);
    return t;
  }
  /// True if this handle alone holds the storage, so that its buffer may be reused.
  bool sole_owner() const noexcept { return storage_ && storage_->use_count() == 1 && !storage_->has_recipe(); }
  /// Null if undefined.
  const Ref<Storage>& storage() const noexcept { return storage_; }
  /// The same view, without graph, of another storage of the same size, or of none.
  Tensor on(Ref<Storage> storage) const {
    Tensor t = detach();
    t.storage_ = std::move(storage);
    return t;
  }
  bool shares_storage(const Tensor& other) const noexcept { return storage_ == other.storage_; }

  // Graph part; see autograd/.
  bool requires_grad() const noexcept { return static_cast<bool>(graph_); }
  const Ref<GraphPart<T>>& graph() const noexcept { return graph_; }
  void set_graph(Ref<GraphPart<T>> graph) noexcept { graph_ = std::move(graph); }
  /// dL/d(this), undefined before the first backward. Throws GraphError if the tensor is not part of a graph.
  Tensor& grad() const {
    check<GraphError>(requires_grad(), "grad", "the tensor does not require a gradient");
    return graph_->grad();
  }
  void zero_grad() const {
    if (graph_) graph_->grad() = Tensor{};
  }
  /// Backward sweep from a tensor of one element. Throws GraphError for other shapes.
  void backward(bool retain_graph = false) const {
    check<GraphError>(numel() == 1, "backward", "got shape ", shape_,
                      ", expected one element; give backward(gradient) the gradient of this tensor");
    backward(full(shape_, T(1), device()), retain_graph);
  }
  /// Backward sweep from dL/d(this) = `gradient`. Throws GraphError or ShapeError.
  void backward(Tensor gradient, bool retain_graph = false) const {
    check<GraphError>(requires_grad(), "backward", "the tensor is not part of a graph: no input required a gradient");
    check<ShapeError>(gradient.shape() == shape_, "backward", "got a gradient of shape ", gradient.shape(),
                      ", expected ", shape_);
    const Ref<GraphPart<T>> keep = graph_;
    keep->backward(gradient.contiguous() ? gradient.detach() : gradient.clone(), retain_graph);
  }

 private:
  static bool is_row_major(const Shape& shape, const Strides& strides) noexcept {
    Index step = 1;
    for (const Index d : shape)
      if (d == 0) return true;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      if (shape[d] != 1 && strides[d] != step) return false;
      step *= shape[d];
    }
    return true;
  }
  Index offset_of(std::initializer_list<Index> index) const {
    check<ShapeError>(static_cast<int>(index.size()) == rank(), "at", "got ", index.size(), " indices, expected ",
                      rank());
    Index offset = 0;
    int d = 0;
    for (const Index i : index) {
      check<ShapeError>(i >= -shape_[d] && i < shape_[d], "at", "got index ", i, " for dim ", d, " of shape ", shape_);
      offset += (i < 0 ? i + shape_[d] : i) * strides_[d];
      ++d;
    }
    return offset;
  }
  /// Copies `source` to `to` in row-major order.
  static void gather_elements(const Tensor& source, T* to) {
    const Index n = source.numel();
    if (n == 0) return;
    if (source.contiguous_) {
      copy_elements(source.data(), to, n);
      return;
    }
    const Shape& shape = source.shape_;
    const int last = shape.rank() - 1;
    const Index inner = shape[last], step = source.strides_[last];
    Index index[max_rank] = {};
    const T* row = source.data();
    for (Index done = 0; done < n; done += inner) {
      for (Index i = 0; i < inner; ++i) *to++ = row[i * step];
      for (int d = last - 1; d >= 0; --d) {
        row += source.strides_[d];
        if (++index[d] < shape[d]) break;
        row -= source.strides_[d] * shape[d];
        index[d] = 0;
      }
    }
  }

  Ref<Storage> storage_;
  Shape shape_{0};
  Strides strides_{1};
  Index offset_ = 0;
  bool contiguous_ = true;
  Ref<GraphPart<T>> graph_;
};

}  // namespace qdistill::inline QDISTILL_ABI
