/// The library's version. CMake reads it from here; file formats are versioned on their own.
#pragma once

#define QDISTILL_VERSION_MAJOR 0
#define QDISTILL_VERSION_MINOR 1
#define QDISTILL_VERSION_PATCH 0
#define QDISTILL_VERSION_STRING "0.1.0"
