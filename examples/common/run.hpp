/// What the programs' runs have in common: where they are written, threads, and the fields of their manifests.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/core/parallel.hpp"
#include "qdistill/train/record.hpp"

#if !defined(QDISTILL_EXAMPLE_COMMIT)
#define QDISTILL_EXAMPLE_COMMIT ""
#endif
#if !defined(QDISTILL_EXAMPLE_FLAGS)
#define QDISTILL_EXAMPLE_FLAGS ""
#endif

namespace examples {

/// The options --name, --runs and --threads.
struct RunOptions {
  std::string name, runs = "runs";
  int threads = 0;

  /// `otherwise`: the name where none is given, for the help.
  void add_to(CLI::App& app, const std::string& otherwise) {
    app.add_option("--name", name, "name of the run (default: " + otherwise + ')');
    app.add_option("--runs", runs, "folder of all runs")->capture_default_str();
    app.add_option("--threads", threads, "threads (default: all; results do not depend on it)");
  }
  void set_threads() const {
    if (threads > 0) qdistill::set_num_threads(threads);
  }
  std::string folder() const { return runs + '/' + name; }
};

/// What a manifest records, with the commit and the flags of the build (examples/CMakeLists.txt).
inline qdistill::train::RunInfo run_info(std::vector<std::string> arguments, std::uint64_t seed, std::string data,
                                         std::string data_checksum, qdistill::train::Json settings) {
  return {.arguments = std::move(arguments),
          .commit = QDISTILL_EXAMPLE_COMMIT,
          .flags = QDISTILL_EXAMPLE_FLAGS,
          .seed = seed,
          .data = std::move(data),
          .data_checksum = std::move(data_checksum),
          .settings = std::move(settings)};
}

}  // namespace examples
