/// What an operation keeps for its gradient.
///
///   save(x)           x itself, or, where x can be recomputed, only how
///   recomputable(..)  says how a result can be computed again
///
/// A result that is a cheap function of what is kept anyway (batch normalisation, of its input) need not be kept by the
/// operations behind it: they save its recipe, its memory goes when the forward pass has let go of it, and the backward
/// pass computes it again, with the same bits. Nothing is recomputed while somebody still holds the result.
#pragma once

#include "qdistill/autograd/node.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// A tensor kept for the backward pass: detached, and refused when it was changed in place since. Throws GraphError.
template <class T>
class Saved {
 public:
  Saved() noexcept = default;
  /// `keep`: x itself in any case.
  explicit Saved(const Tensor<T>& x, bool keep = false) : tensor_(x.detach()), version_(x.version()) {
    if (!keep && x.defined()) recipe_ = x.storage()->recipe();
    if (recipe_) tensor_ = x.on({});
  }
  /// The tensor, which is there until drop() or the closure's end. Computes it again where it must.
  const Tensor<T>& get() const {
    check<GraphError>(!dropped_, "backward", "a tensor that the graph saved was freed by an earlier backward pass");
    if (recipe_ && !tensor_.defined()) {
      Ref<Storage> storage = recipe_->storage();
      if (!storage) storage = recipe_->make(), version_ = storage->version();
      tensor_ = tensor_.on(std::move(storage));
    }
    check<GraphError>(tensor_.version() == version_, "backward", "a tensor of shape ", tensor_.shape(),
                      " that the graph saved was changed in place (version ", tensor_.version(), ", saved at ",
                      version_, "). HINT: clone() it before the change");
    return tensor_;
  }
  const T* data() const { return get().data(); }
  /// Gives the memory back before the closure ends: what get() computed, and with `last` (Gradients::last) also what
  /// was kept.
  void drop(bool last) {
    if (recipe_) tensor_ = tensor_.on({});
    else if (last && tensor_.defined()) tensor_ = {}, dropped_ = true;
  }

 private:
  mutable Tensor<T> tensor_;  // without storage while it is to be computed
  mutable std::uint64_t version_ = 0;
  Ref<Recipe> recipe_;
  bool dropped_ = false;
};

template <class T>
Saved<T> save(const Tensor<T>& x) {
  return Saved<T>(x);
}

/// x itself, even if it could be recomputed. What a recipe computes from is kept so: no recomputation needs another.
template <class T>
Saved<T> keep(const Tensor<T>& x) {
  return Saved<T>(x, true);
}

namespace detail {

template <class T, class F>
class FunctionRecipe final : public Recipe {
 public:
  FunctionRecipe(int size_class, const Tensor<T>& y, F fill)
      : fill_(std::move(fill)), shape_(y.shape()), device_(y.device()), size_class_(size_class) {
    this->describe(*y.storage());
  }
  const F& function() const noexcept { return fill_; }
  Ref<Storage> make() const override {
    const NoGrad no_grad;
    Tensor<T> y = Tensor<T>::empty(shape_, device_);
    fill_(y);
    return y.storage();
  }

 private:
  void destroy() noexcept override {
    const int size_class = size_class_;
    this->~FunctionRecipe();
    Pool::instance().release(this, size_class);
  }
  F fill_;
  Shape shape_;
  Device device_;
  int size_class_;
};

}  // namespace detail

/// A share in the recipe of a result, for the closure of the operation.
template <class T, class F>
class Recomputable {
 public:
  explicit Recomputable(Ref<detail::FunctionRecipe<T, F>> recipe) noexcept : recipe_(std::move(recipe)) {}
  const F& operator*() const noexcept { return recipe_->function(); }
  const F* operator->() const noexcept { return &recipe_->function(); }

 private:
  Ref<detail::FunctionRecipe<T, F>> recipe_;
};

/// Lets others save how y is computed in place of y: fill(z) writes the elements of y into z, of y's shape, from what
/// it captured with keep(). The closure of the operation holds on to what this returns:
///
///   const auto again = recomputable(y, [x = keep(x)](Tensor<T>& z) { kernels::f(x.data(), z.data(), z.numel()); });
///   return record("f", y, inputs(x), [again](const Tensor<T>& dy, Gradients<T>& dx) { ... });
///
/// y is a result of its own, written and not yet given to anybody, of an operation that is recorded. Throws GraphError.
template <class T, class F>
Recomputable<T, F> recomputable(const Tensor<T>& y, F fill) {
  check<GraphError>(y.contiguous() && y.sole_owner(), "recomputable", "got ",
                    y.defined() ? "a view or a shared" : "an undefined", " tensor, expected a result of its own");
  using R = detail::FunctionRecipe<T, F>;
  return Recomputable<T, F>(Ref<R>::adopt(detail::new_node<R>(y, std::move(fill))));
}

}  // namespace qdistill::inline QDISTILL_ABI
