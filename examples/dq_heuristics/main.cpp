/// dq_heuristics: which heuristics of differentiable quantization matter (Polino, Pascanu, Alistarh 2018, tables 29 and
/// 30): redistribution of points x quantile or uniform start x distillation or normal loss, at 2 and 4 bits, from one
/// trained network, on generated digits or on CIFAR-10. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "../common/interrupt.hpp"
#include "../common/run.hpp"
#include "study.hpp"

int main(int argc, char** argv) {
  using namespace qdistill;
  CLI::App app(
      "Trains a network, quantizes it by differentiable quantization with each choice of heuristics, and prints the "
      "table; writes runs/NAME/report.html. Run it again with the same --name to go on after the last finished cell.");
  dq_heuristics::Settings s;
  examples::RunOptions run{.name = "dq_heuristics"};
  std::string preset = "quick";
  app.add_option("--preset", preset, "quick, or paper: student 1, the published budget")->capture_default_str();
  app.add_option("--data", s.data, "folder of CIFAR-10 in its binary layout; without it digits are generated");
  app.add_option("--network", s.network,
                 "checkpoint of the trained network, e.g. state/student-distilled.safetensors of a run of cifar10; "
                 "without it one is trained on the labels");
  app.add_option("--bits", s.bits, "bits of the points before redistribution")->capture_default_str();
  auto* const images = app.add_option("--images", s.images, "training images, validation included (default: preset)");
  auto* const train_epochs = app.add_option("--train-epochs", s.train_epochs, "of the network (default: preset)");
  auto* const epochs = app.add_option("--epochs", s.epochs, "of each cell (default: preset)");
  auto* const lr = app.add_option("--lr", s.lr, "of the points (default: preset)");
  run.add_to(app, run.name);
  app.add_option("--seed", s.seed, "seed of everything random")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  try {
    run.set_threads();
    dq_heuristics::Settings chosen = dq_heuristics::preset(preset);
    chosen.data = s.data, chosen.network = s.network, chosen.bits = s.bits, chosen.seed = s.seed;
    if (*images) chosen.images = s.images;
    if (*train_epochs) chosen.train_epochs = s.train_epochs;
    if (*epochs) chosen.epochs = s.epochs;
    if (*lr) chosen.lr = s.lr;
    const std::atomic<bool>& stop = examples::stop_on_interrupt();
    train::TerminalProgress progress;
    const std::vector<std::string> arguments(argv, argv + argc);
    dq_heuristics::Study study(chosen, run.folder(), arguments, progress, stop);
    if (study.run()) return 0;
    std::fprintf(stderr, "Stopped. To go on after the last finished cell, run the same command again:\n  %s\n",
                 train::shell_command(arguments).c_str());
    return 130;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
