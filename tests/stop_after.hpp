/// Stops a run in the middle, as Ctrl-C does.
#pragma once

#include <atomic>

#include "qdistill/train/progress.hpp"

namespace qdistill_test {

using namespace qdistill;

/// Sets the flag when `steps` steps have been reported.
struct StopAfter : train::ProgressSink {
  std::atomic<bool>& stop;
  int left;
  StopAfter(std::atomic<bool>& s, int steps) : stop(s), left(steps) {}
  void step(Index, std::span<const train::Metric>) override {
    if (--left == 0) stop = true;
  }
};

}  // namespace qdistill_test
