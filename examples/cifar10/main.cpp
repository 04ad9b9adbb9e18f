/// cifar10: teacher -> distilled student -> quantized -> packed file -> run from the file, on generated digits or on
/// CIFAR-10 (Polino, Pascanu, Alistarh 2018). See --help.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "../common/interrupt.hpp"
#include "program.hpp"
#include "qdistill/train/manifest.hpp"

int main(int argc, char** argv) {
  using namespace qdistill;
  CLI::App app("Trains a teacher and a student, distills, quantizes and packs it; writes runs/NAME/report.html.");
  std::string preset = "quick", data, name, root = "runs", folder;
  std::uint64_t seed = 1;
  int threads = 0;
  bool resume = false;
  app.add_option("--preset", preset, "quick, standard, paper or authors")->capture_default_str();
  app.add_option("--data", data, "folder of CIFAR-10 in its binary layout; without it digits are generated");
  app.add_option("--name", name, "name of the run (default: the preset's, numbered if it exists)");
  app.add_option("--runs", root, "folder of all runs")->capture_default_str();
  app.add_option("--seed", seed, "seed of everything random")->capture_default_str();
  app.add_option("--threads", threads, "threads (default: all; results do not depend on it)");
  app.add_flag("--resume", resume, "go on with the run of that name from its last checkpoint");
  auto* const verify = app.add_subcommand("verify", "evaluate a finished run's packed files and compare");
  verify->add_option("folder", folder, "runs/NAME")->required();
  CLI11_PARSE(app, argc, argv);

  try {
    if (threads > 0) set_num_threads(threads);
    if (verify->parsed()) {
      const int different = cifar10::Program::verify(folder);
      return different ? 1 : 0;
    }
    cifar10::Settings settings = cifar10::preset(preset, !data.empty());
    settings.seed = seed, settings.data = data;
    if (name.empty()) {
      check(!resume, "cifar10", "--resume needs --name, the run to go on with");
      name = train::fresh_run_name(root, preset);
    }
    const std::atomic<bool>& stop = examples::stop_on_interrupt();
    train::TerminalProgress progress;
    const std::vector<std::string> arguments(argv, argv + argc);
    cifar10::Program program(settings, root + '/' + name, resume, arguments, progress, stop);
    try {
      program.run();
    } catch (const cifar10::Interrupted&) {
      std::vector<std::string> again{argv[0], "--preset", preset, "--name", name, "--seed", std::to_string(seed)};
      if (!data.empty()) again.insert(again.end(), {"--data", data});
      if (root != "runs") again.insert(again.end(), {"--runs", root});
      if (threads > 0) again.insert(again.end(), {"--threads", std::to_string(threads)});
      again.push_back("--resume");
      std::fprintf(stderr, "Stopped; the checkpoint is written. To go on:\n  %s\n",
                   train::shell_command(again).c_str());
      return 130;
    }
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
