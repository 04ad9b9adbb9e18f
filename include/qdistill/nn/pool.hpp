/// Pools as modules, named as in torch.nn. Inputs [N, C, H, W].
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/pool.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

namespace detail {
inline Attribute pair(Size2d s) { return std::vector<Index>{s.h, s.w}; }
}  // namespace detail

template <class T>
class MaxPool2d final : public Module<T> {
 public:
  /// A stride of 0 is the kernel's size.
  explicit MaxPool2d(Size2d kernel, MaxPool2dOptions options = {}) : kernel_(kernel), options_(options) {}
  Tensor<T> forward(const Tensor<T>& x) override { return max_pool2d(x, kernel_, options_); }
  const char* type() const noexcept override { return "MaxPool2d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("max_pool2d", {input},
                       {{"kernel", detail::pair(kernel_)},
                        {"stride", detail::pair(options_.stride)},
                        {"padding", detail::pair(options_.padding)},
                        {"dilation", detail::pair(options_.dilation)},
                        {"ceil_mode", options_.ceil_mode}});
  }

 private:
  Size2d kernel_;
  MaxPool2dOptions options_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
