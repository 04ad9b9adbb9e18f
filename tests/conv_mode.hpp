/// A mode of all convolutions for a scope.
#pragma once

#include "qdistill/kernels/cpu/conv_algorithm.hpp"

namespace qdistill_test {

struct WithConvMode {
  explicit WithConvMode(qdistill::ConvMode mode) : before(qdistill::conv_mode()) { qdistill::set_conv_mode(mode); }
  ~WithConvMode() { qdistill::set_conv_mode(before); }
  WithConvMode(const WithConvMode&) = delete;
  WithConvMode& operator=(const WithConvMode&) = delete;

  qdistill::ConvMode before;
};

}  // namespace qdistill_test
