/// Sums and maxima over any set of dims of a contiguous tensor.
///
/// The order of the additions is fixed by the sizes: pieces of at most 512 neighbours are added in 32 lanes (or 16
/// rows in one group where the last dim stays), pieces are added up in double, and a long fiber is cut into segments
/// whose partial results are added in order. So the result does not depend on threads, and its error hardly grows with
/// size.
#pragma once

#include <limits>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/shape.hpp"
#include "qdistill/core/storage.hpp"
#include "qdistill/kernels/cpu/math.hpp"
#include "qdistill/kernels/cpu/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// The dims of a contiguous tensor, and which of them stay; the others are reduced. Row-major over the kept dims, the
/// results are contiguous too.
struct Fibers {
  int rank = 1;
  Index size[max_rank] = {1};
  bool kept[max_rank] = {true};

  Index outputs() const noexcept {
    Index n = 1;
    for (int d = 0; d < rank; ++d) n *= kept[d] ? size[d] : 1;
    return n;
  }
  Index length() const noexcept {
    Index n = 1;
    for (int d = 0; d < rank; ++d) n *= kept[d] ? 1 : size[d];
    return n;
  }
};

/// Merges neighbouring dims and leaves out those of size 1. `kept` says which dims of `shape` stay.
inline Fibers merge_fibers(const Shape& shape, const bool* kept) noexcept {
  Fibers f;
  int rank = 0;
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == 1) continue;
    if (rank > 0 && f.kept[rank - 1] == kept[d]) {
      f.size[rank - 1] *= shape[d];
    } else {
      f.size[rank] = shape[d], f.kept[rank] = kept[d];
      ++rank;
    }
  }
  f.rank = rank > 0 ? rank : 1;
  return f;
}

/// Where a reduction reads: `run` elements from position `at` (multi-index `index` over the fibers' dims), either in
/// place or computed into `buffer`. A plain function pointer, called once per piece.
template <class T>
struct Source {
  const T* (*load)(const void* context, const Index* index, Index at, Index n, T* buffer) = nullptr;
  const void* context = nullptr;

  /// Reads x itself.
  static Source of(const T* x) noexcept {
    return {[](const void* p, const Index*, Index at, Index, T*) { return static_cast<const T*>(p) + at; }, x};
  }
  /// Calls f(index, at, n, buffer), which fills the buffer. `f` must outlive the source.
  template <class F>
  static Source computed(const F& f) noexcept {
    return {[](const void* p, const Index* index, Index at, Index n, T* buffer) -> const T* {
              (*static_cast<const F*>(p))(index, at, n, buffer);
              return buffer;
            },
            &f};
  }
};

template <class T>
struct Sum {
  using Wide = double;
  QDISTILL_INLINE static T first() noexcept { return T(0); }
  QDISTILL_INLINE static T step(T a, T b) noexcept { return a + b; }
  QDISTILL_INLINE static Wide wide_first() noexcept { return 0; }
  QDISTILL_INLINE static Wide join(Wide a, Wide b) noexcept { return a + b; }
};

/// The larger; NaN wins.
template <class T>
struct Max {
  using Wide = T;
  QDISTILL_INLINE static T first() noexcept { return -std::numeric_limits<T>::infinity(); }
  QDISTILL_INLINE static T step(T a, T b) noexcept { return math::select(a >= b, a, math::select(a != a, a, b)); }
  QDISTILL_INLINE static Wide wide_first() noexcept { return first(); }
  QDISTILL_INLINE static Wide join(Wide a, Wide b) noexcept { return step(a, b); }
};

/// The smaller; NaN wins.
template <class T>
struct Min {
  using Wide = T;
  QDISTILL_INLINE static T first() noexcept { return std::numeric_limits<T>::infinity(); }
  QDISTILL_INLINE static T step(T a, T b) noexcept { return math::select(a <= b, a, math::select(a != a, a, b)); }
  QDISTILL_INLINE static Wide wide_first() noexcept { return first(); }
  QDISTILL_INLINE static Wide join(Wide a, Wide b) noexcept { return step(a, b); }
};

namespace detail {

inline constexpr Index reduce_piece = 512;        // neighbours that one call of a source yields at most
inline constexpr Index reduce_rows = 16;          // rows added in T before they join the wide sums
inline constexpr Index reduce_columns = 256;      // columns handled together where the last dim stays
inline constexpr Index reduce_segment = 1 << 16;  // elements of a fiber that one task reduces

/// All of p[0 .. n), n <= reduce_piece.
template <class R, class T>
T reduce_run(const T* p, Index n) {
  constexpr Index lanes = 32;
  T acc[lanes];
  with_isa([&]() QDISTILL_ISA_BODY {
    for (Index j = 0; j < lanes; ++j) acc[j] = R::first();
    Index i = 0;
    for (; i + lanes <= n; i += lanes) {
      QDISTILL_SIMD
      for (Index j = 0; j < lanes; ++j) acc[j] = R::step(acc[j], p[i + j]);
    }
    for (Index j = 0; i + j < n; ++j) acc[j] = R::step(acc[j], p[i + j]);
    for (Index half = lanes / 2; half > 0; half /= 2)
      for (Index j = 0; j < half; ++j) acc[j] = R::step(acc[j], acc[j + half]);
  });
  return acc[0];
}

/// acc[j] = step(acc[j], p[j])
template <class R, class T>
void reduce_row(const T* p, T* acc, Index n) {
  with_isa([=]() QDISTILL_ISA_BODY {
    QDISTILL_SIMD
    for (Index j = 0; j < n; ++j) acc[j] = R::step(acc[j], p[j]);
  });
}

/// The state of one reduction: how its fibers are walked, and where its results go.
template <class R, class T>
class Reduction {
 public:
  using Wide = typename R::Wide;

  Reduction(const Fibers& f, Source<T> source, T* out, Write write, double scale) noexcept
      : f_(f), source_(source), out_(out), write_(write), scale_(scale) {
    Index stride = 1;
    for (int d = f.rank - 1; d >= 0; --d) stride_[d] = stride, stride *= f.size[d];
    last_ = f.rank - 1;
    width_ = f.size[last_];
    for (int d = 0; d < last_; ++d) (f.kept[d] ? outer_ : rows_) *= f.size[d];
  }

  void run() {
    if (f_.length() == 0) {
      for (Index o = 0, n = f_.outputs(); o < n; ++o) store(o, R::wide_first());
      return;
    }
    if (f_.outputs() == 0) return;
    if (f_.kept[last_]) run_columns();
    else run_rows();
  }

 private:
  /// A position in the dims before the last.
  struct Walk {
    Index index[max_rank];
    Index at;
  };
  /// Fiber `outer` of the kept dims, row `row` of the reduced ones.
  Walk walk(Index outer, Index row) const noexcept {
    Walk w;
    w.at = 0;
    w.index[last_] = 0;
    for (int d = last_ - 1; d >= 0; --d) {
      Index& rest = f_.kept[d] ? outer : row;
      w.index[d] = rest % f_.size[d];
      rest /= f_.size[d];
      w.at += w.index[d] * stride_[d];
    }
    return w;
  }
  void next_row(Walk& w) const noexcept {
    for (int d = last_ - 1; d >= 0; --d) {
      if (f_.kept[d]) continue;
      w.at += stride_[d];
      if (++w.index[d] < f_.size[d]) return;
      w.at -= stride_[d] * f_.size[d];
      w.index[d] = 0;
    }
  }
  void store(Index o, Wide v) const noexcept {
    const T value = static_cast<T>(static_cast<double>(v) * scale_);
    out_[o] = write_ == Write::add ? static_cast<T>(out_[o] + value) : value;
  }

  /// The last dim is reduced: each output is a sum of rows, cut into pieces.
  void run_rows() {
    const Index in_row = (width_ + reduce_piece - 1) / reduce_piece, pieces = rows_ * in_row;
    const Index length = width_ < reduce_piece ? width_ : reduce_piece;
    const Index segment = reduce_segment / length, segments = (pieces + segment - 1) / segment;
    if (segments == 1) {
      const Index grain = memory_grain / (rows_ * width_);
      return parallel_for(outer_, grain, [&](Index begin, Index end) {
        for (Index o = begin; o < end; ++o) store(o, reduce_pieces(o, in_row, 0, pieces));
      });
    }
    with_partials(outer_ * segments, [&](Wide* partial) {
      parallel_for(outer_ * segments, 1, [&](Index begin, Index end) {
        for (Index t = begin; t < end; ++t) {
          const Index first = t % segments * segment;
          partial[t] = reduce_pieces(t / segments, in_row, first, first + segment < pieces ? first + segment : pieces);
        }
      });
      for (Index o = 0; o < outer_; ++o) {
        Wide v = R::wide_first();
        for (Index s = 0; s < segments; ++s) v = R::join(v, partial[o * segments + s]);
        store(o, v);
      }
    });
  }
  Wide reduce_pieces(Index outer, Index in_row, Index begin, Index end) const {
    alignas(64) T buffer[reduce_piece];
    Walk w = walk(outer, begin / in_row);
    Index column = begin % in_row * reduce_piece;
    Wide v = R::wide_first();
    for (Index p = begin; p < end; ++p) {
      const Index n = width_ - column < reduce_piece ? width_ - column : reduce_piece;
      w.index[last_] = column;
      v = R::join(
          v, static_cast<Wide>(reduce_run<R>(source_.load(source_.context, w.index, w.at + column, n, buffer), n)));
      column += n;
      if (column == width_) column = 0, next_row(w);
    }
    return v;
  }

  /// The last dim stays: rows are added to rows, a tile of columns at a time.
  void run_columns() {
    const Index tiles = (width_ + reduce_columns - 1) / reduce_columns;
    const Index columns = width_ < reduce_columns ? width_ : reduce_columns;
    const Index segment = reduce_segment / columns, segments = (rows_ + segment - 1) / segment;
    const auto each_tile = [&](Index u, auto&& f) {
      const Index column = u % tiles * reduce_columns;
      f(u / tiles, column, width_ - column < reduce_columns ? width_ - column : reduce_columns);
    };
    if (segments == 1) {
      const Index grain = memory_grain / (rows_ * columns);
      return parallel_for(outer_ * tiles, grain, [&](Index begin, Index end) {
        Wide wide[reduce_columns];
        for (Index u = begin; u < end; ++u)
          each_tile(u, [&](Index outer, Index column, Index n) {
            reduce_tile(outer, column, n, 0, rows_, wide);
            for (Index j = 0; j < n; ++j) store(outer * width_ + column + j, wide[j]);
          });
      });
    }
    with_partials(outer_ * tiles * segments * reduce_columns, [&](Wide* partial) {
      parallel_for(outer_ * tiles * segments, 1, [&](Index begin, Index end) {
        for (Index t = begin; t < end; ++t)
          each_tile(t / segments, [&](Index outer, Index column, Index n) {
            const Index first = t % segments * segment;
            reduce_tile(outer, column, n, first, first + segment < rows_ ? first + segment : rows_,
                        partial + t * reduce_columns);
          });
      });
      for (Index u = 0; u < outer_ * tiles; ++u)
        each_tile(u, [&](Index outer, Index column, Index n) {
          for (Index j = 0; j < n; ++j) {
            Wide v = R::wide_first();
            for (Index s = 0; s < segments; ++s) v = R::join(v, partial[(u * segments + s) * reduce_columns + j]);
            store(outer * width_ + column + j, v);
          }
        });
    });
  }
  void reduce_tile(Index outer, Index column, Index n, Index begin, Index end, Wide* wide) const {
    alignas(64) T buffer[reduce_columns];
    alignas(64) T acc[reduce_columns];
    for (Index j = 0; j < n; ++j) wide[j] = R::wide_first();
    Walk w = walk(outer, begin);
    w.index[last_] = column;
    for (Index row = begin; row < end;) {
      for (Index j = 0; j < n; ++j) acc[j] = R::first();
      const Index stop = row + reduce_rows < end ? row + reduce_rows : end;
      for (; row < stop; ++row) {
        reduce_row<R>(source_.load(source_.context, w.index, w.at + column, n, buffer), acc, n);
        next_row(w);
      }
      for (Index j = 0; j < n; ++j) wide[j] = R::join(wide[j], static_cast<Wide>(acc[j]));
    }
  }

  template <class F>
  static void with_partials(Index n, F&& f) {
    const Ref<Storage> memory = Storage::allocate(static_cast<std::size_t>(n) * sizeof(Wide), Device::cpu);
    f(static_cast<Wide*>(memory->data()));
  }

  Fibers f_;
  Source<T> source_;
  T* out_;
  Write write_;
  double scale_;
  Index stride_[max_rank];
  int last_;
  Index width_, outer_ = 1, rows_ = 1;
};

}  // namespace detail

/// out[o] (=|+=) scale * R over fiber o of what `source` yields. R is Sum, Max or Min. An empty fiber gives R's neutral
/// element.
template <template <class> class R, class T>
void reduce(Cpu, const Fibers& fibers, Source<T> source, T* out, Write write = Write::set, double scale = 1) {
  detail::Reduction<R<T>, T>(fibers, source, out, write, scale).run();
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
