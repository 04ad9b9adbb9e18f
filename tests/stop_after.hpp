/// Stops a run in the middle, as Ctrl-C does.
#pragma once

#include <atomic>

#include "qdistill/train/progress.hpp"

namespace qdistill_test {

using namespace qdistill;

/// Sets its flag when `steps` steps have been reported.
struct StopAfter : train::ProgressSink {
  std::atomic<bool> stop{false};
  int left;
  explicit StopAfter(int steps) : left(steps) {}
  void step(Index, std::span<const train::Metric>) override {
    if (--left == 0) stop = true;
  }
};

}  // namespace qdistill_test
