/// record(): the only function that makes graph nodes.
///
/// A user's own differentiable function needs nothing else:
///
///   template <class T> Tensor<T> square(const Tensor<T>& x) {             // y = x^2,  dL/dx = 2 x dL/dy
///     Tensor<T> y = Tensor<T>::empty(x.shape());
///     for (Index i = 0; i < x.numel(); ++i) y.data()[i] = x.data()[i] * x.data()[i];
///     return record("square", y, inputs(x), [x = save(x)](const Tensor<T>& dy, Gradients<T>& dx) {
///       const T* v = x.get().data();
///       T* g = dx[0].data();
///       for (Index i = 0; i < dy.numel(); ++i)
///         g[i] = (dx[0].mode() == Write::add ? g[i] : T(0)) + 2 * v[i] * dy.data()[i];
///     });
///   }
#pragma once

#include "qdistill/autograd/saved.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// The graph parts of an operation's inputs, in the order of the closure's gradients.
template <class T>
using Inputs = detail::PoolArray<Ref<GraphPart<T>>>;

template <class T, class... More>
Inputs<T> inputs(const Tensor<T>& first, const More&... more) {
  if (!grad_enabled() || !(first.requires_grad() || (more.requires_grad() || ...))) return {};
  Inputs<T> in(1 + static_cast<int>(sizeof...(more)));
  int i = 0;
  in[i++] = first.graph();
  ((in[i++] = more.graph()), ...);
  return in;
}
/// The same for a list of tensors.
template <class T>
Inputs<T> inputs(std::span<const Tensor<T>> list) {
  bool any = false;
  for (const Tensor<T>& t : list) any = any || t.requires_grad();
  if (!grad_enabled() || !any) return {};
  Inputs<T> in(static_cast<int>(list.size()));
  for (std::size_t i = 0; i < list.size(); ++i) in[static_cast<int>(i)] = list[i].graph();
  return in;
}

namespace detail {

/// The result of an operation whose inputs are Tensor<In>.
template <class T, class In, class F>
class LambdaNode final : public TypedNode<T> {
 public:
  LambdaNode(int size_class, const char* name, const Tensor<T>& of, Inputs<In> in, F&& f)
      : TypedNode<T>(name, of), inputs_(std::move(in)), size_class_(size_class) {
    new (&closure_) F(std::move(f));
  }
  ~LambdaNode() override { free_closure(); }
  bool is_leaf() const noexcept override { return false; }
  int input_count() const noexcept override { return inputs_.size(); }
  Node* input(int i) const noexcept override { return static_cast<TypedNode<In>*>(inputs_[i].get()); }

  void check_alive() const override {
    check<GraphError>(alive_, this->name(),
                      "backward a second time through a graph that was freed. HINT: the first backward needs "
                      "retain_graph = true");
  }
  void drop_gradient() noexcept override { this->grad_ = {}; }

  void propagate(bool retain_graph) override {
    if (!this->grad_.defined()) {  // nothing arrived: as good as zero
      if (!retain_graph) free_closure();
      return;
    }
    this->run_hooks();
    Tensor<T> dy = std::move(this->grad_);
    this->grad_ = {};
    constexpr int few = 8;
    const int n = inputs_.size();
    GradientSlot<In> few_slots[few];
    Tensor<In> few_extra[few];
    PoolArray<GradientSlot<In>> many_slots(n > few ? n : 0);
    PoolArray<Tensor<In>> many_extra(n > few ? n : 0);
    GradientSlot<In>* const slots = n > few ? &many_slots[0] : few_slots;
    Tensor<In>* const extra = n > few ? &many_extra[0] : few_extra;
    for (int i = 0; i < n; ++i) {
      auto* const node = static_cast<TypedNode<In>*>(inputs_[i].get());
      if (!node) continue;
      // An input given twice gets a buffer for each place, so that a closure may write both at once.
      bool first = true;
      for (int j = 0; j < i; ++j) first = first && inputs_[j].get() != inputs_[i].get();
      slots[i] = GradientSlot<In>(first ? &node->grad() : &extra[i], &node->shape(), node->device(),
                                  node->is_leaf() ? Lifetime::lasting : Lifetime::step);
    }
    Gradients<In> gradients(slots, n, !retain_graph);
    try {
      as_function()(dy, gradients);
    } catch (...) {
      for (int i = 0; i < n; ++i) slots[i].drop_unfinished();
      throw;
    }
    for (int i = 0; i < n; ++i) {
      if (!extra[i].defined()) continue;
      auto* const node = static_cast<TypedNode<In>*>(inputs_[i].get());
      GradientSlot<In>(&node->grad(), &node->shape(), node->device()).accumulate(std::move(extra[i]));
    }
    if (!retain_graph) free_closure();
  }

 protected:
  void drop_inputs() noexcept override {
    for (int i = 0; i < inputs_.size(); ++i) inputs_[i] = {};
  }
  void destroy() noexcept override { delete_node(this, size_class_); }

 private:
  F& as_function() noexcept { return *std::launder(reinterpret_cast<F*>(&closure_)); }
  void free_closure() noexcept {
    if (alive_) as_function().~F();
    alive_ = false;
  }
  Inputs<In> inputs_;
  alignas(F) unsigned char closure_[sizeof(F)];
  bool alive_ = true;
  int size_class_;
};

}  // namespace detail

/// Returns `y` as the result of operation `name` on `in`. `backward(dy, dx)` receives dL/dy (contiguous) and the slots
/// of dL/d(inputs). Without a graph to extend, y comes back unchanged and the closure is dropped.
template <class T, class In, class F>
Tensor<T> record(const char* name, Tensor<T> y, Inputs<In> in, F backward) {
  if (in.size() == 0) return y.requires_grad() ? y.detach() : y;
  y.set_graph(Ref<GraphPart<T>>::adopt(
      detail::new_node<detail::LambdaNode<T, In, F>>(name, y, std::move(in), std::move(backward))));
  return y;
}

}  // namespace qdistill::inline QDISTILL_ABI
