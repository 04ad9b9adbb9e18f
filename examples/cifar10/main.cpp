/// cifar10: teacher -> distilled student -> quantized -> packed file -> run from the file, on generated digits or on
/// CIFAR-10 (Polino, Pascanu, Alistarh 2018), by any of the library's methods. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "../common/interrupt.hpp"
#include "../common/run.hpp"
#include "compare.hpp"
#include "program.hpp"

namespace {

using namespace qdistill;

/// The options; those that were not given leave the preset's settings.
struct Options {
  examples::RunOptions run;
  std::string preset = "quick", data, teacher, student;
  std::vector<std::string> methods, students;
  std::vector<int> bits;
  std::vector<std::uint64_t> seeds = {1};
  double lambda = 0;
  int activation_bits = 0;
  bool resume = false;

  cifar10::Settings settings() const {
    cifar10::Settings s = cifar10::preset(preset, !data.empty());
    s.data = data;
    if (!teacher.empty()) s.teacher = teacher;
    if (!student.empty()) s.student = student;
    if (!methods.empty()) s.methods = methods;
    if (!bits.empty()) s.bits = bits;
    if (lambda > 0) s.lambda = lambda;
    s.activation_bits = activation_bits;
    return s;
  }
};

std::string methods_help() {
  std::string out = "methods of compression (default: the preset's):";
  for (const cifar10::Method& m : cifar10::methods()) out += text("\n", m.name, ": ", m.about);
  return out;
}

/// The command that goes on with a run that was stopped: the same, with its name, and --resume.
std::string command_to_resume(std::vector<std::string> arguments, const Options& o) {
  const auto given = [&](const char* option) {
    for (const std::string& a : arguments)
      if (a == option || a.rfind(std::string(option) + '=', 0) == 0) return true;
    return false;
  };
  if (!given("--name")) arguments.insert(arguments.end(), {"--name", o.run.name});
  if (!given("--resume")) arguments.push_back("--resume");
  return train::shell_command(arguments);
}

/// Each student with each seed as a run of its own in runs/NAME/STUDENT-SEED, then all in one comparison. Runs of one
/// seed share the teacher. What is finished is kept, what was begun goes on.
void sweep(const Options& o, const std::vector<std::string>& arguments, train::ProgressSink& progress,
           const std::atomic<bool>& stop) {
  const std::string root = o.run.folder();
  const std::vector<std::string> students =
      o.students.empty() ? std::vector<std::string>{o.settings().student} : o.students;
  std::vector<std::string> folders;
  for (const std::uint64_t seed : o.seeds) {
    const std::string teacher = text(root, "/teacher-", seed);
    std::filesystem::create_directories(teacher);
    for (const std::string& student : students) {
      cifar10::Settings s = o.settings();
      s.seed = seed, s.student = student;
      folders.push_back(text(root, '/', student, '-', seed));
      if (std::filesystem::exists(folders.back() + "/result.json")) continue;
      const bool begun = std::filesystem::exists(folders.back() + "/manifest.json");
      cifar10::Program(s, folders.back(), begun, arguments, progress, stop, teacher).run();
    }
  }
  cifar10::compare(folders, root, progress);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a teacher and a student, distills, quantizes and packs it; writes runs/NAME/report.html.");
  Options o;
  std::vector<std::string> folders;
  std::string folder, out = "runs/comparison";
  app.add_option("--preset", o.preset, "tiny, quick, standard, paper or authors")->capture_default_str();
  app.add_option("--data", o.data, "folder of CIFAR-10 in its binary layout; without it digits are generated");
  app.add_option("--methods", o.methods, methods_help())->delimiter(',');
  app.add_option("--bits", o.bits, "bits of the methods that have them (default: 2,4,8)")->delimiter(',');
  app.add_option("--lambda", o.lambda, "DiffQ: weight of a MB of the model's size in the loss (default: the preset's)")
      ->check(CLI::PositiveNumber);
  app.add_option("--activation-bits", o.activation_bits,
                 "bits of the student's activations, by PACT in place of the ReLU (default: not quantized)")
      ->check(CLI::Range(1, 16));
  app.add_option("--teacher", o.teacher, "network (default: the preset's): " + cifar10::network_names());
  app.add_option("--student", o.student, "network, as --teacher");
  o.run.add_to(app, "the preset's, numbered if it exists");
  app.add_option("--seed,--seeds", o.seeds, "seed of everything random; several for a sweep")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--resume", o.resume, "go on with the run of that name from its last checkpoint");
  auto* const verify = app.add_subcommand("verify", "evaluate a finished run's packed files and compare");
  verify->add_option("folder", folder, "runs/NAME")->required();
  auto* const sweeping =
      app.add_subcommand("sweep", "runs of several students and seeds, and their comparison; --name is needed")
          ->fallthrough();
  sweeping->add_option("--students", o.students, "networks, as --teacher")->delimiter(',');
  auto* const comparing = app.add_subcommand("compare", "one table and one picture of finished runs");
  comparing->add_option("folders", folders, "runs/NAME ...")->required();
  comparing->add_option("--out", out, "folder of compare.html, .csv and .md")->capture_default_str();
  app.require_subcommand(0, 1);
  CLI11_PARSE(app, argc, argv);

  try {
    o.run.set_threads();
    if (verify->parsed()) return cifar10::Program::verify(folder) ? 1 : 0;
    train::TerminalProgress progress;
    if (comparing->parsed()) {
      cifar10::compare(folders, out, progress);
      return 0;
    }
    if (o.run.name.empty()) {
      check(!o.resume && !sweeping->parsed(), "cifar10", "--resume and sweep need --name, the run to go on with");
      o.run.name = train::fresh_run_name(o.run.runs, o.preset);
    }
    const std::atomic<bool>& stop = examples::stop_on_interrupt();
    const std::vector<std::string> arguments(argv, argv + argc);
    try {
      if (sweeping->parsed()) {
        sweep(o, arguments, progress, stop);
        return 0;
      }
      check(o.seeds.size() == 1, "cifar10", "got ", o.seeds.size(), " seeds, expected one. HINT: cifar10 sweep");
      cifar10::Settings settings = o.settings();
      settings.seed = o.seeds[0];
      cifar10::Program(settings, o.run.folder(), o.resume, arguments, progress, stop).run();
    } catch (const cifar10::Interrupted&) {
      const std::string again = sweeping->parsed() ? train::shell_command(arguments) : command_to_resume(arguments, o);
      std::fprintf(stderr, "Stopped; the checkpoint is written. To go on:\n  %s\n", again.c_str());
      return 130;
    }
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
