/// The backward sweep. Nodes are numbered as they are made and an input is older than what is computed from it, so
/// descending numbers are a topological order: the order, and with it every sum of gradients, is fixed. No recursion.
#pragma once

#include <algorithm>

#include "qdistill/autograd/record.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Sweeps that freed a graph on this thread so far. What was computed in an earlier generation can't be gone through
/// again (nn::Parameter keys its cache of effective weights by it).
inline std::uint64_t& graph_generation() noexcept {
  thread_local std::uint64_t generation = 0;
  return generation;
}

namespace detail {

/// The nodes of one sweep, in a list that the thread's later sweeps of the same depth reuse: one inside a backward
/// closure is a level deeper.
class Sweep {
 public:
  Sweep() {
    if (lists().size() <= depth()) lists().resize(depth() + 1);
    nodes_.swap(lists()[depth()++]);
  }
  ~Sweep() {
    nodes_.clear();
    nodes_.swap(lists()[--depth()]);
  }
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  /// Leaves out `node` and what can only be reached through it.
  void end_at(Node* node) noexcept { node->visited = mark_; }
  /// Collects what is reachable from `root`, newest first, and puts `seed` there. Throws GraphError for what was freed
  /// and for a node before number `oldest`.
  template <class T>
  void from(TypedNode<T>* root, Tensor<T> seed, std::uint64_t oldest) {
    visit(root);
    for (std::size_t next = 0; next < nodes_.size(); ++next) {
      Node* const node = nodes_[next];
      for (int i = 0, n = node->input_count(); i < n; ++i) visit(node->input(i));
    }
    std::sort(nodes_.begin(), nodes_.end(), [](const Node* a, const Node* b) { return a->sequence() > b->sequence(); });
    for (const Node* const node : nodes_) node->check_alive();
    if (!nodes_.empty())
      check<GraphError>(nodes_.back()->sequence() >= oldest, "backward", "what was computed again depends on a '",
                        nodes_.back()->name(), "' that is not among the tensors it is computed from");
    GradientSlot<T>(&root->grad(), &root->shape(), root->device()).accumulate(std::move(seed));
  }
  void propagate(bool retain_graph) {
    const NoGrad no_grad;
    try {
      for (Node* const node : nodes_) node->propagate(retain_graph);
    } catch (...) {
      for (Node* const node : nodes_) node->drop_gradient();
      throw;
    }
  }

 private:
  void visit(Node* node) {
    if (!node || node->visited == mark_) return;
    node->visited = mark_;
    nodes_.push_back(node);
  }
  static std::uint64_t next_mark() noexcept {
    static std::atomic<std::uint64_t> sweeps{0};
    return sweeps.fetch_add(1) + 1;
  }
  static std::vector<std::vector<Node*>>& lists() noexcept {
    thread_local std::vector<std::vector<Node*>> of_depth;
    return of_depth;
  }
  static std::size_t& depth() noexcept {
    thread_local std::size_t sweeps = 0;
    return sweeps;
  }
  std::uint64_t mark_ = next_mark();
  std::vector<Node*> nodes_;
};

}  // namespace detail

template <class T>
void TypedNode<T>::backward(Tensor<T> seed, bool retain_graph) {
  detail::Sweep sweep;
  sweep.from(this, std::move(seed), 0);
  if (!retain_graph) ++graph_generation();
  sweep.propagate(retain_graph);
}

/// A sweep inside a backward closure that computes its result again, in place of having kept what is between it and the
/// closure's inputs. These are the sweep's ends: their gradients take what arrives, in the order and in the buffers in
/// which they would have without recomputation, and the sweep that called the closure passes them on.
///
///   InnerSweep<T> sweep;      // before the recomputation
///   Tensor<T> y = f(a, b);    // with gradients enabled
///   sweep.end_at(a), sweep.end_at(b);
///   sweep.backward(std::move(y), dy);
template <class T>
class InnerSweep {
 public:
  void end_at(const Ref<GraphPart<T>>& graph) noexcept {
    if (graph) sweep_.end_at(static_cast<TypedNode<T>*>(graph.get()));
  }
  void end_at(const Tensor<T>& t) noexcept { end_at(t.graph()); }
  /// Frees the graph of y as it passes, and y's own buffer before. Throws GraphError if y was also computed from a
  /// tensor of the graph that is older than this object and no end.
  void backward(Tensor<T> y, Tensor<T> seed) {
    const Ref<GraphPart<T>> root = y.graph();
    y = {};
    if (!root) return;  // it depends on nothing that takes a gradient
    sweep_.from(static_cast<TypedNode<T>*>(root.get()), std::move(seed), oldest_);
    sweep_.propagate(false);
  }

 private:
  std::uint64_t oldest_ = detail::next_node_sequence();
  detail::Sweep sweep_;
};

}  // namespace qdistill::inline QDISTILL_ABI
