/// Two translation units share one library: one setting, one exception type.
#include <cstdio>
#include <string>

#include "other.hpp"
#include "qdistill/qdistill.hpp"

int main() {
  qdistill::set_num_threads(3);
  if (other_threads() != 3 || other_setting() != &qdistill::detail::thread_setting()) {
    std::fprintf(stderr, "the two units have settings of their own\n");
    return 1;
  }
  try {
    other_fail();
  } catch (const qdistill::ShapeError& error) {
    if (std::string(error.what()) == "[other] got 1, expected 2") return 0;
    std::fprintf(stderr, "unexpected text: %s\n", error.what());
  }
  return 1;
}
