/// Another version of the library, as far as the names of its symbols go.
#pragma once

#include "qdistill/core/version.hpp"
#undef QDISTILL_VERSION_MINOR
#define QDISTILL_VERSION_MINOR 999
