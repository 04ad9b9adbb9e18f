/// Sorting along the middle of an outer x n x inner tensor. Equal elements keep their order, NaN counts as the largest.
#pragma once

#include <algorithm>
#include <limits>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/storage.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// The first k elements of each fiber in ascending (or descending) order, and where they stood.
/// x: outer x n x inner; values, indices: outer x k x inner, k <= n. Either result may be null.
template <class T>
void sort(Cpu, const T* x, T* values, Index* indices, Index outer, Index n, Index inner, Index k, bool descending) {
  if (outer * inner * k == 0) return;
  struct Item {
    T value;
    Index index;
  };
  const auto below = [](T a, T b) { return a < b || (a == a && b != b); };
  const auto before = [=](const Item& a, const Item& b) {
    if (descending ? below(b.value, a.value) : below(a.value, b.value)) return true;
    if (descending ? below(a.value, b.value) : below(b.value, a.value)) return false;
    return a.index < b.index;
  };
  parallel_for(outer * inner, 4096 / n, [=](Index begin, Index end) {
    const Ref<Storage> memory = Storage::allocate(static_cast<std::size_t>(n) * sizeof(Item), Device::cpu);
    Item* const items = static_cast<Item*>(memory->data());
    for (Index f = begin; f < end; ++f) {
      const T* const from = x + f / inner * n * inner + f % inner;
      for (Index i = 0; i < n; ++i) items[i] = {from[i * inner], i};
      if (k == n) std::sort(items, items + n, before);
      else std::partial_sort(items, items + k, items + n, before);
      const Index to = f / inner * k * inner + f % inner;
      for (Index i = 0; i < k; ++i) {
        if (values) values[to + i * inner] = items[i].value;
        if (indices) indices[to + i * inner] = items[i].index;
      }
    }
  });
}

/// dx[o, indices[o, j, i], i] (=|+=) dy[o, j, i] and, if set, 0 elsewhere. dx: outer x n x inner; dy: outer x k x
/// inner.
template <class T>
void sort_backward(Cpu, const T* dy, const Index* indices, T* dx, Index outer, Index n, Index inner, Index k,
                   Write write) {
  if (write == Write::set) fill_elements(dx, outer * n * inner, T(0));
  if (outer * inner * k == 0) return;
  parallel_for(outer, memory_grain / (k * inner), [=](Index begin, Index end) {
    for (Index o = begin; o < end; ++o)
      for (Index j = 0; j < k; ++j)
        for (Index i = 0; i < inner; ++i) {
          const Index at = (o * k + j) * inner + i;
          dx[(o * n + indices[at]) * inner + i] += dy[at];
        }
  });
}

/// The element at `position`, in [0, n - 1], of each fiber in ascending order, linear between neighbours; NaN if the
/// fiber holds one.  x: outer x n x inner, n > 0; y: outer x inner.
template <class T>
void order_statistic(Cpu, const T* x, T* y, Index outer, Index n, Index inner, double position) {
  if (outer * inner == 0) return;
  parallel_for(outer * inner, 4096 / n, [=](Index begin, Index end) {
    const Ref<Storage> memory = Storage::allocate(static_cast<std::size_t>(n) * sizeof(T), Device::cpu);
    T* const items = static_cast<T*>(memory->data());
    for (Index f = begin; f < end; ++f) {
      const T* const from = x + f / inner * n * inner + f % inner;
      bool ordered = true;
      for (Index i = 0; i < n; ++i) items[i] = from[i * inner], ordered = ordered && items[i] == items[i];
      if (!ordered) {
        y[f] = std::numeric_limits<T>::quiet_NaN();
        continue;
      }
      const Index lower = static_cast<Index>(position);
      std::nth_element(items, items + lower, items + n);
      const T low = items[lower];
      const double part = position - static_cast<double>(lower);
      if (part > 0) {
        const T high = *std::min_element(items + lower + 1, items + n);
        y[f] = static_cast<T>(static_cast<double>(low) + part * (static_cast<double>(high) - static_cast<double>(low)));
      } else {
        y[f] = low;
      }
    }
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
