/// Parallel loops over fixed chunks: how work is split depends on its size and grain, never on the number of threads,
/// so results have the same bits with 1 thread or 64. The only file that includes <omp.h>.
///
/// The thread count is our own setting, given to OpenMP by `num_threads` clauses: the host program's settings are never
/// changed. Nested calls run serially.
#pragma once

#include <atomic>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>

#include "qdistill/core/error.hpp"
#if QDISTILL_OPENMP
#include <omp.h>
#endif

namespace qdistill::inline QDISTILL_ABI {

namespace detail {

/// QDISTILL_NUM_THREADS if set to a positive number, else the number of hardware threads.
inline int default_threads() noexcept {
  if (const char* s = std::getenv("QDISTILL_NUM_THREADS")) {
    const int n = std::atoi(s);
    if (n > 0) return n < 1024 ? n : 1024;
  }
  const int n = static_cast<int>(std::thread::hardware_concurrency());
  return n > 0 ? n : 1;
}

inline std::atomic<int>& thread_setting() noexcept {
  static std::atomic<int> n{default_threads()};
  return n;
}

/// True inside one of our parallel loops.
inline bool& inside_parallel() noexcept {
  thread_local bool inside = false;
  return inside;
}

}  // namespace detail

/// Threads that our loops use.
inline int num_threads() noexcept { return detail::thread_setting().load(std::memory_order_relaxed); }

/// Sets the threads that our loops use, 1 to 1024. Does not touch OpenMP's own settings. Throws ValueError.
inline void set_num_threads(int n) {
  check(n >= 1 && n <= 1024, "set_num_threads", "got ", n, ", expected 1 to 1024");
  detail::thread_setting().store(n, std::memory_order_relaxed);
}

/// Calls f(begin, end) for the chunks [0, grain), [grain, 2 grain), ... of [0, n). Chunks may run in parallel and in
/// any order, so f must not share mutable state between them. The first exception reaches the caller after all chunks
/// ended.
template <class F>
void parallel_for(Index n, Index grain, F&& f) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  const Index chunks = (n + grain - 1) / grain;
  const auto run = [&](Index c) {
    const Index begin = c * grain;
    f(begin, begin + grain < n ? begin + grain : n);
  };
#if QDISTILL_OPENMP
  const int threads = static_cast<int>(chunks < num_threads() ? chunks : num_threads());
  if (threads > 1 && !detail::inside_parallel() && !omp_in_parallel()) {
    std::exception_ptr error;
    std::atomic<bool> failed{false};
#pragma omp parallel num_threads(threads)
    {
      detail::inside_parallel() = true;
#pragma omp for schedule(dynamic, 1) nowait
      for (Index c = 0; c < chunks; ++c) {
        if (failed.load(std::memory_order_relaxed)) continue;
        try {
          run(c);
        } catch (...) {
          if (!failed.exchange(true)) error = std::current_exception();
        }
      }
      detail::inside_parallel() = false;
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  for (Index c = 0; c < chunks; ++c) run(c);
}

}  // namespace qdistill::inline QDISTILL_ABI
