/// Working memory of the products and convolutions. It grows to the largest request of its thread and is kept, so a
/// repeated call allocates nothing.
///
/// The calling thread owns the memory of a whole parallel loop, workers included: whether a call allocates then does
/// not depend on which worker happens to take which chunk.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>

#include "qdistill/core/parallel.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Uninitialised bytes, 64-byte aligned, that only grow.
class ScratchBuffer {
 public:
  ScratchBuffer() = default;
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;
  ~ScratchBuffer() { release(); }

  /// At least `bytes` bytes, their contents unspecified; earlier pointers become invalid.
  unsigned char* reserve(Index bytes) {
    if (bytes > capacity_) {
      release();
      data_ = static_cast<unsigned char*>(::operator new (static_cast<std::size_t>(bytes), std::align_val_t{64}));
      capacity_ = bytes;
    }
    return data_;
  }

 private:
  void release() noexcept {
    if (data_) ::operator delete (data_, std::align_val_t{64});
    data_ = nullptr, capacity_ = 0;
  }
  unsigned char* data_ = nullptr;
  Index capacity_ = 0;
};

/// One shared region and one private region per worker, carved out of the calling thread's buffer. At most one lives
/// per thread at a time: kernels that use it do not call each other.
class Workspace {
 public:
  /// `shared_bytes` for all, `task_bytes` for each of at most `tasks` tasks that runs at the same time.
  Workspace(Index shared_bytes, Index task_bytes, Index tasks)
      : stride_(round_up(task_bytes)), slots_(static_cast<int>(std::min<Index>({num_threads(), tasks, max_slots}))) {
    if (slots_ < 1) slots_ = 1;
    thread_local ScratchBuffer buffer;
    shared_ = buffer.reserve(round_up(shared_bytes) + stride_ * slots_);
    tasks_ = shared_ + round_up(shared_bytes);
  }
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
  int slots_;
  unsigned char* shared_ = nullptr;
  unsigned char* tasks_ = nullptr;
  std::atomic<bool> busy_[max_slots] = {};
};

}  // namespace qdistill::inline QDISTILL_ABI::kernels
