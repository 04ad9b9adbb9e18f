/// The recycling allocator: 64-byte aligned blocks, kept for reuse and returned to the system only by
/// release_cached_memory(). From the third training step on, nothing asks the system for memory. Thread-safe.
///
/// Small blocks come by size class. Large ones, the tensors, are cut from segments, always at the lowest address that
/// has room, and neighbours that come back are one again: what is held stays close to what is in use at the peak. Lists
/// of blocks by size would hold the sum of all sizes' own peaks, and blocks that outlive those around them, gradients
/// of parameters above all, would leave holes that are too small: they have segments of their own.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "qdistill/core/error.hpp"
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace qdistill::inline QDISTILL_ABI {

/// Bytes now handed out, the most that ever were, and bytes waiting for reuse.
struct MemoryStats {
  std::size_t in_use = 0, peak = 0, cached = 0;
};

/// How long memory is meant to be used: within a step, or from one to the next. Only a hint.
enum class Lifetime { step, lasting };

namespace detail {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool address_sanitizer = false;
#endif

/// Whole pages, first fit by address. Not thread-safe by itself.
class PagePool {
 public:
  static constexpr std::size_t page = 4096;
  /// The least that is asked of the system at a time; what was never written to costs nothing. Under the address
  /// sanitizer every block is a segment, so that writing past it is seen.
  static constexpr std::size_t segment_bytes = address_sanitizer ? 0 : std::size_t{256} << 20;

  /// `bytes` is a multiple of the page, and so is the address.
  std::byte* allocate(std::size_t bytes) {
    // release() must not fail, so there is always room for the range that it may have to note.
    const std::size_t most = blocks_ + segments_.size() + 2;
    if (free_.capacity() < most) free_.reserve(2 * most);
    // First fit, but memory that the system would have to give only if there is no other, and the least of it.
    auto at = free_.end();
    std::size_t least = bytes + 1;
    for (auto i = free_.begin(); i != free_.end() && least > 0; ++i) {
      const std::size_t fresh = bytes - std::min(bytes, i->used());
      if (i->bytes() >= bytes && fresh < least) at = i, least = fresh;
    }
    if (at == free_.end()) at = add_segment(bytes);
    std::byte* const p = at->begin;
    cached_ -= std::min(bytes, at->used());
    at->begin += bytes, at->fresh = std::max(at->fresh, at->begin);
    if (at->begin == at->end) free_.erase(at);
    ++blocks_;
    return p;
  }

  void release(std::byte* p, std::size_t bytes) noexcept {
    const auto next = place(p);
    Range* const before = next != free_.begin() && next[-1].end == p ? &next[-1] : nullptr;
    Range* const after = next != free_.end() && next->begin == p + bytes ? &*next : nullptr;
    const Range range{before ? before->begin : p, after ? after->fresh : p + bytes, after ? after->end : p + bytes};
    cached_ += range.used() - (before ? before->used() : 0) - (after ? after->used() : 0);
    if (before && after) free_.erase(next);
    if (before) *before = range;
    else if (after) *after = range;
    else free_.insert(next, range);
    --blocks_;
  }

  /// Gives the system back what is free.
  void trim() noexcept {
    for (std::size_t i = 0; i < segments_.size();) {
      const auto at = place(segments_[i].begin);
      if (at == free_.end() || at->begin != segments_[i].begin || at->end != segments_[i].end) {
        ++i;
        continue;
      }
      ::operator delete (segments_[i].begin, std::align_val_t{huge_page});
      cached_ -= at->used();
      free_.erase(at), segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(i));
    }
#if defined(__linux__)
    for (Range& r : free_) {
      if (r.used() > 0 && madvise(r.begin, r.used(), MADV_DONTNEED) == 0) cached_ -= r.used(), r.fresh = r.begin;
    }
#endif
  }

  std::size_t cached() const noexcept { return cached_; }

 private:
  /// Free pages, of which those from `fresh` on were never handed out: the system has no memory there yet.
  struct Range {
    std::byte *begin, *fresh, *end;
    std::size_t bytes() const noexcept { return static_cast<std::size_t>(end - begin); }
    std::size_t used() const noexcept { return static_cast<std::size_t>(fresh - begin); }
  };
  struct Segment {
    std::byte *begin, *end;
  };
  static constexpr std::size_t huge_page = std::size_t{2} << 20;

  std::vector<Range>::iterator place(std::byte* p) noexcept {
    return std::lower_bound(free_.begin(), free_.end(), p, [](const Range& r, std::byte* q) { return r.begin < q; });
  }
  /// As much as there is already, or where that is refused what is needed. A page behind each segment stays unused:
  /// ranges of two never touch.
  std::vector<Range>::iterator add_segment(std::size_t bytes) {
    segments_.reserve(segments_.size() + 1);
    std::size_t size = std::max(bytes, segment_bytes), held = 0;
    for (const Segment& s : segments_) held += static_cast<std::size_t>(s.end - s.begin);
    if (segment_bytes > 0) size = std::max(size, held);
    void* p = ::operator new (size + page, std::align_val_t{huge_page}, std::nothrow);
    if (!p) p = ::operator new ((size = bytes) + page, std::align_val_t{huge_page});
    std::byte* const begin = static_cast<std::byte*>(p);
#if defined(__linux__)
    if (size >= huge_page) madvise(begin, size, MADV_HUGEPAGE);  // a wish; a twentieth of a training step
#endif
    segments_.push_back({begin, begin + size});
    return free_.insert(place(begin), Range{begin, begin, begin + size});
  }

  std::vector<Range> free_;  // by address
  std::vector<Segment> segments_;
  std::size_t blocks_ = 0, cached_ = 0;
};

class Pool {
 public:
  /// Never destroyed, so that tensors in static storage may outlive everything.
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  /// A block of at least `bytes` bytes, 64-byte aligned; `size_class` receives what release() wants back.
  void* allocate(std::size_t bytes, int& size_class, Lifetime lifetime = Lifetime::step) {
    // 2^42: no machine has it, and the class arithmetic stays far from overflow.
    check<Error>(bytes <= std::size_t{1} << 42, "allocate", "got a request for ", bytes,
                 " bytes, expected at most 2^42");
    size_class = class_of(bytes);
    const std::size_t size = class_bytes(size_class);
    const std::lock_guard lock(mutex_);
    void* p = nullptr;
    if (size_class >= small_classes) {
      p = (lifetime == Lifetime::lasting ? lasting_pages_ : pages_).allocate(size);
      if (lifetime == Lifetime::lasting) size_class = -size_class;
    } else if (Free* block = free_[size_class]) {
      free_[size_class] = block->next;
      cached_ -= size;
      p = block;
    } else {
      p = ::operator new (size, std::align_val_t{64});
    }
    in_use_ += size;
    if (in_use_ > peak_) peak_ = in_use_;
    return p;
  }

  void release(void* p, int size_class) noexcept {
    const std::size_t size = class_bytes(std::abs(size_class));
    const std::lock_guard lock(mutex_);
    in_use_ -= size;
    if (size_class < 0) return lasting_pages_.release(static_cast<std::byte*>(p), size);
    if (size_class >= small_classes) return pages_.release(static_cast<std::byte*>(p), size);
    free_[size_class] = new (p) Free{free_[size_class]};
    cached_ += size;
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
    cached_ = 0;
    pages_.trim(), lasting_pages_.trim();
  }

  MemoryStats stats() noexcept {
    const std::lock_guard lock(mutex_);
    return {in_use_, peak_, cached_ + pages_.cached() + lasting_pages_.cached()};
  }
  void reset_peak() noexcept {
    const std::lock_guard lock(mutex_);
    peak_ = in_use_;
  }

 private:
  struct Free {
    Free* next;
  };
  // Up to 32 KiB: eight classes per power of two, at least 64 bytes apart, so that at most 1/8 of a block is wasted.
  // From there on a class for each number of pages, negative for lasting blocks.
  static constexpr int small_classes = 8 + 8 * 6;
  static constexpr std::size_t small_bytes = 32768;

  static int class_of(std::size_t bytes) noexcept {
    if (bytes > small_bytes) return small_classes + static_cast<int>((bytes + PagePool::page - 1) / PagePool::page);
    const std::size_t units = bytes <= 64 ? 1 : (bytes + 63) / 64;
    if (units <= 8) return static_cast<int>(units) - 1;
    const int log = static_cast<int>(std::bit_width(units - 1)) - 1;  // units in (2^log, 2^(log+1)]
    const std::size_t step = std::size_t{1} << (log - 3);
    const std::size_t part = (units - 1 - (std::size_t{1} << log)) / step;  // 0 .. 7
    return 8 + (log - 3) * 8 + static_cast<int>(part);
  }
  static std::size_t class_bytes(int c) noexcept {
    if (c >= small_classes) return static_cast<std::size_t>(c - small_classes) * PagePool::page;
    if (c < 8) return static_cast<std::size_t>(c + 1) * 64;
    const int log = (c - 8) / 8 + 3, part = (c - 8) % 8;
    return ((std::size_t{1} << log) + static_cast<std::size_t>(part + 1) * (std::size_t{1} << (log - 3))) * 64;
  }

  std::mutex mutex_;
  PagePool pages_, lasting_pages_;
  Free* free_[small_classes] = {};
  std::size_t in_use_ = 0, peak_ = 0, cached_ = 0;
};

}  // namespace detail

inline MemoryStats memory_stats() noexcept { return detail::Pool::instance().stats(); }
/// Sets the peak to what is in use now.
inline void reset_peak_memory() noexcept { detail::Pool::instance().reset_peak(); }
/// Returns the blocks that wait for reuse to the system.
inline void release_cached_memory() noexcept { detail::Pool::instance().trim(); }

}  // namespace qdistill::inline QDISTILL_ABI
