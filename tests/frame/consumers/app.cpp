// A program of a user: one header, one call, its own warnings.
#include <cstdio>
#include <vector>

#include "qdistill/qdistill.hpp"

int main() {
  std::vector<int> seen(1000);
  qdistill::set_num_threads(2);
  qdistill::parallel_for(1000, 10, [&](qdistill::Index begin, qdistill::Index end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) seen[i] += 1;
  });
  for (const int n : seen)
    if (n != 1) return 1;
  std::printf("qdistill %s, openmp %d\n", QDISTILL_VERSION_STRING, QDISTILL_OPENMP);
}
