/// Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
/// 1, 2, 3"). A number is a pure function of (seed, stream, index), so it does not depend on threads or on the order of
/// evaluation, and noise can be recomputed instead of saved.
#pragma once

#include <array>
#include <cmath>

#include "qdistill/core/error.hpp"
#include "qdistill/core/isa.hpp"

namespace qdistill::inline QDISTILL_ABI {

using PhiloxBlock = std::array<std::uint32_t, 4>;

/// The 128 bits at position `block` of stream `stream` of seed `seed`.
QDISTILL_INLINE PhiloxBlock philox(std::uint64_t seed, std::uint64_t stream, std::uint64_t block) noexcept {
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  std::uint32_t c0 = static_cast<std::uint32_t>(block), c1 = static_cast<std::uint32_t>(block >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(stream), c3 = static_cast<std::uint32_t>(stream >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0, p1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

/// A stream of numbers by index. Cheap to copy; holds no state.
struct RandomStream {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  /// 32 uniform bits, number `i` of the stream.
  std::uint32_t bits(std::uint64_t i) const noexcept { return philox(seed, stream, i / 4)[i % 4]; }
  /// Uniform in [0, 1): a multiple of 2^-24.
  float uniform(std::uint64_t i) const noexcept { return static_cast<float>(bits(i) >> 8) * 0x1p-24f; }
  /// Uniform integer in [0, n), n > 0 (by the high half of a product; the bias is below n / 2^32).
  std::uint32_t below(std::uint64_t i, std::uint32_t n) const noexcept {
    return static_cast<std::uint32_t>((std::uint64_t{bits(i)} * n) >> 32);
  }
  /// Standard normal by Box and Muller; number i uses block i / 2 of a separate half of the stream space.
  double normal(std::uint64_t i) const noexcept {
    const PhiloxBlock b = philox(seed, ~stream, i / 2);
    const std::uint64_t a = (std::uint64_t{b[0]} << 32 | b[1]) >> 11, c = (std::uint64_t{b[2]} << 32 | b[3]) >> 11;
    const double u = (static_cast<double>(a) + 1.0) * 0x1p-53;  // (0, 1]
    const double v = static_cast<double>(c) * 0x1p-53;
    const double r = std::sqrt(-2.0 * std::log(u)), phi = 6.283185307179586476925 * v;
    return i % 2 ? r * std::sin(phi) : r * std::cos(phi);
  }
};

/// Hands out streams: stream 0, 1, 2, ... of one seed. Its whole state is two integers, which a checkpoint stores.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) noexcept : seed_(seed) {}
  RandomStream next() noexcept { return {seed_, counter_++}; }
  std::uint64_t seed() const noexcept { return seed_; }
  std::uint64_t counter() const noexcept { return counter_; }
  void restore(std::uint64_t seed, std::uint64_t counter) noexcept { seed_ = seed, counter_ = counter; }

 private:
  std::uint64_t seed_ = 0;
  std::uint64_t counter_ = 0;
};

/// The generator that layers and initialisers use when none is given. Not thread-safe by itself; one per thread.
inline Generator& default_generator() noexcept {
  thread_local Generator generator{0};
  return generator;
}

/// Restarts the calling thread's default generator.
inline void manual_seed(std::uint64_t seed) noexcept { default_generator().restore(seed, 0); }

/// A uniformly random permutation's image of 0 .. n-1 in `out` (Fisher and Yates).
inline void random_permutation(RandomStream stream, Index n, Index* out) noexcept {
  for (Index i = 0; i < n; ++i) out[i] = i;
  for (Index i = n - 1; i > 0; --i) {
    const Index j = static_cast<Index>(stream.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(i + 1)));
    const Index t = out[i];
    out[i] = out[j], out[j] = t;
  }
}

}  // namespace qdistill::inline QDISTILL_ABI
