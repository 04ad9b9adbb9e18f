/// How one header serves both targets. With qdistill::qdistill (QDISTILL_COMPILED 0) templates are instantiated where
/// they are used. With qdistill::compiled (QDISTILL_COMPILED 1) a header that ends in
///
///     #if QDISTILL_COMPILED
///     namespace qdistill::inline QDISTILL_ABI::kernels {
///     QDISTILL_EXTERN template void gemm<float>(Index m, Index n, ...);
///     }
///     #endif
///
/// only declares that instantiation, and src/compiled.cpp, where QDISTILL_EXTERN is empty, makes it. The function must
/// be a template that is not marked inline.
#pragma once

#include "qdistill/core/abi.hpp"

#if !defined(QDISTILL_COMPILED)
#define QDISTILL_COMPILED 0
#endif

#if !defined(QDISTILL_EXTERN)
#define QDISTILL_EXTERN extern
#endif
