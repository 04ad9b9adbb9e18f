/// Dropout: element i is dropped when the stream's uniform number i is below p. The mask is a function of (seed,
/// stream, i) and is computed anew in the backward pass, which is the same function applied to dy.
#pragma once

#include "qdistill/core/device.hpp"
#include "qdistill/core/memory.hpp"
#include "qdistill/core/write.hpp"
#include "qdistill/kernels/cpu/math.hpp"
#include "qdistill/kernels/cpu/philox.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// y[i] (=|+=) x[i] scale where the stream's bits(i) >> 8 is at least `threshold` (p 2^24), 0 elsewhere.
template <class T>
void dropout(Cpu, const T* x, T* y, Index n, RandomStream stream, std::uint32_t threshold, T scale, Write write) {
  constexpr Index batch = 64;
  parallel_for((n + batch - 1) / batch, memory_grain / batch / 4, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index b = begin; b < end; ++b) {
        alignas(64) std::uint32_t bits[batch];
        philox_batch(stream, static_cast<std::uint64_t>(b), bits);
        const T* const from = x + b * batch;
        T* const to = y + b * batch;
        const Index count = n - b * batch < batch ? n - b * batch : batch;
        // A selection, not a product: a dropped value is 0 even if it was infinite.
        if (count == batch && write == Write::set) {
          QDISTILL_SIMD
          for (int i = 0; i < 64; ++i) to[i] = math::select((bits[i] >> 8) >= threshold, from[i] * scale, T(0));
        } else {
          for (Index i = 0; i < count; ++i) {
            const T kept = math::select((bits[i] >> 8) >= threshold, from[i] * scale, T(0));
            to[i] = write == Write::set ? kept : to[i] + kept;
          }
        }
      }
    });
  });
}

/// The same with one number for each of n rows of `inner` elements.
template <class T>
void dropout_rows(Cpu, const T* x, T* y, Index n, Index inner, RandomStream stream, std::uint32_t threshold, T scale,
                  Write write) {
  const Index grain = inner >= memory_grain ? 1 : memory_grain / (inner > 0 ? inner : 1);
  parallel_for(n, grain, [=](Index begin, Index end) {
    with_isa([=]() QDISTILL_ISA_BODY {
      for (Index r = begin; r < end; ++r) {
        const bool keep = (stream.bits(static_cast<std::uint64_t>(r)) >> 8) >= threshold;
        const T* const from = x + r * inner;
        T* const to = y + r * inner;
        if (!keep) {
          if (write == Write::add) continue;
          for (Index i = 0; i < inner; ++i) to[i] = 0;
        } else if (write == Write::set) {
          QDISTILL_SIMD
          for (Index i = 0; i < inner; ++i) to[i] = from[i] * scale;
        } else {
          QDISTILL_SIMD
          for (Index i = 0; i < inner; ++i) to[i] += from[i] * scale;
        }
      }
    });
  });
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
