/// Working memory of the products and convolutions, from the pool: between two calls it serves tensors.
///
/// It is taken once for a whole parallel loop, workers included: whether a call asks the system for memory then does
/// not depend on which worker happens to take which chunk.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>

#include "qdistill/core/parallel.hpp"
#include "qdistill/core/pool.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// One shared region and one private region per worker, uninitialised, 64-byte aligned.
class Workspace {
 public:
  /// `shared_bytes` for all, `task_bytes` for each of at most `tasks` tasks that runs at the same time.
  Workspace(Index shared_bytes, Index task_bytes, Index tasks)
      : stride_(round_up(task_bytes)), slots_(static_cast<int>(std::min<Index>({num_threads(), tasks, max_slots}))) {
    if (slots_ < 1) slots_ = 1;
    const Index bytes = round_up(shared_bytes) + stride_ * slots_;
    shared_ = static_cast<unsigned char*>(
        qdistill::detail::Pool::instance().allocate(static_cast<std::size_t>(bytes), size_class_));
    tasks_ = shared_ + round_up(shared_bytes);
  }
  ~Workspace() { qdistill::detail::Pool::instance().release(shared_, size_class_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  unsigned char* shared() const noexcept { return shared_; }

  /// The private region of one task, for as long as it lives.
  class Task {
   public:
    explicit Task(Workspace& w) noexcept : workspace_(w), slot_(w.acquire()) {}
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() { workspace_.busy_[slot_].store(false, std::memory_order_release); }
    unsigned char* data() const noexcept { return workspace_.tasks_ + slot_ * workspace_.stride_; }

   private:
    Workspace& workspace_;
    int slot_;
  };

  /// `bytes` rounded up to whole cache lines, so that neighbouring regions share none.
  static constexpr Index round_up(Index bytes) noexcept { return (bytes + 63) / 64 * 64; }

 private:
  static constexpr Index max_slots = 1024;

  int acquire() noexcept {
    for (;;) {
      for (int i = 0; i < slots_; ++i)
        if (!busy_[i].load(std::memory_order_relaxed) && !busy_[i].exchange(true, std::memory_order_acquire)) return i;
      std::this_thread::yield();
    }
  }

  Index stride_;
  int slots_, size_class_ = 0;
  unsigned char* shared_ = nullptr;
  unsigned char* tasks_ = nullptr;
  std::atomic<bool> busy_[max_slots] = {};
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels
