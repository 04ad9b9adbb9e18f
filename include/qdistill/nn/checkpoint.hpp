/// Recomputation in place of memory (Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory cost").
///
///   forward   the module runs without a graph: of what it computes only the result is kept, and its input
///   backward  it runs again, with a graph, and the gradient goes back through that
///
/// n stages of equal size need the memory of n inputs and one stage in place of n stages, for one more forward pass.
///
///   nn::Sequential<float> net(nn::Checkpointed<float>(stage(64)), nn::Checkpointed<float>(stage(128)));
///   Tensor<float> y = nn::checkpoint(block, x);  // in a forward() of one's own
///
/// Losses, gradients and state have the same bits as without, quantized weights included. The second run draws the same
/// numbers from the default generator, sees the effective weights of the first, shows nothing to observers, and moves
/// no running statistics. A module may be part of another checkpointed one. Without gradients, and in evaluation, it
/// just runs.
///
/// A module of one's own has to take its weights by Parameter::effective(), its random numbers from the default
/// generator, and to ask recomputing() before it changes itself. Between forward and backward neither its input nor its
/// weights may change, nor its mode: GraphError.
#pragma once

#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

namespace detail {

/// A tensor that a checkpointed module computed from: its input or a weight.
template <class T>
struct Source {
  const Parameter<T>* parameter = nullptr;  ///< null: the input
  Phase phase = Phase::train;
  Saved<T> value = {};
  Ref<GraphPart<T>> graph = {};
  std::uint64_t draws = 0;  ///< random streams taken to make it

  Tensor<T> tensor() const {
    Tensor<T> t = value.get();
    t.set_graph(graph);
    return t;
  }
};

/// The input, then the weights in the order of their first use.
template <class T>
class Sources {
 public:
  explicit Sources(const Tensor<T>& x) { push_back({.value = save(x), .graph = x.graph()}); }
  int size() const noexcept { return size_; }
  const Source<T>& operator[](int i) const noexcept { return items_[i]; }
  /// Position of a weight, size() if it is not there.
  int find(const Parameter<T>& parameter, Phase phase) const noexcept {
    int i = 0;
    while (i < size_ && (items_[i].parameter != &parameter || items_[i].phase != phase)) ++i;
    return i;
  }
  void push_back(Source<T> source) {
    if (size_ == items_.size()) {
      qdistill::detail::PoolArray<Source<T>> larger(size_ > 0 ? 2 * size_ : 8);
      for (int i = 0; i < size_; ++i) larger[i] = std::move(items_[i]);
      items_ = std::move(larger);
    }
    items_[size_++] = std::move(source);
  }
  /// For record(); empty if none takes a gradient.
  Inputs<T> inputs() const {
    bool any = false;
    for (int i = 0; i < size_; ++i) any = any || items_[i].graph;
    Inputs<T> in(any ? size_ : 0);
    for (int i = 0; i < in.size(); ++i) in[i] = items_[i].graph;
    return in;
  }

 private:
  qdistill::detail::PoolArray<Source<T>> items_;
  int size_ = 0;
};

/// In the first run: weights as they would be without checkpointing, and a note of each.
template <class T>
class NotedWeights final : public WeightSource<T> {
 public:
  explicit NotedWeights(Sources<T>& sources) : sources_(sources), outer_(weight_source<T>()) {}
  Tensor<T> weight(Parameter<T>& parameter, Phase phase) override {
    const int i = sources_.find(parameter, phase);
    if (i < sources_.size()) return sources_[i].value.get();
    const Scoped<WeightSource<T>*> source(weight_source<T>(), outer_);
    const EnableGrad grad;
    const std::uint64_t before = default_generator().counter();
    const Tensor<T> w = parameter.effective(phase);
    sources_.push_back({&parameter, phase, save(w), w.graph(), default_generator().counter() - before});
    return w;
  }

 private:
  Sources<T>& sources_;
  WeightSource<T>* outer_;
};

/// In the second run: the same ones.
template <class T>
class RepeatedWeights final : public WeightSource<T> {
 public:
  explicit RepeatedWeights(const Sources<T>& sources) : sources_(sources) {}
  Tensor<T> weight(Parameter<T>& parameter, Phase phase) override {
    const int i = sources_.find(parameter, phase);
    check<GraphError>(i <= next_ && i < sources_.size(), "checkpoint", "got another weight, of shape ",
                      parameter.shape(), ", than in the first run. HINT: the module has to do the same both times");
    if (i == next_) {
      ++next_;
      for (std::uint64_t k = 0; k < sources_[i].draws; ++k) default_generator().next();
    }
    return sources_[i].tensor();
  }

 private:
  const Sources<T>& sources_;
  int next_ = 1;
};

template <class T>
Tensor<T> checkpoint(std::shared_ptr<Module<T>> module, const Tensor<T>& x) {
  if (!grad_enabled() || !module->training()) return module->forward(x);
  const Generator generator = default_generator();
  Sources<T> sources(x);
  Tensor<T> y;
  {
    const NoGrad no_grad;
    NotedWeights<T> noted(sources);
    const Scoped<WeightSource<T>*> source(weight_source<T>(), &noted);
    y = module->forward(x);
  }
  Inputs<T> in = sources.inputs();
  return record("checkpoint", y, std::move(in),
                [module = std::move(module), sources = std::move(sources), generator](Tensor<T>& dy, Gradients<T>&) {
                  check<GraphError>(module->training(), "checkpoint", "got a ", module->type(),
                                    " in evaluation, expected it as in the forward pass. HINT: train() it again "
                                    "before backward()");
                  InnerSweep<T> sweep;
                  Tensor<T> again;
                  {
                    const Scoped<bool> second(recomputing_now(), true);
                    const Scoped<Generator> random(default_generator(), generator);
                    RepeatedWeights<T> repeated(sources);
                    const Scoped<WeightSource<T>*> source(weight_source<T>(), &repeated);
                    const EnableGrad grad;
                    again = module->forward(sources[0].tensor());
                  }
                  for (int i = 0; i < sources.size(); ++i) sweep.end_at(sources[i].graph);
                  sweep.backward(std::move(again), std::move(dy));
                });
}

}  // namespace detail

/// module(x), recomputed in the backward pass; see the head of this file. The module must live until then.
template <class T>
Tensor<T> checkpoint(Module<T>& module, const Tensor<T>& x) {
  return detail::checkpoint(std::shared_ptr<Module<T>>(std::shared_ptr<void>(), &module), x);
}

/// A module that recomputes. In names, state dicts and the packed network it is the module inside.
template <class T>
class Checkpointed final : public Module<T> {
 public:
  template <class M>
  requires(!std::is_same_v<M, Checkpointed>) explicit Checkpointed(M module) { this->add("", std::move(module)); }
  Tensor<T> forward(const Tensor<T>& x) override { return detail::checkpoint(this->children()[0].module, x); }
  const char* type() const noexcept override { return "Checkpointed"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    return inner().describe(network, input, prefix);
  }
  Module<T>& inner() const noexcept { return *this->children()[0].module; }
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
