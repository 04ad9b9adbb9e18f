/// The graph's nodes. A node belongs to one tensor: it holds that tensor's gradient while a sweep passes, the nodes of
/// the inputs it was computed from, and a closure that turns dL/d(output) into dL/d(inputs).
///
/// Nodes are counted intrusively, live in the recycling pool, and are released without recursion, so that a graph of
/// 100,000 nodes neither allocates in the steady state nor overflows the stack. Saved tensors are detached: a node that
/// held its own output would never die.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "qdistill/autograd/grad_mode.hpp"
#include "qdistill/core/tensor.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

inline std::atomic<Index>& live_node_count() noexcept {
  static std::atomic<Index> count{0};
  return count;
}
inline std::uint64_t next_node_sequence() noexcept {
  static std::atomic<std::uint64_t> sequence{0};
  return sequence.fetch_add(1, std::memory_order_relaxed);
}

/// A counted array of pointers in pool memory, at most a handful long in practice.
template <class P>
class PoolArray {
 public:
  PoolArray() noexcept = default;
  explicit PoolArray(int size) : size_(size) {
    if (size == 0) return;
    void* const p = Pool::instance().allocate(sizeof(P) * static_cast<std::size_t>(size), class_);
    items_ = static_cast<P*>(p);
    for (int i = 0; i < size; ++i) new (items_ + i) P();
  }
  PoolArray(PoolArray&& o) noexcept
      : items_(std::exchange(o.items_, nullptr)), size_(std::exchange(o.size_, 0)), class_(o.class_) {}
  PoolArray& operator=(PoolArray&& o) noexcept {
    std::swap(items_, o.items_), std::swap(size_, o.size_), std::swap(class_, o.class_);
    return *this;
  }
  ~PoolArray() {
    for (int i = 0; i < size_; ++i) items_[i].~P();
    if (items_) Pool::instance().release(items_, class_);
  }
  int size() const noexcept { return size_; }
  P& operator[](int i) noexcept { return items_[i]; }
  const P& operator[](int i) const noexcept { return items_[i]; }

 private:
  P* items_ = nullptr;
  int size_ = 0;
  int class_ = 0;
};

}  // namespace detail

/// Graph nodes alive in the whole process: 0 when no tensor that requires a gradient exists.
inline Index live_nodes() noexcept { return detail::live_node_count().load(); }

/// A node without its scalar type, as the engine sees it.
class Node {
 public:
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void retain_node() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release_node() noexcept;
  const char* name() const noexcept { return name_; }
  std::uint64_t sequence() const noexcept { return sequence_; }
  /// Nodes of the inputs; null where an input needs no gradient.
  virtual int input_count() const noexcept = 0;
  virtual Node* input(int i) const noexcept = 0;
  /// Moves this node's gradient on to its inputs, then drops it. Frees what was saved unless `retain_graph`.
  virtual void propagate(bool retain_graph) = 0;
  /// Throws GraphError if what propagate() needs was freed.
  virtual void check_alive() const = 0;
  /// Drops a gradient that an interrupted sweep left behind. Leaves keep theirs.
  virtual void drop_gradient() noexcept = 0;

  /// The engine's mark: the last sweep that visited this node.
  std::uint64_t visited = 0;

 protected:
  explicit Node(const char* name) noexcept : name_(name), sequence_(detail::next_node_sequence()) {
    detail::live_node_count().fetch_add(1, std::memory_order_relaxed);
  }
  virtual ~Node() { detail::live_node_count().fetch_sub(1, std::memory_order_relaxed); }
  /// Gives up the shares in input nodes by calling release_node() on each.
  virtual void drop_inputs() noexcept = 0;
  /// Destroys the node and returns its memory.
  virtual void destroy() noexcept = 0;

 private:
  std::atomic<int> refs_{1};
  const char* name_;
  std::uint64_t sequence_;
  Node* next_dead_ = nullptr;
};

inline void Node::release_node() noexcept {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // Dead nodes queue up in a list of this thread, so that a long chain is released without recursion.
  thread_local Node* dead = nullptr;
  thread_local bool running = false;
  next_dead_ = dead, dead = this;
  if (running) return;
  running = true;
  while (dead) {
    Node* const node = dead;
    dead = node->next_dead_;
    node->drop_inputs();
    node->destroy();
  }
  running = false;
}

template <class T>
class TypedNode;

/// Where a backward closure puts dL/d(input i). Either fill data() according to mode(), or hand over a tensor.
template <class T>
class GradientSlot {
 public:
  GradientSlot() noexcept = default;
  GradientSlot(Tensor<T>* grad, const Shape* shape, Device device, Lifetime lifetime = Lifetime::step) noexcept
      : grad_(grad), shape_(shape), device_(device), lifetime_(lifetime) {}

  /// False if nobody asks for this gradient: skip the work.
  bool wanted() const noexcept { return grad_ != nullptr; }
  /// set: data() is uninitialised and must be written everywhere. add: it must be added to.
  Write mode() noexcept {
    prepare();
    return mode_;
  }
  /// Contiguous buffer of the input's shape.
  T* data() {
    prepare();
    return buffer_;
  }
  const Shape& shape() const noexcept { return *shape_; }
  /// Makes data() the buffer of dL/dy where that is possible, for a closure that reads each element of dy, of the
  /// input's shape, no later than it writes the same one here. Changes nothing where it is not.
  void reuse(const Tensor<T>& dy) {
    if (!grad_ || grad_->defined() || !dy.sole_owner() || dy.shape() != *shape_) return;
    *grad_ = dy;
    buffer_ = grad_->data();
  }
  /// Takes `g`, of the input's shape, as the gradient, or adds it to what has arrived.
  void accumulate(Tensor<T> g) {
    if (!wanted()) return;
    check<ShapeError>(g.shape() == *shape_, "backward", "got a gradient of shape ", g.shape(), ", expected ", *shape_);
    if (!grad_->defined()) {
      *grad_ = g.contiguous() ? g.detach() : g.clone();
      return;
    }
    if (!g.contiguous()) g = g.clone();
    add_elements(g.data(), data(), g.numel());
  }
  /// Drops a buffer that was handed out here and, because the closure threw, may not have been written.
  void drop_unfinished() noexcept {
    if (buffer_ && mode_ == Write::set) *grad_ = {};
  }

 private:
  void prepare() {
    if (buffer_ || !grad_) return;
    if (grad_->defined()) {
      mode_ = Write::add;
      if (!grad_->sole_owner()) *grad_ = grad_->clone();  // somebody else sees this buffer: dy handed on, or a user
    } else {
      mode_ = Write::set;
      *grad_ = Tensor<T>::empty(*shape_, device_, lifetime_);
    }
    buffer_ = grad_->data();
  }
  Tensor<T>* grad_ = nullptr;
  const Shape* shape_ = nullptr;
  Device device_ = Device::cpu;
  Lifetime lifetime_ = Lifetime::step;
  Write mode_ = Write::set;
  T* buffer_ = nullptr;
};

/// The gradients of all inputs, by position.
template <class T>
class Gradients {
 public:
  Gradients(GradientSlot<T>* slots, int count, bool last) noexcept : slots_(slots), count_(count), last_(last) {}
  int size() const noexcept { return count_; }
  GradientSlot<T>& operator[](int i) noexcept { return slots_[i]; }
  /// True if the closure is not called again: what it saved may go as soon as it was used (Saved::drop).
  bool last() const noexcept { return last_; }

 private:
  GradientSlot<T>* slots_;
  int count_;
  bool last_;
};

/// A node of a Tensor<T>: leaf (no inputs, keeps its gradient) or result of an operation.
template <class T>
class TypedNode : public Node, public GraphPart<T> {
 public:
  void retain() noexcept final { this->retain_node(); }
  void release() noexcept final { this->release_node(); }
  void backward(Tensor<T> seed, bool retain_graph) final;  // engine.hpp
  Tensor<T>& grad() noexcept final { return grad_; }
  const Shape& shape() const noexcept { return shape_; }
  Device device() const noexcept { return device_; }
  /// Called with dL/d(this tensor) before it is passed on (or, for a leaf, whenever a sweep delivered to it); what it
  /// returns, if defined, replaces the gradient.
  void add_hook(std::function<Tensor<T>(const Tensor<T>&)> hook) {
    if (!hooks_) hooks_ = std::make_unique<std::vector<std::function<Tensor<T>(const Tensor<T>&)>>>();
    hooks_->push_back(std::move(hook));
  }

 protected:
  TypedNode(const char* name, const Tensor<T>& of) noexcept : Node(name), shape_(of.shape()), device_(of.device()) {}
  void run_hooks() {
    if (!hooks_) return;
    for (auto& hook : *hooks_) {
      Tensor<T> changed = hook(grad_);
      if (!changed.defined()) continue;
      check<ShapeError>(changed.shape() == shape_, "hook", "got a gradient of shape ", changed.shape(), ", expected ",
                        shape_);
      grad_ = changed.contiguous() ? changed.detach() : changed.clone();
    }
  }
  Tensor<T> grad_;
  Shape shape_;
  Device device_;
  std::unique_ptr<std::vector<std::function<Tensor<T>(const Tensor<T>&)>>> hooks_;
};

namespace detail {

/// Constructs a node in pool memory.
template <class N, class... Args>
N* new_node(Args&&... args) {
  int size_class = 0;
  void* const p = Pool::instance().allocate(sizeof(N), size_class);
  try {
    return new (p) N(size_class, std::forward<Args>(args)...);
  } catch (...) {
    Pool::instance().release(p, size_class);
    throw;
  }
}
template <class N>
void delete_node(N* node, int size_class) noexcept {
  node->~N();
  Pool::instance().release(node, size_class);
}

template <class T>
class LeafNode final : public TypedNode<T> {
 public:
  LeafNode(int size_class, const Tensor<T>& of) noexcept : TypedNode<T>("leaf", of), size_class_(size_class) {}
  ~LeafNode() override = default;
  bool is_leaf() const noexcept override { return true; }
  int input_count() const noexcept override { return 0; }
  Node* input(int) const noexcept override { return nullptr; }
  void propagate(bool) override {
    if (!this->grad_.defined()) return;
    // A leaf's gradient is the user's to change in place (clipping), so it shares its buffer with nothing.
    if (!this->grad_.sole_owner()) this->grad_ = this->grad_.clone();
    this->run_hooks();
  }
  void check_alive() const override {}
  void drop_gradient() noexcept override {}

 protected:
  void drop_inputs() noexcept override {}
  void destroy() noexcept override { delete_node(this, size_class_); }

 private:
  int size_class_;
};

}  // namespace detail

/// Makes `x` a leaf of the graph: its gradient is kept. Returns x with a fresh graph part; x's own handle is unchanged.
template <class T>
Tensor<T> requires_grad(const Tensor<T>& x) {
  static_assert(std::is_floating_point_v<T>, "only float and double tensors carry a graph");
  check<GraphError>(x.defined(), "requires_grad", "got an undefined tensor");
  Tensor<T> leaf = x.detach();
  leaf.set_graph(Ref<GraphPart<T>>::adopt(detail::new_node<detail::LeafNode<T>>(x)));
  return leaf;
}

/// Registers a hook on x's gradient; see TypedNode::add_hook. Throws GraphError if x is not part of a graph.
template <class T, class F>
void register_hook(const Tensor<T>& x, F hook) {
  check<GraphError>(x.requires_grad(), "register_hook", "the tensor does not require a gradient");
  static_cast<TypedNode<T>*>(x.graph().get())->add_hook(std::move(hook));
}

}  // namespace qdistill::inline QDISTILL_ABI
