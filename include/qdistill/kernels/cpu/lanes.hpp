/// Vectors of floats as wide as a register of the instruction set in force. Arithmetic on wider ones works too, but the
/// compiler shuffles those element by element.
#pragma once

#include <cstring>

#include "qdistill/core/isa.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels::detail {

#if defined(__GNUC__)

using Lanes4 = float __attribute__((vector_size(16)));
using Lanes8 = float __attribute__((vector_size(32)));
using Lanes16 = float __attribute__((vector_size(64)));

template <class V>
inline constexpr int lane_count = static_cast<int>(sizeof(V) / sizeof(float));

/// The lanes of the vectors that with_lanes takes.
inline Index vector_lanes() noexcept { return active_isa() == Isa::avx512 ? 16 : active_isa() == Isa::avx2 ? 8 : 4; }

/// Names a vector type without having one.
template <class V>
struct LanesOf {
  using Vector = V;
};

/// with_isa for a body `[&](auto lanes) QDISTILL_ISA_BODY` that works on decltype(lanes)::Vector.
template <class F>
QDISTILL_INLINE void with_lanes(const F& body) {
  const auto run4 = [&]() QDISTILL_ISA_BODY { body(LanesOf<Lanes4>{}); };
#if QDISTILL_X86
  const auto run8 = [&]() QDISTILL_ISA_BODY { body(LanesOf<Lanes8>{}); };
  const auto run16 = [&]() QDISTILL_ISA_BODY { body(LanesOf<Lanes16>{}); };
  if (active_isa() == Isa::avx512) return qdistill::detail::run_avx512(run16);
  if (active_isa() == Isa::avx2) return qdistill::detail::run_avx2(run8);
#endif
  qdistill::detail::run_baseline(run4);
}

template <class V>
QDISTILL_INLINE void load_lanes(const float* from, V& v) noexcept {
  std::memcpy(&v, from, sizeof v);
}
template <class V>
QDISTILL_INLINE void store_lanes(float* to, const V& v) noexcept {
  std::memcpy(to, &v, sizeof v);
}

#endif

}  // namespace qdistill::inline QDISTILL_ABI::kernels::detail
