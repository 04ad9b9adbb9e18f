/// The second translation unit that includes the whole library: links only if nothing in it is defined twice.
#include "other.hpp"

#include "qdistill/qdistill.hpp"

int other_threads() { return qdistill::num_threads(); }
const void* other_setting() { return &qdistill::detail::thread_setting(); }
void other_fail() { qdistill::fail<qdistill::ShapeError>("other", "got ", 1, ", expected ", 2); }
