/// Many numbers of a random stream at a time, in kernels.
#pragma once

#include "qdistill/core/isa.hpp"
#include "qdistill/core/random.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

/// 64 uniform 32-bit numbers of a stream, from number 64 * batch on: 16 Philox blocks side by side, so that the rounds
/// vectorise. The same numbers as RandomStream::bits.
QDISTILL_INLINE void philox_batch(RandomStream stream, std::uint64_t batch, std::uint32_t* out) {
  constexpr int blocks = 16;
  std::uint32_t c0[blocks], c1[blocks], c2[blocks], c3[blocks];
  for (int l = 0; l < blocks; ++l) {
    const std::uint64_t block = batch * blocks + static_cast<std::uint64_t>(l);
    c0[l] = static_cast<std::uint32_t>(block), c1[l] = static_cast<std::uint32_t>(block >> 32);
    c2[l] = static_cast<std::uint32_t>(stream.stream), c3[l] = static_cast<std::uint32_t>(stream.stream >> 32);
  }
  std::uint32_t k0 = static_cast<std::uint32_t>(stream.seed), k1 = static_cast<std::uint32_t>(stream.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    QDISTILL_SIMD
    for (int l = 0; l < blocks; ++l) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0[l], p1 = std::uint64_t{0xCD9E8D57u} * c2[l];
      c0[l] = static_cast<std::uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
      c1[l] = static_cast<std::uint32_t>(p1);
      c2[l] = static_cast<std::uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
      c3[l] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int l = 0; l < blocks; ++l) {
    out[4 * l] = c0[l], out[4 * l + 1] = c1[l];
    out[4 * l + 2] = c2[l], out[4 * l + 3] = c3[l];
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::kernels
