/// Instruction sets, chosen at run time, and the trampoline that compiles one plain loop for each of them.
///
///   with_isa([&] QDISTILL_ISA_BODY {
///     QDISTILL_SIMD
///     for (Index i = 0; i < n; ++i) y[i] = x[i] > 0 ? x[i] : 0;
///   });
///
/// The body is forced inline into one function per instruction set, so the compiler vectorises it three times and a
/// user's plain -O2 build runs the widest one. Everything the body calls must inline too (QDISTILL_INLINE). Register
/// tiles, which need intrinsics, carry QDISTILL_TARGET_AVX512 or QDISTILL_TARGET_AVX2 themselves.
/// QDISTILL_ISA=baseline|avx2|avx512 forces one (never above what the machine has).
#pragma once

#include <cstdlib>
#include <cstring>

#include "qdistill/core/abi.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#define QDISTILL_X86 1
#else
#define QDISTILL_X86 0
#endif

#if defined(__GNUC__)
#define QDISTILL_INLINE [[gnu::always_inline]] inline
/// Goes between a lambda's parameter list (required) and its body: `[&]() QDISTILL_ISA_BODY { ... }`.
#define QDISTILL_ISA_BODY __attribute__((always_inline))
#else
#define QDISTILL_INLINE inline
#define QDISTILL_ISA_BODY
#endif

#if QDISTILL_X86
#define QDISTILL_TARGET_AVX2 [[gnu::target("avx2,fma,f16c,bmi,bmi2")]]
#define QDISTILL_TARGET_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi,bmi2")]]
#endif

/// Before a loop whose iterations are independent (or that reduces into explicit lanes).
#if QDISTILL_OPENMP
#define QDISTILL_SIMD _Pragma("omp simd")
#elif defined(__clang__)
#define QDISTILL_SIMD _Pragma("clang loop vectorize(enable)")
#elif defined(__GNUC__)
#define QDISTILL_SIMD _Pragma("GCC ivdep")
#else
#define QDISTILL_SIMD
#endif

/// Before a loop of constant length over registers; without it a tile of the matrix product runs at a third of its
/// speed.
#if defined(__clang__)
#define QDISTILL_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define QDISTILL_UNROLL _Pragma("GCC unroll 32")
#else
#define QDISTILL_UNROLL
#endif

namespace qdistill::inline QDISTILL_ABI {

enum class Isa { baseline, avx2, avx512 };

inline const char* name(Isa isa) noexcept {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "baseline";
}

// A loop marked QDISTILL_SIMD that calls a function of the C library does not vectorise; clang would warn at each use.
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpass-failed"
#endif
namespace detail {

inline Isa detect_isa() noexcept {
  Isa best = Isa::baseline;
#if QDISTILL_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = Isa::avx2;
  if (best == Isa::avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    best = Isa::avx512;
#endif
  if (const char* s = std::getenv("QDISTILL_ISA")) {
    if (!std::strcmp(s, "baseline")) return Isa::baseline;
    if (!std::strcmp(s, "avx2") && best >= Isa::avx2) return Isa::avx2;
  }
  return best;
}

#if QDISTILL_X86
template <class F>
QDISTILL_TARGET_AVX512 void run_avx512(F& f) {
  f();
}
template <class F>
QDISTILL_TARGET_AVX2 void run_avx2(F& f) {
  f();
}
#endif
template <class F>
#if defined(__clang__)
[[gnu::noinline]]  // the diagnostic is judged where the loop ends up
#endif
void run_baseline(F& f) {
  f();
}

}  // namespace detail
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

/// The instruction set in force, fixed at first use.
inline Isa active_isa() noexcept {
  static const Isa isa = detail::detect_isa();
  return isa;
}

/// Runs `body` compiled for the active instruction set; see the head of this file for how the body is written.
template <class F>
QDISTILL_INLINE void with_isa(F&& body) {
#if QDISTILL_X86
  switch (active_isa()) {
    case Isa::avx512:
      return detail::run_avx512(body);
    case Isa::avx2:
      return detail::run_avx2(body);
    case Isa::baseline:
      break;
  }
#endif
  detail::run_baseline(body);
}

}  // namespace qdistill::inline QDISTILL_ABI
