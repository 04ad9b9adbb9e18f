/// Many numbers of a random stream at a time, in kernels.
#pragma once

#include "qdistill/core/isa.hpp"
#include "qdistill/core/random.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

namespace detail {

/// Philox blocks `first` to `first` + Blocks - 1 of a stream, side by side, so that the rounds vectorise. With as many
/// as a register has lanes the state stays in registers from round to round.
template <int Blocks>
QDISTILL_INLINE void philox_blocks(RandomStream stream, std::uint64_t first, std::uint32_t* __restrict out) {
  std::uint32_t c0[Blocks], c1[Blocks], c2[Blocks], c3[Blocks];
  QDISTILL_SIMD
  for (int l = 0; l < Blocks; ++l) {
    const std::uint64_t block = first + static_cast<std::uint64_t>(l);
    c0[l] = static_cast<std::uint32_t>(block), c1[l] = static_cast<std::uint32_t>(block >> 32);
    c2[l] = static_cast<std::uint32_t>(stream.stream), c3[l] = static_cast<std::uint32_t>(stream.stream >> 32);
  }
  std::uint32_t k0 = static_cast<std::uint32_t>(stream.seed), k1 = static_cast<std::uint32_t>(stream.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    QDISTILL_SIMD
    for (int l = 0; l < Blocks; ++l) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0[l], p1 = std::uint64_t{0xCD9E8D57u} * c2[l];
      c0[l] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
      c1[l] = static_cast<std::uint32_t>(p1);
      c2[l] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
      c3[l] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  QDISTILL_SIMD
  for (int l = 0; l < Blocks; ++l) {
    out[4 * l] = c0[l], out[4 * l + 1] = c1[l];
    out[4 * l + 2] = c2[l], out[4 * l + 3] = c3[l];
  }
}

}  // namespace detail

/// 64 uniform 32-bit numbers of a stream, from number 64 * batch on. The same numbers as RandomStream::bits.
QDISTILL_INLINE void philox_batch(RandomStream stream, std::uint64_t batch, std::uint32_t* out) {
  const std::uint64_t first = 16 * batch;
  if (active_isa() == Isa::avx512) return detail::philox_blocks<16>(stream, first, out);
  detail::philox_blocks<8>(stream, first, out);
  detail::philox_blocks<8>(stream, first + 8, out + 32);
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
