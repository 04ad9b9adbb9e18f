/// Weights made of codewords, and the gradient of the codewords.
#pragma once

#include <algorithm>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// out[i] (n x d) = codewords[codes[i]].  codewords (k x d), every code below k.
template <class T>
void gather_codewords(Cpu, Index n, Index d, const std::uint16_t* codes, const T* codewords, T* out) {
  parallel_for(n, std::max<Index>(1, memory_grain / d), [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const T* const word = codewords + codes[i] * d;
      T* const to = out + i * d;
      for (Index j = 0; j < d; ++j) to[j] = word[j];
    }
  });
}

/// out[c] (k x d) (=|+=) the sum of the rows of x (n x d) that have code c, or their mean (0 where there is none). The
/// rows of code c are members[first[c]] to members[first[c + 1] - 1]; they are added in that order.
template <class T>
void codeword_gradient(Cpu, Index k, Index d, const Index* first, const Index* members, const T* x, T* out, bool mean,
                       Write write) {
  const Index rows = first[k];
  parallel_for(k, std::max<Index>(1, k * (memory_grain / 8) / std::max<Index>(1, rows * d)),
               [=](Index begin, Index end) {
                 for (Index c = begin; c < end; ++c) {
                   const Index count = first[c + 1] - first[c];
                   const T share = mean && count > 0 ? T(1) / static_cast<T>(count) : T(1);
                   T* const to = out + c * d;
                   constexpr Index width = 32;
                   for (Index j0 = 0; j0 < d; j0 += width) {
                     const Index m = std::min(width, d - j0);
                     T sum[width] = {};
                     for (Index i = first[c]; i < first[c + 1]; ++i) {
                       const T* const from = x + members[i] * d + j0;
                       for (Index j = 0; j < m; ++j) sum[j] += from[j];
                     }
                     for (Index j = 0; j < m; ++j)
                       to[j0 + j] = (write == Write::add ? to[j0 + j] : T(0)) + share * sum[j];
                   }
                 }
               });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
