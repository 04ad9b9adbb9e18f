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
  /// Not with padding: of a window in nothing else the largest element is -infinity.
  bool commutes_with_relu() const override { return options_.padding.h == 0 && options_.padding.w == 0; }
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

template <class T>
class AvgPool2d final : public Module<T> {
 public:
  /// A stride of 0 is the kernel's size.
  explicit AvgPool2d(Size2d kernel, AvgPool2dOptions options = {}) : kernel_(kernel), options_(options) {}
  Tensor<T> forward(const Tensor<T>& x) override { return avg_pool2d(x, kernel_, options_); }
  const char* type() const noexcept override { return "AvgPool2d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("avg_pool2d", {input},
                       {{"kernel", detail::pair(kernel_)},
                        {"stride", detail::pair(options_.stride)},
                        {"padding", detail::pair(options_.padding)},
                        {"ceil_mode", options_.ceil_mode},
                        {"count_include_pad", options_.count_include_pad},
                        {"divisor_override", Attribute(std::int64_t{options_.divisor_override})}});
  }

 private:
  Size2d kernel_;
  AvgPool2dOptions options_;
};

/// Averages over bins so that the result is [N, C, size.h, size.w].
template <class T>
class AdaptiveAvgPool2d final : public Module<T> {
 public:
  explicit AdaptiveAvgPool2d(Size2d size) : size_(size) {}
  Tensor<T> forward(const Tensor<T>& x) override { return adaptive_avg_pool2d(x, size_); }
  const char* type() const noexcept override { return "AdaptiveAvgPool2d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("adaptive_avg_pool2d", {input}, {{"output_size", detail::pair(size_)}});
  }

 private:
  Size2d size_;
};

/// The largest element of each bin, so that the result is [N, C, size.h, size.w].
template <class T>
class AdaptiveMaxPool2d final : public Module<T> {
 public:
  explicit AdaptiveMaxPool2d(Size2d size) : size_(size) {}
  Tensor<T> forward(const Tensor<T>& x) override { return adaptive_max_pool2d(x, size_); }
  const char* type() const noexcept override { return "AdaptiveMaxPool2d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("adaptive_max_pool2d", {input}, {{"output_size", detail::pair(size_)}});
  }

 private:
  Size2d size_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
