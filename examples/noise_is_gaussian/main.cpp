/// noise_is_gaussian: stochastic quantization adds noise that is unbiased and, in a scalar product, nearly normal
/// (Polino, Pascanu, Alistarh 2018, appendix B). Draws it, compares it with the exact law and the bounds, and shows two
/// cases outside the theorem where the sum stays away from the normal. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "../common/build_info.hpp"
#include "experiment.hpp"
#include "qdistill/train/record.hpp"

int main(int argc, char** argv) {
  using namespace qdistill;
  CLI::App app(
      "Checks numerically that stochastic quantization is unbiased and that scalar products of quantized weights (and "
      "inputs) tend to the exact ones plus normal noise; prints the distances and writes runs/NAME/report.html. Exit "
      "code 1 if a bound does not hold.");
  noise_is_gaussian::Settings s;
  std::string name, root = "runs";
  int threads = 0;
  app.add_option("--draws", s.draws, "of each sum")->capture_default_str()->check(CLI::Range(4096, 1 << 20));
  app.add_option("--largest", s.largest, "longest scalar product; lengths are 4, 16, 64, ... up to it")
      ->capture_default_str()
      ->check(CLI::IsMember({1024, 4096, 16384, 65536, 262144}));
  app.add_option("--name", name, "name of the run (default: noise_is_gaussian, numbered if it exists)");
  app.add_option("--runs", root, "folder of all runs")->capture_default_str();
  app.add_option("--seed", s.seed, "seed of everything random")->capture_default_str();
  app.add_option("--threads", threads, "threads (default: all; results do not depend on it)");
  CLI11_PARSE(app, argc, argv);

  try {
    if (threads > 0) set_num_threads(threads);
    if (name.empty()) name = train::fresh_run_name(root, "noise_is_gaussian");
    train::RunRecord record = train::RunRecord::create(root + '/' + name);
    const train::Json manifest =
        train::manifest({.arguments = {argv, argv + argc},
                         .commit = QDISTILL_EXAMPLE_COMMIT,
                         .flags = QDISTILL_EXAMPLE_FLAGS,
                         .seed = s.seed,
                         .data = "random vectors",
                         .data_checksum = {},
                         .settings = {{"draws", s.draws}, {"largest", s.largest}, {"seed", s.seed}}});
    record.write_manifest(manifest);
    const noise_is_gaussian::Results results =
        noise_is_gaussian::run(s, [&](const noise_is_gaussian::Case& c, const noise_is_gaussian::Row& row) {
          record.log().write({{"event", "sum"},
                              {"case", c.name},
                              {"n", row.n},
                              {"variance", row.law.variance},
                              {"variance_bound", row.law.variance_bound},
                              {"drawn_variance", row.law.variance * row.drawn.variance},
                              {"mean_z", row.mean_z},
                              {"skewness", row.law.skewness},
                              {"drawn_skewness", row.drawn.skewness},
                              {"excess_kurtosis", row.law.excess_kurtosis},
                              {"drawn_excess_kurtosis", row.drawn.excess_kurtosis},
                              {"distance", row.distance},
                              {"distance_bound", row.bound()},
                              {"lyapunov", row.law.lyapunov},
                              {"lyapunov_bound", row.law.lyapunov_bound}});
        });
    record.write_text("table.csv", rows_table(results).csv());
    record.write_text("checks.csv", checks_table(results).csv());
    record.write_text("report.html", report_html(results, s, manifest));
    std::printf(
        "Distance sup |F - Phi| of S_n / s_n from the normal, %lld draws (a normal sample: below %s in 95 %%).\n\n"
        "%s\nEach of 256 weights by itself.\n\n%s\n",
        static_cast<long long>(s.draws),
        train::fixed(noise_is_gaussian::sampling_distance(static_cast<double>(s.draws), 0.05), 4).c_str(),
        distance_table(results).text().c_str(), coordinates_table(results).text().c_str());
    std::size_t failed = 0;
    for (const auto& c : results.checks) {
      if (c.holds) continue;
      ++failed;
      std::printf("DOES NOT HOLD  %s: %s, limit %s\n", c.what.c_str(), train::significant(c.value).c_str(),
                  train::significant(c.limit).c_str());
    }
    std::printf("%zu of %zu checks hold.\nreport: %s\n", results.checks.size() - failed, results.checks.size(),
                record.path("report.html").c_str());
    return results.hold() ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
