#include "qdistill/core/memory.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "qdistill/core/tensor.hpp"

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("recycling memory: blocks come back, statistics follow", "[core]") {
  release_cached_memory();
  const MemoryStats start = memory_stats();
  CHECK(start.cached == 0);
  reset_peak_memory();
  const void* first = nullptr;
  {
    const auto x = Tensor<float>::empty({100000});
    first = x.data();
    const MemoryStats during = memory_stats();
    CHECK(during.in_use >= start.in_use + 400000);
    CHECK(during.in_use <= start.in_use + 400000 * 9 / 8 + 1024);  // at most 1/8 of a block is wasted
    CHECK(during.peak == during.in_use);
  }
  const MemoryStats after = memory_stats();
  CHECK(after.in_use == start.in_use);
  CHECK(after.cached >= 400000);
  CHECK(after.peak >= start.in_use + 400000);
  const auto y = Tensor<float>::empty({99999});
  CHECK(y.data() == first);
  CHECK(memory_stats().cached == 0);
  reset_peak_memory();
  CHECK(memory_stats().peak == memory_stats().in_use);
}

TEST_CASE("recycling memory: released on request only", "[core]") {
  { const auto x = Tensor<double>::empty({5000}); }
  CHECK(memory_stats().cached >= 40000);
  const std::size_t in_use = memory_stats().in_use;
  release_cached_memory();
  CHECK(memory_stats().cached == 0);
  CHECK(memory_stats().in_use == in_use);
}

TEST_CASE("recycling memory: every size is 64-byte aligned and large enough", "[core]") {
  for (Index n = 0; n < 3000; n += 61) {
    auto x = Tensor<std::uint8_t>::empty({n});
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
    if (n > 0) x.fill(255);  // a block that is too small shows under the address sanitizer
  }
}

TEST_CASE("recycling memory: requests nobody can meet are refused", "[core]") {
  const std::size_t in_use = memory_stats().in_use;
  CHECK_THROWS_AS(Storage::allocate(std::size_t{1} << 50, Device::cpu), Error);
  CHECK_THROWS_AS(Storage::allocate(~std::size_t{0} - 64, Device::cpu), Error);
  CHECK(memory_stats().in_use == in_use);
}

TEST_CASE("elementwise memory: fill, copy, add", "[core]") {
  for (const Index n : {0, 1, 15, 17, 200000}) {
    std::vector<float> a(static_cast<std::size_t>(n)), b(static_cast<std::size_t>(n));
    fill_elements(a.data(), n, 2.0f);
    copy_elements(a.data(), b.data(), n);
    add_elements(a.data(), b.data(), n);
    for (const float v : b) REQUIRE(v == 4.0f);
  }
}

TEST_CASE("handles: intrusive counts", "[core]") {
  Ref<Storage> a = Storage::allocate(10, Device::cpu);
  CHECK(a->use_count() == 1);
  {
    Ref<Storage> b = a, c;
    c = b;
    CHECK(a->use_count() == 3);
    c = std::move(b);
    CHECK(a->use_count() == 2);
    CHECK(!b);
    const Ref<Storage>& same = c;
    c = same;
    CHECK(a->use_count() == 2);
  }
  CHECK(a->use_count() == 1);
  CHECK(a == Ref<Storage>(a));
}

}  // namespace qdistill_test
