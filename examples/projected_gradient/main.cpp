/// projected_gradient: why quantized distillation keeps full-precision weights (Polino, Pascanu, Alistarh 2018,
/// Algorithm 1 and figure 1). Naive projected gradient and the accumulation of small steps side by side, drawn on two
/// weights and measured on a small network. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "../common/build_info.hpp"
#include "qdistill/train/record.hpp"
#include "study.hpp"

int main(int argc, char** argv) {
  using namespace qdistill;
  namespace pg = projected_gradient;
  CLI::App app(
      "Trains quantized weights by projected gradient and with accumulated steps, on a bowl over two weights and on a "
      "small network; prints the tables and writes runs/NAME/report.html and bowl.svg.");
  std::string name, root = "runs";
  std::uint64_t seed = 1;
  Index epochs = 12;
  int threads = 0;
  app.add_option("--epochs", epochs, "of each training of the network; 0: no network")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  app.add_option("--name", name, "name of the run (default: projected_gradient, numbered if it exists)");
  app.add_option("--runs", root, "folder of all runs")->capture_default_str();
  app.add_option("--seed", seed, "seed of everything random")->capture_default_str();
  app.add_option("--threads", threads, "threads (default: all; results do not depend on it)");
  CLI11_PARSE(app, argc, argv);

  try {
    if (threads > 0) set_num_threads(threads);
    if (name.empty()) name = train::fresh_run_name(root, "projected_gradient");
    train::RunRecord record = train::RunRecord::create(root + '/' + name);
    const train::Json manifest = train::manifest({.arguments = {argv, argv + argc},
                                                  .commit = QDISTILL_EXAMPLE_COMMIT,
                                                  .flags = QDISTILL_EXAMPLE_FLAGS,
                                                  .seed = seed,
                                                  .data = "two weights; generated digits",
                                                  .data_checksum = {},
                                                  .settings = {{"epochs", epochs}, {"seed", seed}}});
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
    if (epochs > 0) {
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
    }
    record.write_text("report.html", pg::report_html(r, manifest));
    std::printf("report: %s\n", record.path("report.html").c_str());
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
