/// What a program was built from: set by examples/CMakeLists.txt, empty elsewhere.
#pragma once

#if !defined(QDISTILL_EXAMPLE_COMMIT)
#define QDISTILL_EXAMPLE_COMMIT ""
#endif
#if !defined(QDISTILL_EXAMPLE_FLAGS)
#define QDISTILL_EXAMPLE_FLAGS ""
#endif
