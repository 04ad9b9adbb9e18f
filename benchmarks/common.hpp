/// What the benchmark programs share. Cases are named as benchmarks/compare.py expects them: NAME/threads:T.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "qdistill/core/isa.hpp"
#include "qdistill/core/parallel.hpp"
#include "qdistill/core/pool.hpp"

namespace qdistill_bench {

using namespace qdistill;

/// Times one call of `step` after `warm_up` calls, and gives the seconds that all timed calls took.
template <class Step>
double timed(benchmark::State& state, int warm_up, Step step) {
  for (int i = 0; i < warm_up; ++i) step();
  reset_peak_memory();
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) step();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// `amount` of one call, in units a second of wall time (Google Benchmark's own rates count the main thread's time).
inline void rate(benchmark::State& state, const char* name, double amount, double seconds) {
  state.counters[name] = amount * static_cast<double>(state.iterations()) / seconds;
}

/// Most memory of tensors in the timed calls, and of the whole process so far, in MiB.
inline void memory_counters(benchmark::State& state) {
  state.counters["peak_tensors_mib"] = static_cast<double>(memory_stats().peak) / (1 << 20);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["peak_rss_mib"] = static_cast<double>(usage.ru_maxrss) / 1024;
}

/// Registers `body(state)` as NAME/threads:1, NAME/threads:2 and, on a machine with more, for all its threads.
template <class Body>
void add_case(const std::string& name, Body body, benchmark::TimeUnit unit = benchmark::kMillisecond) {
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  std::vector<int> counts{1, 2};
  if (all > 2) counts.push_back(all);
  for (const int threads : counts) {
    const auto run = [body, threads](benchmark::State& state) {
      set_num_threads(threads);
      body(state);
      release_cached_memory();
    };
    benchmark::RegisterBenchmark((name + "/threads:" + std::to_string(threads)).c_str(), run)->Unit(unit);
  }
}

/// Runs what was registered.
inline int run(int argc, char** argv) {
  benchmark::AddCustomContext("instruction set", name(active_isa()));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace qdistill_bench
