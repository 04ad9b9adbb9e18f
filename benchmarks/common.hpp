/// What the benchmark programs share. Cases are named as benchmarks/compare.py expects them: NAME/threads:T.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <algorithm>
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

/// Middle of the values, the upper one of two.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Medians over the pairs of calls that `alternate` timed.
struct Pairs {
  double ours = 0, other = 0;  ///< seconds of a call
  double ratio = 0;            ///< other / ours of a pair: how many times as fast ours is
};

/// Times `ours` and `other` in turn, the order changing from pair to pair, after `warm_up` calls of each: what disturbs
/// the machine meets both. The case's time is that of `ours`; it needs Clock::manual.
template <class Ours, class Other>
Pairs alternate(benchmark::State& state, int warm_up, Ours ours, Other other) {
  const auto seconds = [](auto& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (int i = 0; i < warm_up; ++i) ours(), other();
  std::vector<double> mine, its, ratios;
  for (auto _ : state) {
    const bool first = ratios.size() % 2 == 0;
    double a = first ? seconds(ours) : 0;
    const double b = seconds(other);
    if (!first) a = seconds(ours);
    state.SetIterationTime(a);
    mine.push_back(a), its.push_back(b), ratios.push_back(b / a);
  }
  return {median(mine), median(its), median(ratios)};
}

/// Whose time a case reports: that of its loop, or what its body sets (`alternate`).
enum class Clock { wall, manual };

/// Registers `body(state)` as NAME/threads:1, NAME/threads:2 and, on a machine with more, for all its threads.
template <class Body>
void add_case(const std::string& name, Body body, benchmark::TimeUnit unit = benchmark::kMillisecond,
              Clock clock = Clock::wall) {
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  std::vector<int> counts{1, 2};
  if (all > 2) counts.push_back(all);
  for (const int threads : counts) {
    const auto run = [body, threads](benchmark::State& state) {
      set_num_threads(threads);
      body(state);
      release_cached_memory();
    };
    auto* const registered =
        benchmark::RegisterBenchmark((name + "/threads:" + std::to_string(threads)).c_str(), run)->Unit(unit);
    if (clock == Clock::manual) registered->UseManualTime();
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
