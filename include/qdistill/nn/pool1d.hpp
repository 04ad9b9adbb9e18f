/// Pools over one spatial dim as modules, named as in torch.nn. Inputs [N, C, L].
#pragma once

#include "qdistill/nn/module.hpp"
#include "qdistill/ops/pool.hpp"

namespace qdistill::inline QDISTILL_ABI::nn {

template <class T>
class MaxPool1d final : public Module<T> {
 public:
  /// A stride of 0 is the kernel's size.
  explicit MaxPool1d(Index kernel, MaxPool1dOptions options = {}) : kernel_(kernel), options_(options) {}
  Tensor<T> forward(const Tensor<T>& x) override { return max_pool1d(x, kernel_, options_); }
  /// Not with padding, as MaxPool2d.
  bool commutes_with_relu() const override { return options_.padding == 0; }
  const char* type() const noexcept override { return "MaxPool1d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("max_pool1d", {input},
                       {{"kernel", Attribute(std::int64_t{kernel_})},
                        {"stride", Attribute(std::int64_t{options_.stride})},
                        {"padding", Attribute(std::int64_t{options_.padding})},
                        {"dilation", Attribute(std::int64_t{options_.dilation})},
                        {"ceil_mode", options_.ceil_mode}});
  }

 private:
  Index kernel_;
  MaxPool1dOptions options_;
};

template <class T>
class AvgPool1d final : public Module<T> {
 public:
  /// A stride of 0 is the kernel's size.
  explicit AvgPool1d(Index kernel, AvgPool1dOptions options = {}) : kernel_(kernel), options_(options) {}
  Tensor<T> forward(const Tensor<T>& x) override { return avg_pool1d(x, kernel_, options_); }
  const char* type() const noexcept override { return "AvgPool1d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("avg_pool1d", {input},
                       {{"kernel", Attribute(std::int64_t{kernel_})},
                        {"stride", Attribute(std::int64_t{options_.stride})},
                        {"padding", Attribute(std::int64_t{options_.padding})},
                        {"ceil_mode", options_.ceil_mode},
                        {"count_include_pad", options_.count_include_pad}});
  }

 private:
  Index kernel_;
  AvgPool1dOptions options_;
};

/// Averages over bins so that the result is [N, C, size].
template <class T>
class AdaptiveAvgPool1d final : public Module<T> {
 public:
  explicit AdaptiveAvgPool1d(Index size) : size_(size) {}
  Tensor<T> forward(const Tensor<T>& x) override { return adaptive_avg_pool1d(x, size_); }
  const char* type() const noexcept override { return "AdaptiveAvgPool1d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("adaptive_avg_pool1d", {input}, {{"output_size", Attribute(std::int64_t{size_})}});
  }

 private:
  Index size_;
};

/// The largest element of each bin, so that the result is [N, C, size].
template <class T>
class AdaptiveMaxPool1d final : public Module<T> {
 public:
  explicit AdaptiveMaxPool1d(Index size) : size_(size) {}
  Tensor<T> forward(const Tensor<T>& x) override { return adaptive_max_pool1d(x, size_); }
  const char* type() const noexcept override { return "AdaptiveMaxPool1d"; }
  int describe(Network& network, int input, const std::string&) const override {
    return network.add("adaptive_max_pool1d", {input}, {{"output_size", Attribute(std::int64_t{size_})}});
  }

 private:
  Index size_;
};

}  // namespace qdistill::inline QDISTILL_ABI::nn
