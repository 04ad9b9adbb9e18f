/// Whether a kernel writes its result or adds it to what is there. Backward kernels take it, so that gradients need
/// neither a zero fill nor a temporary.
#pragma once

#include "qdistill/core/abi.hpp"

namespace qdistill::inline QDISTILL_ABI {

enum class Write { set, add };

}  // namespace qdistill::inline QDISTILL_ABI
