/// Ctrl-C in programs that can be resumed.
#pragma once

#include <atomic>
#include <csignal>

namespace examples {

inline std::atomic<bool> stop{false};

extern "C" inline void on_interrupt(int) {
  if (stop.exchange(true)) std::signal(SIGINT, SIG_DFL);  // the second Ctrl-C ends at once
}

/// The flag that the first Ctrl-C, or request to end, from now on sets.
inline std::atomic<bool>& stop_on_interrupt() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  return stop;
}

}  // namespace examples
