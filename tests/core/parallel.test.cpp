#include "qdistill/core/parallel.hpp"

#include <catch2/catch.hpp>
#include <mutex>
#include <set>
#include <vector>

#include "threads.hpp"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("parallel loops: every index once, in fixed chunks", "[core]") {
  for (const int threads : {1, 2, 4}) {
    const Threads guard(threads);
    for (const Index n : {0, 1, 7, 100, 1001}) {
      std::vector<int> hits(static_cast<std::size_t>(n));
      std::set<std::pair<Index, Index>> chunks;
      std::mutex mutex;
      parallel_for(n, 100, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
        const std::lock_guard lock(mutex);
        chunks.insert({begin, end});
      });
      for (const int h : hits) REQUIRE(h == 1);
      std::set<std::pair<Index, Index>> expected;
      for (Index b = 0; b < n; b += 100) expected.insert({b, std::min(b + 100, n)});
      CHECK(chunks == expected);
    }
  }
  int calls = 0;
  parallel_for(-5, 10, [&](Index, Index) { ++calls; });
  CHECK(calls == 0);
  parallel_for(3, 0, [&](Index begin, Index end) { calls += static_cast<int>(end - begin) == 1 && begin < 3; });
  CHECK(calls == 3);
}

TEST_CASE("parallel loops: an exception reaches the caller", "[core]") {
  for (const int threads : {1, 4}) {
    const Threads guard(threads);
    const auto run = [] {
      parallel_for(64, 1, [](Index begin, Index) {
        if (begin == 17) fail("chunk", "number ", begin);
      });
    };
    CHECK_THROWS_WITH(run(), "[chunk] number 17");
    int after = 0;  // the loop still works
    std::mutex mutex;
    parallel_for(8, 1, [&](Index, Index) {
      const std::lock_guard lock(mutex);
      ++after;
    });
    CHECK(after == 8);
  }
}

TEST_CASE("parallel loops: nested ones run in the calling thread", "[core]") {
  const Threads guard(4);
  std::vector<int> same(16, 0);
  parallel_for(16, 1, [&](Index outer, Index) {
    const auto id = std::this_thread::get_id();
    int good = 0;
    parallel_for(8, 1, [&](Index, Index) { good += std::this_thread::get_id() == id; });
    same[static_cast<std::size_t>(outer)] = good;
  });
  for (const int s : same) CHECK(s == 8);
}

TEST_CASE("parallel loops: thread counts out of range are refused, the host's setting is left alone", "[core]") {
  const int before = num_threads();
  CHECK_THROWS_WITH(set_num_threads(0), "[set_num_threads] got 0, expected 1 to 1024");
  CHECK_THROWS_AS(set_num_threads(-1), ValueError);
  CHECK_THROWS_AS(set_num_threads(1025), ValueError);
  CHECK(num_threads() == before);
#if defined(_OPENMP)
  const int host = omp_get_max_threads();
  {
    const Threads guard(host + 3);
    parallel_for(100, 1, [](Index, Index) {});
    CHECK(omp_get_max_threads() == host);
  }
#endif
}

}  // namespace qdistill_test
