/// A number of threads for a scope.
#pragma once

#include "qdistill/core/parallel.hpp"

namespace qdistill_test {

struct Threads {
  explicit Threads(int n) : before(qdistill::num_threads()) { qdistill::set_num_threads(n); }
  ~Threads() { qdistill::set_num_threads(before); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int before;
};

}  // namespace qdistill_test
