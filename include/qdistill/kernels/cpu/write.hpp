/// Names Write (core/write.hpp) for kernels.
#pragma once

#include "qdistill/core/write.hpp"

namespace qdistill::inline QDISTILL_ABI::kernels {

using qdistill::Write;

}  // namespace qdistill::inline QDISTILL_ABI::kernels
