/// A loader that shuffles by seed, augments and fills batches on its own thread, ahead of the training step.
///
///   data::DataLoader loader(train, {.batch_size = 128, .shuffle = true, .augment = data::cifar_augment, .seed = 1});
///   for (Index epoch = 0; epoch < 10; ++epoch)
///     for (const data::Batch& batch : loader) step(batch.images, batch.labels);
///
/// What a batch holds is a function of (dataset, options, epoch, number) alone. The loader is a cursor: `position()` is
/// the next batch it will hand out, and `seek(position)` continues there with the same bits, so a checkpoint stores two
/// integers. After the first batches nothing is allocated, unless the dataset makes its images: these are made on
/// several threads, a batch at a time. An exception in the loader's thread is thrown from `next()`, at the batch where
/// it happened.
#pragma once

#include <condition_variable>
#include <exception>
#include <iterator>
#include <mutex>
#include <thread>

#include "qdistill/core/parallel.hpp"
#include "qdistill/data/augment.hpp"

namespace qdistill::inline QDISTILL_ABI::data {

/// Settings of a loader. The defaults are those of an evaluation: in order, nothing drawn, the last batch kept.
struct LoaderOptions {
  Index batch_size = 128;
  bool shuffle = false;
  bool drop_last = false;  ///< leave out the last batch of an epoch if it is short
  Augment augment{};
  Normalize normalize{};
  std::uint64_t seed = 0;  ///< of shuffling and augmentation
  Index prefetch = 2;      ///< batches made ahead; 0: made by the caller in next(), without a thread
};

/// A place in the sequence of batches: the next one to hand out.
struct LoaderPosition {
  Index epoch = 0;
  Index batch = 0;
  friend bool operator==(const LoaderPosition&, const LoaderPosition&) = default;
};

/// One batch. The spans belong to the loader and are valid until its next next() or seek().
struct Batch {
  std::span<const float> images;   ///< (size, C, H, W), normalised
  std::span<const Index> labels;   ///< (size)
  std::span<const Index> indices;  ///< (size): each image's position in the dataset
  ImageShape shape;                ///< C, H, W
  Index size = 0;
  Index epoch = 0;
  Index number = 0;   ///< within the epoch, from 0
  bool last = false;  ///< the epoch's last batch
};

/// Batches of a dataset, epoch after epoch. Used by one thread at a time; the dataset must outlive it.
class DataLoader {
 public:
  /// Throws ValueError for an empty dataset, a batch size below 1, drop_last with fewer images than a batch, and as
  /// ImageTransform does.
  explicit DataLoader(DatasetRef dataset, LoaderOptions options = {})
      : dataset_(dataset),
        options_(std::move(options)),
        transform_(dataset.shape(), options_.normalize, options_.augment) {
    const Index n = dataset_.size(), b = options_.batch_size;
    check(n > 0, "data_loader", "got an empty dataset, expected at least one image");
    check(n <= Index{0xFFFFFFFF}, "data_loader", "got ", n, " images, expected fewer than 2^32");
    check(b >= 1, "data_loader", "got a batch size of ", b, ", expected at least 1");
    check(options_.prefetch >= 0 && options_.prefetch <= 1024, "data_loader", "got a prefetch of ", options_.prefetch,
          ", expected 0 to 1024");
    batches_ = options_.drop_last ? n / b : n / b + (n % b != 0);
    check(batches_ > 0, "data_loader", "got ", n, " images with drop_last and a batch size of ", b,
          ", expected at least one full batch");
    const Index rows = b < n ? b : n, numel = dataset_.shape().numel();
    check(rows <= (Index{1} << 40) / numel, "data_loader", "got batches of ", rows, " images of ", numel,
          " values, expected fewer than 2^40 values");
    order_.resize(static_cast<std::size_t>(n));
    slots_.resize(static_cast<std::size_t>(options_.prefetch + 1));
    for (Slot& slot : slots_) {
      slot.images.resize(static_cast<std::size_t>(rows * numel));
      slot.labels.resize(static_cast<std::size_t>(rows));
      slot.indices.resize(static_cast<std::size_t>(rows));
    }
  }
  template <OwningDataset D>
  explicit DataLoader(const D&& temporary, LoaderOptions options = {}) = delete;

  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;
  ~DataLoader() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    room_.notify_one();
    thread_.join();
  }

  const DatasetRef& dataset() const noexcept { return dataset_; }
  const LoaderOptions& options() const noexcept { return options_; }
  Index batches_per_epoch() const noexcept { return batches_; }
  /// True if an image is not the same in every epoch: the loader augments, or the dataset draws.
  bool draws() const noexcept {
    return options_.augment.padding > 0 || options_.augment.horizontal_flip || dataset_.draws();
  }
  /// Images that an epoch hands out.
  Index images_per_epoch() const noexcept {
    return options_.drop_last ? batches_ * options_.batch_size : dataset_.size();
  }
  /// The next batch that next() hands out.
  LoaderPosition position() const noexcept { return position_; }

  /// Continues at `position`. Drops what was made ahead for another place. The batch handed out last is no longer
  /// valid. Throws ValueError for a position that does not exist.
  void seek(LoaderPosition position) {
    check(position.epoch >= 0 && position.batch >= 0 && position.batch < batches_, "data_loader", "got epoch ",
          position.epoch, " and batch ", position.batch, ", expected an epoch of 0 or more and a batch of 0 to ",
          batches_ - 1);
    const std::lock_guard lock(mutex_);
    if (position == position_ && !failed_) return;
    position_ = made_ = position;
    ++generation_;
    taken_ = ready_ = 0;
    failed_ = nullptr;
    room_.notify_one();
  }

  /// Hands out the next batch and moves on; after an epoch's last batch comes the first of the next epoch. Throws what
  /// the dataset threw while the batch was made, again at each call until seek().
  const Batch& next() {
    Slot& slot = options_.prefetch == 0 ? make_here() : wait_for_slot();
    position_ = after(position_);
    return slot.batch;
  }

  /// Walks over the batches from position() to the end of its epoch. A loop that was left early is continued by the
  /// next one; seek() starts elsewhere.
  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    Iterator() = default;
    explicit Iterator(DataLoader* loader) : loader_(loader), batch_(&loader->next()) {}
    const Batch& operator*() const noexcept { return *batch_; }
    const Batch* operator->() const noexcept { return batch_; }
    Iterator& operator++() {
      batch_ = batch_->last ? nullptr : &loader_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept { return it.batch_ == nullptr; }

   private:
    DataLoader* loader_ = nullptr;
    const Batch* batch_ = nullptr;
  };
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  struct Slot {
    std::vector<float> images;
    std::vector<Index> labels;
    std::vector<Index> indices;
    Batch batch;
  };

  LoaderPosition after(LoaderPosition p) const noexcept {
    return p.batch + 1 < batches_ ? LoaderPosition{p.epoch, p.batch + 1} : LoaderPosition{p.epoch + 1, 0};
  }

  /// Fills a slot with the batch at `p`. Touches order_, which belongs to whoever makes batches.
  void make(LoaderPosition p, Slot& slot) {
    const Index n = dataset_.size(), first = p.batch * options_.batch_size;
    if (ordered_epoch_ < 0 || (options_.shuffle && ordered_epoch_ != p.epoch)) {
      if (options_.shuffle) random_permutation({shuffle_seed_, static_cast<std::uint64_t>(p.epoch)}, n, order_.data());
      else
        for (Index i = 0; i < n; ++i) order_[static_cast<std::size_t>(i)] = i;
      ordered_epoch_ = p.epoch;
    }
    const Index size = n - first < options_.batch_size ? n - first : options_.batch_size;
    const Index numel = dataset_.shape().numel();
    const auto fill = [&](Index begin, Index end) {
      std::vector<std::uint8_t> buffer;
      for (Index k = begin; k < end; ++k) {
        const Index i = order_[static_cast<std::size_t>(first + k)];
        slot.indices[static_cast<std::size_t>(k)] = i;
        slot.labels[static_cast<std::size_t>(k)] = dataset_.label(i);
        transform_(dataset_.image(i, {image_seed_, p.epoch}, buffer),
                   draw_crop(options_.augment, augment_seed_, p.epoch, i), slot.images.data() + k * numel);
      }
    };
    if (dataset_.makes_images()) parallel_for(size, 1, fill);
    else fill(0, size);
    const auto rows = static_cast<std::size_t>(size);
    slot.batch.images = {slot.images.data(), rows * static_cast<std::size_t>(numel)};
    slot.batch.labels = {slot.labels.data(), rows};
    slot.batch.indices = {slot.indices.data(), rows};
    slot.batch.shape = dataset_.shape();
    slot.batch.size = size;
    slot.batch.epoch = p.epoch;
    slot.batch.number = p.batch;
    slot.batch.last = p.batch + 1 == batches_;
  }

  Slot& make_here() {
    make(position_, slots_[0]);
    return slots_[0];
  }

  Slot& wait_for_slot() {
    if (!thread_.joinable()) thread_ = std::thread([this] { produce(); });
    std::unique_lock lock(mutex_);
    // Handing back the previous batch makes room for one more.
    if (taken_ > 0) {
      taken_ = 0;
      room_.notify_one();
    }
    filled_.wait(lock, [this] { return ready_ > 0 || failed_; });
    if (ready_ == 0) std::rethrow_exception(failed_);
    Slot& slot = slots_[static_cast<std::size_t>(head_)];
    head_ = (head_ + 1) % ring();
    --ready_;
    taken_ = 1;
    return slot;
  }

  Index ring() const noexcept { return static_cast<Index>(slots_.size()); }

  /// The thread: fills the slot behind the ready ones, without the lock, as long as one is free.
  void produce() noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
      room_.wait(lock, [this] { return stop_ || (!failed_ && taken_ + ready_ < ring()); });
      if (stop_) return;
      const Index generation = generation_;
      const LoaderPosition p = made_;
      Slot& slot = slots_[static_cast<std::size_t>((head_ + ready_) % ring())];
      lock.unlock();
      std::exception_ptr error;
      try {
        make(p, slot);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      if (generation != generation_) continue;  // seek() went elsewhere meanwhile
      if (error) {
        failed_ = error;
      } else {
        made_ = after(p);
        ++ready_;
      }
      filled_.notify_one();
    }
  }

  DatasetRef dataset_;
  LoaderOptions options_;
  ImageTransform transform_;
  std::uint64_t shuffle_seed_ = detail::derive_seed(options_.seed, 2);
  std::uint64_t augment_seed_ = detail::derive_seed(options_.seed, 3);
  std::uint64_t image_seed_ = detail::derive_seed(options_.seed, 6);
  Index batches_ = 0;
  LoaderPosition position_;  // the caller's

  // Belongs to whoever makes batches: the thread, or the caller if prefetch is 0.
  std::vector<Index> order_;
  Index ordered_epoch_ = -1;

  // Under the mutex. slots_: a ring; the `ready_` slots from head_ on wait for the caller, the one before head_ is with
  // the caller if taken_ is 1, and the one behind the ready ones is being filled.
  std::mutex mutex_;
  std::condition_variable room_, filled_;
  std::vector<Slot> slots_;
  Index head_ = 0, ready_ = 0, taken_ = 0;
  LoaderPosition made_;
  Index generation_ = 0;
  std::exception_ptr failed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace qdistill::inline QDISTILL_ABI::data
