/// The module tree. A network of one's own:
///
///   struct Net : nn::Module<float> {
///     nn::Conv2d<float>& conv = add("conv", nn::Conv2d<float>(3, 8, 3, {.padding = 1}));
///     nn::Linear<float>& fc = add("fc", nn::Linear<float>(8 * 32 * 32, 10));
///     Tensor<float> forward(const Tensor<float>& x) override { return fc(flatten(relu(conv(x)), 1)); }
///     int describe(Network& net, int x, const std::string& prefix) const override {   // only needed to pack it
///       x = net.add("relu", {conv.describe(net, x, prefix + "conv.")});
///       return fc.describe(net, net.add("flatten", {x}), prefix + "fc.");
///     }
///     const char* type() const noexcept override { return "Net"; }
///   };
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "qdistill/encoding/network.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/ops/activation.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

/// "layer1" and "conv" give "layer1.conv"; an empty name leaves the other as it is.
inline std::string joined(const std::string& parent, const std::string& child) {
  return parent.empty() || child.empty() ? parent + child : parent + '.' + child;
}

template <class T>
struct NamedParameter {
  std::string name;  ///< "conv1.weight"
  ParameterPtr<T> parameter;
};

/// A tensor that is part of the state but not trained: running statistics (T) or a count (Index).
template <class T>
struct NamedBuffer {
  std::string name;
  std::shared_ptr<Tensor<T>> values;
  std::shared_ptr<Tensor<Index>> count;  ///< one of the two is set
};

template <class T>
class Module {
 public:
  Module() = default;
  Module(Module&&) noexcept = default;
  Module& operator=(Module&&) noexcept = default;
  virtual ~Module() = default;

  virtual Tensor<T> forward(const Tensor<T>& x) = 0;
  Tensor<T> operator()(const Tensor<T>& x) { return forward(x); }
  /// relu(forward(x)), the same bits; layers override it that have the ReLU in their own pass.
  virtual Tensor<T> forward_relu(const Tensor<T>& x) { return relu(forward(x)); }
  /// True if forward(relu(x)) is relu(forward(x)), gradients included, as of a max pool: Sequential puts the ReLU
  /// behind.
  virtual bool commutes_with_relu() const { return false; }

  /// The class's name, for summaries and errors.
  virtual const char* type() const noexcept = 0;
  /// Appends this module's operations to `network`, reading value `input`; returns the value of its result. `prefix` is
  /// the module's own name with a dot, for tensor names. Throws ValueError naming the class if it can't be packed.
  virtual int describe(Network& network, int input, const std::string& prefix) const {
    (void)network, (void)input;
    fail("describe", "got a module of type ", type(), " at '", prefix,
         "', which does not describe itself, so it can't be packed. HINT: override describe()");
  }

  /// Switches this module and all below it between training and evaluation.
  void train(bool on = true) {
    training_ = on;
    for (auto& child : children_) child.module->train(on);
  }
  void eval() { train(false); }
  bool training() const noexcept { return training_; }
  Phase phase() const noexcept { return training_ ? Phase::train : Phase::eval; }

  /// Calls `observer` with each input that this module's weights meet, before they do; null: no longer. Convolutions
  /// and linear layers report theirs, however they are called; not again when they recompute (nn/checkpoint.hpp).
  void observe(std::function<void(const Tensor<T>&)> observer) { observer_ = std::move(observer); }

  /// All parameters in registration order, depth first, as PyTorch names them. One that several modules share comes
  /// once, under its first name.
  std::vector<NamedParameter<T>> named_parameters() const {
    std::vector<NamedParameter<T>> out;
    collect_parameters("", out);
    return out;
  }
  std::vector<NamedBuffer<T>> named_buffers() const {
    std::vector<NamedBuffer<T>> out;
    collect_buffers("", out);
    return out;
  }
  struct Child {
    std::string name;
    std::shared_ptr<Module> module;
  };
  const std::vector<Child>& children() const noexcept { return children_; }
  /// Own parameters and buffers, without those of children.
  const std::vector<NamedParameter<T>>& own_parameters() const noexcept { return parameters_; }
  const std::vector<NamedBuffer<T>>& own_buffers() const noexcept { return buffers_; }

  /// The leaf tensors that an optimizer trains: all parameters, or what their parametrizations store instead.
  std::vector<Tensor<T>> parameters() const {
    return parameters_if([](const std::string&) { return true; });
  }
  /// Those of one optimizer group: "" for the weights, else what parametrizations name in StoredTensor::group.
  std::vector<Tensor<T>> parameters(const std::string& group) const {
    return parameters_if([&](const std::string& g) { return g == group; });
  }
  /// Those whose optimizer group `wanted` accepts.
  template <class F>
  std::vector<Tensor<T>> parameters_if(F wanted) const {
    std::vector<Tensor<T>> out;
    for (const auto& [name, p] : named_parameters()) {
      if (!p->parametrization()) {
        if (wanted(std::string())) out.push_back(p->data());
        continue;
      }
      for (const StoredTensor<T>& s : p->parametrization()->stored())
        if (s.trained && wanted(s.group)) out.push_back(s.tensor);
    }
    return out;
  }
  void zero_grad() const {
    for (const Tensor<T>& p : parameters()) p.zero_grad();
  }
  /// Elements of all parameters.
  Index parameter_count() const {
    Index n = 0;
    for (const auto& p : named_parameters()) n += p.parameter->data().numel();
    return n;
  }

 protected:
  /// Registers a child and returns it. The child lives on the heap, so the reference stays good when this moves. A
  /// child without a name passes its parameters and buffers off as its parent's.
  template <class M>
  M& add(std::string name, M module) {
    auto child = std::make_shared<M>(std::move(module));
    M& reference = *child;
    add(std::move(name), std::shared_ptr<Module>(std::move(child)));
    return reference;
  }
  void add(std::string name, std::shared_ptr<Module> child) {
    for (const Child& c : children_) check(c.name != name, "module", "got a second child named '", name, "'");
    children_.push_back({std::move(name), std::move(child)});
  }
  ParameterPtr<T> add_parameter(std::string name, Tensor<T> data, Kind kind) {
    return add_parameter(std::move(name), std::make_shared<Parameter<T>>(std::move(data), kind));
  }
  /// Registers a parameter that may belong to another module too.
  ParameterPtr<T> add_parameter(std::string name, ParameterPtr<T> parameter) {
    parameters_.push_back({std::move(name), parameter});
    return parameter;
  }
  std::shared_ptr<Tensor<T>> add_buffer(std::string name, Tensor<T> values) {
    auto p = std::make_shared<Tensor<T>>(std::move(values));
    buffers_.push_back({std::move(name), p, nullptr});
    return p;
  }
  std::shared_ptr<Tensor<Index>> add_count(std::string name) {
    auto p = std::make_shared<Tensor<Index>>(Tensor<Index>::scalar(0));
    buffers_.push_back({std::move(name), nullptr, p});
    return p;
  }
  /// x, shown to the observer.
  const Tensor<T>& observed(const Tensor<T>& x) const {
    if (observer_ && !recomputing()) observer_(x);
    return x;
  }

 private:
  void collect_parameters(const std::string& name, std::vector<NamedParameter<T>>& out) const {
    for (const auto& p : parameters_) {
      bool seen = false;
      for (const auto& o : out) seen = seen || o.parameter == p.parameter;
      if (!seen) out.push_back({joined(name, p.name), p.parameter});
    }
    for (const Child& c : children_) c.module->collect_parameters(joined(name, c.name), out);
  }
  void collect_buffers(const std::string& name, std::vector<NamedBuffer<T>>& out) const {
    for (const auto& b : buffers_) {
      bool seen = false;
      for (const auto& o : out) seen = seen || (b.values && o.values == b.values) || (b.count && o.count == b.count);
      if (!seen) out.push_back({joined(name, b.name), b.values, b.count});
    }
    for (const Child& c : children_) c.module->collect_buffers(joined(name, c.name), out);
  }
  std::vector<NamedParameter<T>> parameters_;
  std::vector<NamedBuffer<T>> buffers_;
  std::vector<Child> children_;
  std::function<void(const Tensor<T>&)> observer_;
  bool training_ = true;
};

/// While it lives, `module` shows its inputs to `observer`.
template <class T>
class Observing {
 public:
  Observing(Module<T>& module, std::function<void(const Tensor<T>&)> observer) : module_(&module) {
    module.observe(std::move(observer));
  }
  Observing(Observing&& other) noexcept : module_(std::exchange(other.module_, nullptr)) {}
  Observing& operator=(Observing&&) = delete;
  ~Observing() {
    if (module_) module_->observe(nullptr);
  }

 private:
  Module<T>* module_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
