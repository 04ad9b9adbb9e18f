/// noise_is_gaussian: stochastic quantization adds noise that is unbiased and, in a scalar product, nearly normal
/// (Polino, Pascanu, Alistarh 2018, appendix B). Draws it, compares it with the exact law and the bounds, and shows two
/// cases outside the theorem where the sum stays away from the normal. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "../common/run.hpp"
#include "experiment.hpp"

int main(int argc, char** argv) {
  using namespace qdistill;
  CLI::App app(
      "Checks numerically that stochastic quantization is unbiased and that scalar products of quantized weights (and "
      "inputs) tend to the exact ones plus normal noise; prints the distances and writes runs/NAME/report.html. Exit "
      "code 1 if a bound does not hold.");
  noise_is_gaussian::Settings s;
  examples::RunOptions run;
  run.add_to(app, "noise_is_gaussian, numbered if it exists");
  app.add_option("--seed", s.seed, "seed of everything random")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  try {
    run.set_threads();
    if (run.name.empty()) run.name = train::fresh_run_name(run.runs, "noise_is_gaussian");
    train::RunRecord record = train::RunRecord::create(run.folder());
    const train::Json manifest =
        train::manifest(examples::run_info({argv, argv + argc}, s.seed, "random vectors", {},
                                           {{"draws", s.draws}, {"largest", s.largest}, {"seed", s.seed}}));
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
