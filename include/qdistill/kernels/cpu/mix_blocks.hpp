/// Blocks of one tensor or of another, by lot (Quant-Noise).
#pragma once

#include <algorithm>

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/kernels/cpu/philox.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// out[i] = a[i] where block i / size is drawn, b[i] elsewhere. Block j is drawn if the stream's bits(j) >> 8 is below
/// `threshold` (p 2^24). The last block may be short.
template <class T>
void mix_blocks(Cpu, Index n, Index size, const T* a, const T* b, T* out, RandomStream stream,
                std::uint32_t threshold) {
  constexpr Index batch = 64;
  const Index span = batch * size;
  parallel_for((n + span - 1) / span, std::max<Index>(1, memory_grain / 4 / span), [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index g = begin; g < end; ++g) {
        alignas(64) std::uint32_t bits[batch];
        philox_batch(stream, static_cast<std::uint64_t>(g), bits);
        for (Index j = 0, i = g * span; j < batch && i < n; ++j, i += size) {
          const T* const from = (bits[j] >> 8) < threshold ? a : b;
          for (Index k = i, last = n - i < size ? n : i + size; k < last; ++k) out[k] = from[k];
        }
      }
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
