/// Whether operations record a graph. Per thread; on by default.
#pragma once

#include "qdistill/core/abi.hpp"

namespace qdistill::inline QDISTILL_ABI {

namespace detail {
inline bool& grad_mode() noexcept {
  thread_local bool on = true;
  return on;
}
}  // namespace detail

inline bool grad_enabled() noexcept { return detail::grad_mode(); }

/// While it lives, the calling thread records no graph.
class NoGrad {
 public:
  NoGrad() noexcept : before_(detail::grad_mode()) { detail::grad_mode() = false; }
  ~NoGrad() { detail::grad_mode() = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// While it lives, the calling thread records a graph even inside a NoGrad.
class EnableGrad {
 public:
  EnableGrad() noexcept : before_(detail::grad_mode()) { detail::grad_mode() = true; }
  ~EnableGrad() { detail::grad_mode() = before_; }
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  bool before_;
};

}  // namespace qdistill::inline QDISTILL_ABI
