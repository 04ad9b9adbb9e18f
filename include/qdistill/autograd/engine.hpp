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

/// A list of nodes that the thread's later sweeps reuse. A sweep inside a backward closure (recomputation) gets a list
/// of its own.
class SweepOrder {
 public:
  SweepOrder() { nodes_.swap(spare()); }
  ~SweepOrder() {
    nodes_.clear();
    nodes_.swap(spare());
  }
  SweepOrder(const SweepOrder&) = delete;
  SweepOrder& operator=(const SweepOrder&) = delete;

  /// All nodes reachable from `root`, newest first.
  const std::vector<Node*>& from(Node* root) {
    static std::atomic<std::uint64_t> sweeps{0};
    const std::uint64_t mark = sweeps.fetch_add(1) + 1;
    nodes_.push_back(root);
    root->visited = mark;
    for (std::size_t next = 0; next < nodes_.size(); ++next) {
      Node* const node = nodes_[next];
      for (int i = 0, n = node->input_count(); i < n; ++i) {
        Node* const input = node->input(i);
        if (!input || input->visited == mark) continue;
        input->visited = mark;
        nodes_.push_back(input);
      }
    }
    std::sort(nodes_.begin(), nodes_.end(), [](const Node* a, const Node* b) { return a->sequence() > b->sequence(); });
    return nodes_;
  }

 private:
  static std::vector<Node*>& spare() {
    thread_local std::vector<Node*> list;
    return list;
  }
  std::vector<Node*> nodes_;
};

}  // namespace detail

template <class T>
void TypedNode<T>::backward(Tensor<T> seed, bool retain_graph) {
  detail::SweepOrder order;
  const std::vector<Node*>& nodes = order.from(this);
  for (const Node* const node : nodes) node->check_alive();
  GradientSlot<T>(&grad_, &shape_, device_).accumulate(std::move(seed));
  const NoGrad no_grad;
  try {
    for (Node* const node : nodes) node->propagate(retain_graph);
  } catch (...) {
    for (Node* const node : nodes) node->drop_gradient();
    if (!retain_graph) ++graph_generation();
    throw;
  }
  if (!retain_graph) ++graph_generation();
}

}  // namespace qdistill::inline QDISTILL_ABI
