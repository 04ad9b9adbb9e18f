/// Build settings, always 0 or 1, and the inline namespace that carries them.
///
/// Two translation units built with different settings get different symbol names: a mismatch is a link error and
/// never a silently wrong body. The instruction set is not a setting, it is chosen at run time (core/isa.hpp).
#pragma once

#include <cstdint>

#include "qdistill/core/version.hpp"

#if !defined(QDISTILL_OPENMP)
#if defined(_OPENMP)
#define QDISTILL_OPENMP 1
#else
#define QDISTILL_OPENMP 0
#endif
#endif

#if !defined(QDISTILL_CUDA)
#define QDISTILL_CUDA 0
#endif

#define QDISTILL_ABI_JOIN2(major, minor, omp, cuda) v##major##_##minor##_omp##omp##_cuda##cuda
#define QDISTILL_ABI_JOIN(major, minor, omp, cuda) QDISTILL_ABI_JOIN2(major, minor, omp, cuda)
#define QDISTILL_ABI QDISTILL_ABI_JOIN(QDISTILL_VERSION_MAJOR, QDISTILL_VERSION_MINOR, QDISTILL_OPENMP, QDISTILL_CUDA)

namespace qdistill::inline QDISTILL_ABI {

/// Sizes, offsets and indices of elements. Signed, so that differences and OpenMP loops are plain.
using Index = std::int64_t;

}  // namespace qdistill::inline QDISTILL_ABI
