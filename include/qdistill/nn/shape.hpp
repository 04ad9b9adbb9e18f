/// Modules that only change the shape.
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/view.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

/// Joins the dims from `start` on: [N, C, H, W] -> [N, C H W].
template <class T>
class Flatten final : public Module<T> {
 public:
  explicit Flatten(Index start = 1) : start_(start) {}
  Tensor<T> forward(const Tensor<T>& x) override { return flatten(x, start_); }
  const char* type() const noexcept override { return "Flatten"; }
  int describe(Network& network, int input, const std::string& prefix) const override {
    check(start_ == 1, "describe", "got a Flatten from dim ", start_, " at '", prefix, "', expected from dim 1");
    return network.add("flatten", {input});
  }

 private:
  Index start_;
};

template <class T>
class Identity final : public Module<T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return x; }
  const char* type() const noexcept override { return "Identity"; }
  int describe(Network&, int input, const std::string&) const override { return input; }
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
