/// Where a tensor lives: a run-time tag, with compile-time tags below it that kernels are overloaded on.
#pragma once

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

enum class Device { cpu, cuda };

inline const char* name(Device device) noexcept { return device == Device::cpu ? "cpu" : "cuda"; }

/// Tag: kernels that run on the host.
struct Cpu {};
/// Tag: kernels that run on a CUDA device.
struct Cuda {};

/// Throws DeviceError unless tensors can live on `device` in this build.
inline void check_device(Device device) {
  check<DeviceError>(device == Device::cpu, "device",
                     "got cuda, expected cpu: this build has no CUDA backend linked (QDISTILL_CUDA is ", QDISTILL_CUDA,
                     ")");
}

/// Calls f with the tag of `device`. The only place that dispatches on it.
template <class F>
decltype(auto) on_device(Device device, F&& f) {
  check_device(device);
  return f(Cpu{});
}

}  // namespace qdistill::inline QDISTILL_ABI
