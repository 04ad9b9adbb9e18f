/// The size of the second cache, by which the matrix product groups its panels. It decides about time alone: the order
/// of a sum must not depend on it.
#pragma once

#include <algorithm>

#include "qdistill/core/abi.hpp"
#if defined(__linux__)
#include <unistd.h>
#endif

namespace qdistill::inline QDISTILL_ABI {

/// Bytes of a core's second cache, 256 KiB to 2 MiB; 512 KiB where the system does not say.
inline Index second_cache_bytes() noexcept {
  static const Index bytes = [] {
    long size = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
    size = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return size > 0 ? std::clamp<Index>(size, Index{256} << 10, Index{2} << 20) : Index{512} << 10;
  }();
  return bytes;
}

}  // namespace qdistill::inline QDISTILL_ABI
