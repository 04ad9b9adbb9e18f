/// Intrusive reference counts, the counted block of memory behind a tensor, and what can compute its contents again.
#pragma once

#include <atomic>
#include <mutex>
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

class Storage;

/// How the contents of a storage can be computed again once it is gone (autograd/saved.hpp). The two know each other,
/// but neither keeps the other alive: a recipe lives as long as somebody means to use it.
class Recipe {
 public:
  Recipe() = default;
  Recipe(const Recipe&) = delete;
  Recipe& operator=(const Recipe&) = delete;

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;
  /// The storage that it describes, null once that is gone.
  Ref<Storage> storage() const noexcept;
  /// The contents, in new storage.
  virtual Ref<Storage> make() const = 0;

 protected:
  ~Recipe() = default;
  /// Takes a new recipe as the one of `storage`, with its contents as they are now.
  void describe(Storage& storage) noexcept;

 private:
  friend class Storage;
  virtual void destroy() noexcept = 0;
  /// Guards the links between all recipes and storages: they are few, and followed rarely.
  static std::mutex& links() noexcept {
    static std::mutex mutex;
    return mutex;
  }
  std::atomic<int> refs_{1};
  Storage* storage_ = nullptr;
  std::uint64_t version_ = 0;
};

/// Header of a pool block; the data follow, 64-byte aligned. `version` counts in-place changes, so that the graph can
/// tell when a saved tensor was changed.
class alignas(64) Storage {
 public:
  /// Uninitialised memory of `bytes` bytes. Throws Error or std::bad_alloc.
  static Ref<Storage> allocate(std::size_t bytes, Device device, Lifetime lifetime = Lifetime::step) {
    check_device(device);
    int size_class = 0;
    void* const p = detail::Pool::instance().allocate(sizeof(Storage) + bytes, size_class, lifetime);
    Storage* const s = new (p) Storage;
    s->bytes_ = bytes, s->device_ = device, s->size_class_ = size_class;
    return Ref<Storage>::adopt(s);
  }
  void* data() noexcept { return this + 1; }
  std::size_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }
  int use_count() const noexcept { return refs_.load(std::memory_order_acquire); }
  /// True if somebody means to compute the contents again, and therefore did not take a share in them.
  bool has_recipe() const noexcept { return recipe_.load(std::memory_order_acquire) != nullptr; }
  /// The recipe of the contents as they are now, null if there is none.
  Ref<Recipe> recipe() const noexcept {
    if (!has_recipe()) return {};
    const std::lock_guard lock(Recipe::links());
    Recipe* const r = recipe_.load(std::memory_order_relaxed);
    return r && r->version_ == version() && share(r->refs_) ? Ref<Recipe>::adopt(r) : Ref<Recipe>();
  }
  std::uint64_t version() const noexcept { return version_.load(std::memory_order_relaxed); }
  void bump_version() noexcept { version_.fetch_add(1, std::memory_order_relaxed); }

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      if (has_recipe()) {
        const std::lock_guard lock(Recipe::links());
        if (Recipe* const r = recipe_.load(std::memory_order_relaxed)) r->storage_ = nullptr;
      }
      const int size_class = size_class_;
      this->~Storage();
      detail::Pool::instance().release(this, size_class);
    }
  }

 private:
  friend class Recipe;
  Storage() = default;
  ~Storage() = default;
  /// Takes a share in what may be about to die.
  static bool share(std::atomic<int>& refs) noexcept {
    int n = refs.load(std::memory_order_relaxed);
    while (n > 0 && !refs.compare_exchange_weak(n, n + 1, std::memory_order_acquire)) {
    }
    return n > 0;
  }
  std::atomic<int> refs_{1};
  int size_class_ = 0;
  Device device_ = Device::cpu;
  std::size_t bytes_ = 0;
  std::atomic<std::uint64_t> version_{0};
  std::atomic<Recipe*> recipe_{nullptr};
};
static_assert(sizeof(Storage) == 64);

inline void Recipe::release() noexcept {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    const std::lock_guard lock(links());
    if (storage_) storage_->recipe_.store(nullptr, std::memory_order_release);
  }
  destroy();
}

inline Ref<Storage> Recipe::storage() const noexcept {
  const std::lock_guard lock(links());
  return storage_ && Storage::share(storage_->refs_) ? Ref<Storage>::adopt(storage_) : Ref<Storage>();
}

inline void Recipe::describe(Storage& storage) noexcept {
  const std::lock_guard lock(links());
  storage_ = &storage, version_ = storage.version();
  storage.recipe_.store(this, std::memory_order_release);
}

}  // namespace qdistill::inline QDISTILL_ABI
