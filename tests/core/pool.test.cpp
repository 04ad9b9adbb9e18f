/// The pages of large blocks: first fit by address, neighbours joined, what is free given back.
#include "qdistill/core/pool.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <thread>

#include "qdistill/core/tensor.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

constexpr std::size_t page = detail::PagePool::page;

constexpr bool shared_segments = detail::PagePool::segment_bytes > 0;

/// A block of a PagePool with a pattern of its own in it.
struct Block {
  std::byte* p;
  std::size_t bytes;
  int mark;
  void fill() const { std::memset(p, mark, bytes); }
  bool intact() const {
    const auto m = static_cast<std::byte>(mark);
    return p[0] == m && p[bytes / 2] == m && p[bytes - 1] == m;
  }
};

}  // namespace

TEST_CASE("pages: the lowest address that has room, neighbours joined", "[core]") {
  if (!shared_segments) return;
  detail::PagePool pool;
  std::byte* const a = pool.allocate(4 * page);
  std::byte* const b = pool.allocate(2 * page);
  std::byte* const c = pool.allocate(3 * page);
  std::byte* const d = pool.allocate(page);
  CHECK(reinterpret_cast<std::uintptr_t>(a) % page == 0);
  CHECK(b == a + 4 * page);
  CHECK(c == b + 2 * page);
  CHECK(d == c + 3 * page);
  CHECK(pool.cached() == 0);
  pool.release(c, 3 * page);
  CHECK(pool.cached() == 3 * page);
  CHECK(pool.allocate(4 * page) == d + page);  // too large for what is free
  CHECK(pool.allocate(page) == c);             // the rest of it stays
  CHECK(pool.cached() == 2 * page);
  pool.release(c, page);
  pool.release(a, 4 * page);
  CHECK(pool.cached() == 7 * page);
  CHECK(pool.allocate(2 * page) == a);  // not the tighter hole behind b
  pool.release(a, 2 * page);
  pool.release(b, 2 * page);  // joins both sides
  CHECK(pool.cached() == 9 * page);
  CHECK(pool.allocate(9 * page) == a);
  pool.release(a, 9 * page);
  pool.release(d, page);
  pool.release(d + page, 4 * page);
  CHECK(pool.cached() == 14 * page);
  CHECK(pool.allocate(20 * page) == a);  // what was used and what never was are one range
  CHECK(pool.cached() == 0);
  pool.release(a, 20 * page);
  CHECK(pool.cached() == 20 * page);
  pool.trim();
  CHECK(pool.cached() == 0);
}

TEST_CASE("pages: giving back keeps what is in use", "[core]") {
  detail::PagePool pool;
  const std::size_t large = std::size_t{300} << 20;  // larger than a segment
  std::byte* const first = pool.allocate(8 * page);
  Block held{pool.allocate(5 * page), 5 * page, 7};
  held.fill();
  std::byte* const own = pool.allocate(large);
  own[0] = own[large - 1] = std::byte{1};
  pool.release(first, 8 * page), pool.release(own, large);
  CHECK(pool.cached() == 8 * page + large);
  pool.trim();
#if defined(__linux__)
  CHECK(pool.cached() == 0);
#endif
  CHECK(held.intact());
  if (shared_segments) CHECK(pool.allocate(8 * page) == first);  // the hole is still there to be used
  pool.release(held.p, held.bytes);
  pool.trim();
}

TEST_CASE("pages: random sizes never overlap, and a repeated pattern grows nothing", "[core]") {
  detail::PagePool pool;
  std::mt19937 random(1);
  std::vector<Block> blocks;
  std::size_t used = 0, most = 0;
  for (int i = 0; i < 3000; ++i) {
    if (blocks.size() < 20 || (blocks.size() < 60 && random() % 2 == 0)) {
      const std::size_t bytes = (1 + random() % 40) * page;
      blocks.push_back({pool.allocate(bytes), bytes, i % 251});
      blocks.back().fill();
      used += bytes, most = std::max(most, used);
    } else {
      const std::size_t k = random() % blocks.size();
      REQUIRE(blocks[k].intact());
      pool.release(blocks[k].p, blocks[k].bytes);
      used -= blocks[k].bytes;
      blocks[k] = blocks.back(), blocks.pop_back();
    }
    // What was ever handed out is never more than a small multiple of what was in use at once.
    if (shared_segments) REQUIRE(used + pool.cached() <= most * 2);
  }
  for (const Block& b : blocks) {
    REQUIRE(b.intact());
    pool.release(b.p, b.bytes);
  }
  pool.trim();
  CHECK(pool.cached() == 0);
}

TEST_CASE("pages: a step's tensors of many sizes fit into what was in use at its peak", "[core]") {
  if (!shared_segments) return;
  release_cached_memory();
  const MemoryStats start = memory_stats();
  reset_peak_memory();
  const auto step = [](Index scale) {  // results kept, then freed last to first, each with a gradient beside it
    std::vector<Tensor<float>> kept;
    for (Index i = 1; i <= 12; ++i) kept.push_back(Tensor<float>::ones({scale * i}));
    while (!kept.empty()) {
      const auto gradient = Tensor<float>::ones(kept.back().shape());
      kept.pop_back();
    }
  };
  for (const Index scale : {20000, 30000, 50000, 70000}) step(scale);
  const MemoryStats now = memory_stats();
  CHECK(now.in_use == start.in_use);
  CHECK(now.cached <= (now.peak - start.in_use) * 5 / 4);  // lists by size held the sum of the four steps
  for (const Index scale : {50000, 20000, 70000, 30000}) step(scale);
  CHECK(memory_stats().cached == now.cached);
}

TEST_CASE("pages: threads allocate and release at the same time", "[core]") {
  std::vector<std::thread> threads;
  std::atomic<bool> intact{true};
  const std::size_t before = memory_stats().in_use;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&intact, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<Tensor<float>> mine;
      for (int i = 0; i < 400; ++i) {
        const Index n = 1 + static_cast<Index>(random() % 40000);
        mine.push_back(Tensor<float>::full({n}, static_cast<float>(n)));
        if (mine.size() > 10) {
          const std::size_t k = random() % mine.size();
          const float mark = static_cast<float>(mine[k].numel());
          if (mine[k].data()[0] != mark || mine[k].data()[mine[k].numel() - 1] != mark) intact = false;
          mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(k));
        }
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(intact);
  CHECK(memory_stats().in_use == before);
}

}  // namespace qdistill_test
