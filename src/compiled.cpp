/// The one translation unit of qdistill::compiled: includes every header that declares compiled instantiations, with
/// QDISTILL_EXTERN empty so that the declarations become instantiations (core/compiled.hpp).
#define QDISTILL_EXTERN

#include "qdistill/core/compiled.hpp"

#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/conv_data.hpp"
#include "qdistill/kernels/cpu/conv_weights.hpp"
#include "qdistill/kernels/cpu/gemm.hpp"
