/// projected_gradient: why quantized distillation keeps full-precision weights (Polino, Pascanu, Alistarh 2018,
/// Algorithm 1 and figure 1). Naive projected gradient and the accumulation of small steps side by side, drawn on two
/// weights and measured on a small network. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "../common/run.hpp"
#include "study.hpp"

int main(int argc, char** argv) {
  using namespace qdistill;
  namespace pg = projected_gradient;
  CLI::App app(
      "Trains quantized weights by projected gradient and with accumulated steps, on a bowl over two weights and on a "
      "small network; prints the tables and writes runs/NAME/report.html and bowl.svg.");
  constexpr Index epochs = 12;  // of each training of the network
  std::uint64_t seed = 1;
  examples::RunOptions run;
  run.add_to(app, "projected_gradient, numbered if it exists");
  app.add_option("--seed", seed, "seed of everything random")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  try {
    run.set_threads();
    if (run.name.empty()) run.name = train::fresh_run_name(run.runs, "projected_gradient");
    train::RunRecord record = train::RunRecord::create(run.folder());
    const train::Json manifest = train::manifest(examples::run_info(
        {argv, argv + argc}, seed, "two weights; generated digits", {}, {{"epochs", epochs}, {"seed", seed}}));
    record.write_manifest(manifest);
    pg::Results r;
    for (const pg::Method m : pg::methods) {
      r.descents.push_back(pg::descend(r.bowl, m, r.start, r.lr, 100));
      const pg::Descent& d = r.descents.back();
      for (std::size_t i = 0; i < d.used.size(); ++i)
        record.log().write({{"event", "step"},
                            {"method", pg::name(m)},
                            {"step", i},
                            {"stored", d.stored[i]},
                            {"used", d.used[i]},
                            {"loss", d.loss[i]}});
    }
    r.sweeps = pg::sweep(r.bowl, {0.02, 0.05, 0.1, 0.2, 0.4, 0.8}, 100, 300, seed);
    std::printf("100 random starts on a bowl over two weights, %d bits, 300 steps.\n\n%s\n", r.bowl.bits,
                pg::sweep_table(r).text().c_str());
    std::fflush(stdout);
    record.write_text("sweep.csv", pg::sweep_table(r).csv());
    record.write_text("bowl.svg", pg::bowl_svg(r));
    train::TerminalProgress progress;
    r.trainings = pg::train_networks({2, 4, 8}, epochs, seed, progress);
    std::printf("Generated digits, %lld epochs.\n\n%s\n", static_cast<long long>(epochs),
                pg::training_table(r).text().c_str());
    record.write_text("trainings.csv", pg::training_table(r).csv());
    for (const pg::Training& t : r.trainings)
      record.log().write({{"event", "training"},
                          {"method", pg::name(t.method)},
                          {"bits", t.bits},
                          {"accuracy", t.accuracy},
                          {"test_accuracy", t.test_accuracy},
                          {"switched", t.switched},
                          {"seconds", t.seconds}});
    record.write_text("report.html", pg::report_html(r, manifest));
    std::printf("report: %s\n", record.path("report.html").c_str());
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
