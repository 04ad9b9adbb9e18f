/// What a call says when it throws.
#pragma once

#include <string>

#include "qdistill/core/error.hpp"

namespace qdistill_test {

/// The message of the exception of type E that f throws; "no error" if it throws none.
template <class E = qdistill::Error, class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace qdistill_test
