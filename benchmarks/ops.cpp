/// Every operation that tests/ops describes, forward on its `bench_shapes`, beside the roofline: the larger of the
/// time that its arithmetic takes at the machine's peak and the time that its bytes take at the speed of a copy, both
/// measured at the start. Counters: roofline (1 is the bound; above it where the data stay in a cache), gflops,
/// gbytes_per_second.
#include "common.hpp"
#include "machine.hpp"
#include "op_case.hpp"

namespace qdistill_bench {

void add_cases() {
  for (const qdistill_test::OpCase& c : qdistill_test::op_cases()) {
    if (c.bench_shapes.empty()) continue;
    add_case(
        "op/" + c.name,
        [&c](benchmark::State& state) {
          const Machine bound = machine();
          const auto args = qdistill_test::make_args<float>(c, c.bench_shapes);
          const NoGrad no_grad;
          const double seconds = timed(state, 2, [&] { benchmark::DoNotOptimize(c.run_float(args).data()); });
          const double least = std::max(c.flops / bound.flops_per_second, c.bytes / bound.bytes_per_second);
          if (least > 0) rate(state, "roofline", least, seconds);
          if (c.flops > 0) rate(state, "gflops", c.flops * 1e-9, seconds);
          if (c.bytes > 0) rate(state, "gbytes_per_second", c.bytes * 1e-9, seconds);
        },
        benchmark::kMicrosecond);
  }
}

}  // namespace qdistill_bench

int main(int argc, char** argv) {
  qdistill_bench::add_cases();
  return qdistill_bench::run(argc, argv);
}
