/// The recycling allocator: 64-byte aligned blocks by size class, kept for reuse and returned to the system only by
/// release_cached_memory(). From the third training step on, nothing asks the system for memory. Thread-safe.
#pragma once

#include <bit>
#include <cstddef>
#include <mutex>
#include <new>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Bytes now handed out, the most that ever were, and bytes waiting for reuse.
struct MemoryStats {
  std::size_t in_use = 0, peak = 0, cached = 0;
};

namespace detail {

class Pool {
 public:
  /// Never destroyed, so that tensors in static storage may outlive everything.
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  /// A block of at least `bytes` bytes, 64-byte aligned; `size_class` receives what release() wants back.
  void* allocate(std::size_t bytes, int& size_class) {
    // 2^44: no machine has it, and the class arithmetic stays far from overflow.
    check<Error>(bytes <= std::size_t{1} << 44, "allocate", "got a request for ", bytes,
                 " bytes, expected at most 2^44");
    size_class = class_of(bytes);
    const std::size_t size = class_bytes(size_class);
    {
      const std::lock_guard lock(mutex_);
      stats_.in_use += size;
      if (stats_.in_use > stats_.peak) stats_.peak = stats_.in_use;
      if (Free* block = free_[size_class]) {
        free_[size_class] = block->next;
        stats_.cached -= size;
        return block;
      }
    }
    try {
      return ::operator new (size, std::align_val_t{64});
    } catch (...) {
      const std::lock_guard lock(mutex_);
      stats_.in_use -= size;
      throw;
    }
  }

  void release(void* p, int size_class) noexcept {
    const std::size_t size = class_bytes(size_class);
    const std::lock_guard lock(mutex_);
    free_[size_class] = new (p) Free{free_[size_class]};
    stats_.in_use -= size;
    stats_.cached += size;
  }

  void trim() noexcept {
    const std::lock_guard lock(mutex_);
    for (Free*& head : free_) {
      while (head) {
        Free* const next = head->next;
        ::operator delete (head, std::align_val_t{64});
        head = next;
      }
    }
    stats_.cached = 0;
  }

  MemoryStats stats() noexcept {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() noexcept {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

 private:
  struct Free {
    Free* next;
  };
  // Eight classes per power of two, at least 64 bytes apart: at most 1/8 of a large block is wasted.
  static int class_of(std::size_t bytes) noexcept {
    const std::size_t units = bytes <= 64 ? 1 : (bytes + 63) / 64;
    if (units <= 8) return static_cast<int>(units) - 1;
    const int log = static_cast<int>(std::bit_width(units - 1)) - 1;  // units in (2^log, 2^(log+1)]
    const std::size_t step = std::size_t{1} << (log - 3);
    const std::size_t part = (units - 1 - (std::size_t{1} << log)) / step;  // 0 .. 7
    return 8 + (log - 3) * 8 + static_cast<int>(part);
  }
  static std::size_t class_bytes(int c) noexcept {
    if (c < 8) return static_cast<std::size_t>(c + 1) * 64;
    const int log = (c - 8) / 8 + 3, part = (c - 8) % 8;
    return ((std::size_t{1} << log) + static_cast<std::size_t>(part + 1) * (std::size_t{1} << (log - 3))) * 64;
  }

  std::mutex mutex_;
  Free* free_[8 + 8 * 48] = {};
  MemoryStats stats_;
};

}  // namespace detail

inline MemoryStats memory_stats() noexcept { return detail::Pool::instance().stats(); }
/// Sets the peak to what is in use now.
inline void reset_peak_memory() noexcept { detail::Pool::instance().reset_peak(); }
/// Returns the blocks that wait for reuse to the system.
inline void release_cached_memory() noexcept { detail::Pool::instance().trim(); }

}  // namespace qdistill::inline QDISTILL_ABI
