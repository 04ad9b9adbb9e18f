/// The steps of a k-means over blocks of d values whose distance is weighted: ||A (w - c)||, A any matrix of d columns
/// (Stock et al. 2020, section 3.2).
///
/// With a matrix M of r x d and M^T M = A^T A, ||A (w - c)|| = ||M w - M c||: the search for the nearest codeword works
/// on the mapped blocks and costs the same however many rows A has. It compares ||M c||^2 / 2 - <M w, M c>, over blocks
/// that lie side by side, so that one vector holds element j of many of them:
///
///   lanes: element j of mapped block i is at [(i / width * r + j) * width + i % width], width = block_lanes
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/tensor.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// Blocks that lie side by side.
inline constexpr Index block_lanes = 64;
/// Elements that n blocks of r values take in lanes; the last lanes are filled with zeros.
inline constexpr Index lane_elements(Index n, Index r) noexcept {
  return (n + block_lanes - 1) / block_lanes * block_lanes * r;
}

namespace detail {

/// Groups of lanes that one chunk of a parallel loop takes, for d operations on each element.
inline Index lane_grain(Index work_per_block) noexcept {
  return std::max<Index>(1, (Index{1} << 18) / (block_lanes * std::max<Index>(1, work_per_block)));
}

/// y_i = sum over j of map[i, j] x_j, in lanes.  map (r x d), x (d), y (r).
template <class T>
QDISTILL_INLINE void map_lanes(Index r, Index d, const T* __restrict map, const T* __restrict x, T* __restrict y) {
  for (Index i = 0; i < r; ++i) {
    T* __restrict const to = y + i * block_lanes;
    QDISTILL_SIMD
    for (Index l = 0; l < block_lanes; ++l) to[l] = 0;
    for (Index j = 0; j < d; ++j) {
      const T factor = map[i * d + j];
      const T* __restrict const from = x + j * block_lanes;
      QDISTILL_SIMD
      for (Index l = 0; l < block_lanes; ++l) to[l] += factor * from[l];
    }
  }
}

/// The codewords nearest to one group of block_lanes blocks; see nearest_codewords.
template <class T>
QDISTILL_INLINE void nearest_in_group(Index r, const T* __restrict x, Index k, const T* __restrict codewords,
                                      const T* __restrict half_norms, Index count, std::uint16_t* __restrict codes) {
  using Code = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;  // as wide as T: one vector mask
  constexpr int per = 64 / static_cast<int>(sizeof(T)), parts = static_cast<int>(block_lanes) / per;
  T low[parts][per];
  Code best[parts][per];
  for (int p = 0; p < parts; ++p)
    for (int l = 0; l < per; ++l) low[p][l] = std::numeric_limits<T>::infinity(), best[p][l] = 0;
  for (Index c = 0; c < k; ++c) {
    const T* const word = codewords + c * r;
    const T half = half_norms[c];
    T score[parts][per];  // stays in registers
    QDISTILL_UNROLL
    for (int p = 0; p < parts; ++p) {
      QDISTILL_SIMD
      for (int l = 0; l < per; ++l) score[p][l] = half;
    }
    for (Index j = 0; j < r; ++j) {
      const T factor = word[j];
      const T* const from = x + j * block_lanes;
      QDISTILL_UNROLL
      for (int p = 0; p < parts; ++p) {
        QDISTILL_SIMD
        for (int l = 0; l < per; ++l) score[p][l] -= factor * from[p * per + l];
      }
    }
    QDISTILL_UNROLL
    for (int p = 0; p < parts; ++p) {
      QDISTILL_SIMD
      for (int l = 0; l < per; ++l) {
        // Bits in place of a choice, which g++ 12 makes a branch and a masked store.
        const Code nearer = -static_cast<Code>(score[p][l] < low[p][l]);
        best[p][l] ^= (best[p][l] ^ static_cast<Code>(c)) & nearer;
        low[p][l] = score[p][l] < low[p][l] ? score[p][l] : low[p][l];
      }
    }
  }
  for (Index l = 0; l < count; ++l) codes[l] = static_cast<std::uint16_t>(best[l / per][l % per]);
}

}  // namespace detail

/// lanes = map (w - center).  w (n x d), center (d), map (r x d) or null for the identity (then r = d).
template <class T>
void blocks_to_lanes(Cpu, Index n, Index d, Index r, const T* w, const T* center, const T* map, T* lanes) {
  const Index groups = (n + block_lanes - 1) / block_lanes;
  parallel_for(groups, detail::lane_grain(map ? r * d : d), [=](Index begin, Index end) {
    Tensor<T> scratch = map ? Tensor<T>::empty({d, block_lanes}) : Tensor<T>{};
    T* const temporary = scratch.data();
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index g = begin; g < end; ++g) {
        const Index count = std::min(block_lanes, n - g * block_lanes);
        const T* const from = w + g * block_lanes * d;
        T* const out = lanes + g * block_lanes * r;
        T* const to = map ? temporary : out;
        for (Index l = 0; l < count; ++l)
          for (Index j = 0; j < d; ++j) to[j * block_lanes + l] = from[l * d + j] - center[j];
        for (Index l = count; l < block_lanes; ++l)
          for (Index j = 0; j < d; ++j) to[j * block_lanes + l] = 0;
        if (map) detail::map_lanes(r, d, map, temporary, out);
      }
    });
  });
}

/// codes[i] = the codeword nearest to block i, the first of equally near ones.  lanes: n mapped blocks of r values;
/// codewords (k x r), mapped in the same way; half_norms[c] = ||codeword c||^2 / 2.  k is 1 to 65536.
template <class T>
void nearest_codewords(Cpu, Index n, Index r, const T* lanes, Index k, const T* codewords, const T* half_norms,
                       std::uint16_t* codes) {
  parallel_for((n + block_lanes - 1) / block_lanes, detail::lane_grain(k * (r + 2)), [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index g = begin; g < end; ++g)
        detail::nearest_in_group(r, lanes + g * block_lanes * r, k, codewords, half_norms,
                                 std::min(block_lanes, n - g * block_lanes), codes + g * block_lanes);
    });
  });
}

/// sums[c] (k x d) = sum of the blocks with code c; counts[c] = how many.  w (n x d).
template <class T>
void cluster_sums(Cpu, Index n, Index d, const T* w, const std::uint16_t* codes, Index k, double* sums, Index* counts) {
  // A number of parts that follows from the sizes alone: the sums are the same bits with any number of threads.
  const Index parts = std::max<Index>(1, std::min<Index>({16, n / 4096, (Index{1} << 22) / (k * d)}));
  const Index part = (n + parts - 1) / parts;
  Tensor<double> partial = Tensor<double>::empty({parts, k, d});
  Tensor<Index> members = Tensor<Index>::empty({parts, k});
  double* const all_sums = partial.data();
  Index* const all_counts = members.data();
  parallel_for(parts, 1, [=](Index begin, Index end) {
    for (Index p = begin; p < end; ++p) {
      double* const sum = all_sums + p * k * d;
      Index* const count = all_counts + p * k;
      std::fill(sum, sum + k * d, 0.0), std::fill(count, count + k, Index{0});
      for (Index i = p * part, last = std::min(n, i + part); i < last; ++i) {
        double* const to = sum + codes[i] * d;
        for (Index j = 0; j < d; ++j) to[j] += static_cast<double>(w[i * d + j]);
        ++count[codes[i]];
      }
    }
  });
  for (Index i = 0; i < k * d; ++i) {
    sums[i] = 0;
    for (Index p = 0; p < parts; ++p) sums[i] += all_sums[p * k * d + i];
  }
  for (Index c = 0; c < k; ++c) {
    counts[c] = 0;
    for (Index p = 0; p < parts; ++p) counts[c] += all_counts[p * k + c];
  }
}

/// The sum over all blocks of ||map (w_i - codeword of i)||^2.  w (n x d), map (r x d), codewords (k x d).
template <class T>
double codeword_error(Cpu, Index n, Index d, Index r, const T* w, const std::uint16_t* codes, const T* codewords,
                      const T* map) {
  const Index groups = (n + block_lanes - 1) / block_lanes, grain = detail::lane_grain(r * d);
  Tensor<double> partial = Tensor<double>::empty({(groups + grain - 1) / grain});
  double* const sums = partial.data();
  parallel_for(groups, grain, [=](Index begin, Index end) {
    Tensor<T> scratch = Tensor<T>::empty({d + r, block_lanes});
    T* const x = scratch.data();
    T* const y = x + d * block_lanes;
    double sum = 0;
    with_isa([=, &sum]() QDISTILL_ISA_BODY {
      for (Index g = begin; g < end; ++g) {
        const Index first = g * block_lanes, count = std::min(block_lanes, n - first);
        for (Index l = 0; l < block_lanes; ++l) {
          const Index i = first + std::min(l, count - 1);
          const T* const word = codewords + codes[i] * d;
          for (Index j = 0; j < d; ++j) x[j * block_lanes + l] = l < count ? w[i * d + j] - word[j] : T(0);
        }
        detail::map_lanes(r, d, map, x, y);
        T lane[block_lanes] = {};
        for (Index i = 0; i < r; ++i) {
          QDISTILL_SIMD
          for (Index l = 0; l < block_lanes; ++l) lane[l] += y[i * block_lanes + l] * y[i * block_lanes + l];
        }
        for (Index l = 0; l < block_lanes; ++l) sum += static_cast<double>(lane[l]);
      }
    });
    sums[begin / grain] = sum;
  });
  double sum = 0;
  for (Index i = 0; i < partial.numel(); ++i) sum += sums[i];
  return sum;
}

/// gram (d x d) += A^T A for A of `rows` x d. Only the lower triangle (i >= j) is read and written.
template <class T>
void add_gram(Cpu, Index rows, Index d, const T* a, double* gram) {
  for (Index row = 0; row < rows; ++row, a += d) {
    for (Index i = 0; i < d; ++i) {
      const double v = static_cast<double>(a[i]);
      if (v == 0) continue;  // padding, and what a ReLU cut
      double* const to = gram + i * d;
      for (Index j = 0; j <= i; ++j) to[j] += v * static_cast<double>(a[j]);
    }
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
