/// Intrusive reference counts, and the counted block of memory behind a tensor.
#pragma once

#include <atomic>
#include <utility>

#include "qdistill/core/device.hpp"
#include "qdistill/core/pool.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// An intrusive pointer: C has `retain()` and `release()`.
template <class C>
class Ref {
 public:
  Ref() noexcept = default;
  /// Takes a share in *p.
  explicit Ref(C* p) noexcept : p_(p) {
    if (p_) p_->retain();
  }
  /// Takes over the caller's share.
  static Ref adopt(C* p) noexcept {
    Ref r;
    r.p_ = p;
    return r;
  }
  Ref(const Ref& o) noexcept : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_) p_->release();
  }
  C* get() const noexcept { return p_; }
  C* operator->() const noexcept { return p_; }
  C& operator*() const noexcept { return *p_; }
  explicit operator bool() const noexcept { return p_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.p_ == b.p_; }

 private:
  C* p_ = nullptr;
};

/// Header of a pool block; the data follow, 64-byte aligned. `version` counts in-place changes, so that the graph can
/// tell when a saved tensor was changed.
class alignas(64) Storage {
 public:
  /// Uninitialised memory of `bytes` bytes. Throws Error or std::bad_alloc.
  static Ref<Storage> allocate(std::size_t bytes, Device device) {
    check_device(device);
    int size_class = 0;
    void* const p = detail::Pool::instance().allocate(sizeof(Storage) + bytes, size_class);
    Storage* const s = new (p) Storage;
    s->bytes_ = bytes, s->device_ = device, s->size_class_ = size_class;
    return Ref<Storage>::adopt(s);
  }
  void* data() noexcept { return this + 1; }
  std::size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }
  int use_count() const noexcept { return refs_.load(std::memory_order_acquire); }
  std::uint64_t version() const noexcept { return version_.load(std::memory_order_relaxed); }
  void bump_version() noexcept { version_.fetch_add(1, std::memory_order_relaxed); }

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const int size_class = size_class_;
      this->~Storage();
      detail::Pool::instance().release(this, size_class);
    }
  }

 private:
  Storage() = default;
  ~Storage() = default;
  std::atomic<int> refs_{1};
  int size_class_ = 0;
  Device device_ = Device::cpu;
  std::size_t bytes_ = 0;
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace qdistill::inline QDISTILL_ABI
