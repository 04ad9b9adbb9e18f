/// The rules of the source tree hold, and the functions that check them find a breach of each.
#include "frame/include_rules.hpp"

#include <catch2/catch.hpp>

namespace {

const frame::Tree& library() {
  static const frame::Tree tree = frame::read_tree(std::filesystem::path(QDISTILL_TEST_DIR).parent_path() / "include");
  return tree;
}

std::string joined(const frame::Breaches& breaches) {
  std::string text;
  for (const std::string& breach : breaches) text += breach + "\n";
  return text;
}

}  // namespace

TEST_CASE("includes follow the table of layers") { CHECK(joined(frame::layer_breaches(library())) == ""); }
TEST_CASE("includes have no cycle") { CHECK(joined(frame::cycle_breaches(library())) == ""); }
TEST_CASE("heavy includes stay in their folders") { CHECK(joined(frame::forbidden_include_breaches(library())) == ""); }
TEST_CASE("the umbrella header reaches every header") { CHECK(joined(frame::umbrella_breaches(library())) == ""); }
TEST_CASE("headers keep the rules of content") { CHECK(joined(frame::content_breaches(library())) == ""); }

TEST_CASE("the table of layers has no cycle") {
  // Repeatedly take away the folders that include only folders already taken away.
  std::set<std::string> gone;
  for (std::size_t round = 0; round < frame::layers().size(); ++round)
    for (const auto& row : frame::layers()) {
      const auto& to = row.second;
      if (std::all_of(to.begin(), to.end(), [&](const std::string& f) { return gone.count(f.substr(0, f.find('/'))); }))
        gone.insert(row.first);
    }
  CHECK(gone.size() == frame::layers().size());
}

TEST_CASE("the rules find a breach") {
  const std::string once = "#pragma once\n";
  SECTION("an arrow that the table lacks") {
    CHECK(frame::layer_breaches(
              {{"qdistill/core/a.hpp", "#include \"qdistill/ops/b.hpp\"\n"}, {"qdistill/ops/b.hpp", ""}})
              .size() == 1);
    CHECK(frame::layer_breaches(
              {{"qdistill/ops/a.hpp", "#include \"qdistill/core/b.hpp\"\n"}, {"qdistill/core/b.hpp", ""}})
              .empty());
  }
  SECTION("a folder allowed by one file only") {
    const frame::Tree tree = {{"qdistill/nn/parameter.hpp", ""}, {"qdistill/nn/module.hpp", ""}};
    frame::Tree good = tree, bad = tree;
    good["qdistill/optim/a.hpp"] = "#include \"qdistill/nn/parameter.hpp\"\n";
    bad["qdistill/optim/a.hpp"] = "  #  include \"qdistill/nn/module.hpp\"  // why\n";
    CHECK(frame::layer_breaches(good).empty());
    CHECK(frame::layer_breaches(bad).size() == 1);
  }
  SECTION("an unknown folder, a missing file, a stray file, angle brackets") {
    CHECK(frame::layer_breaches({{"qdistill/utils/a.hpp", ""}}).size() == 1);
    CHECK(frame::layer_breaches({{"qdistill/core/a.hpp", "#include \"qdistill/core/none.hpp\"\n"}}).size() == 1);
    CHECK(frame::layer_breaches({{"qdistill/other.hpp", ""}}).size() == 1);
    CHECK(frame::layer_breaches({{"qdistill/core/a.hpp", "#include <qdistill/core/b.hpp>\n"}}).size() == 1);
  }
  SECTION("a cycle through three files, a file that includes itself") {
    CHECK(frame::cycle_breaches({{"qdistill/core/a.hpp", "#include \"qdistill/core/b.hpp\"\n"},
                                 {"qdistill/core/b.hpp", "#include \"qdistill/core/c.hpp\"\n"},
                                 {"qdistill/core/c.hpp", "#include \"qdistill/core/a.hpp\"\n"}})
              .size() == 1);
    CHECK(frame::cycle_breaches({{"qdistill/core/a.hpp", "#include \"qdistill/core/a.hpp\"\n"}}).size() == 1);
    CHECK(frame::cycle_breaches({{"qdistill/core/a.hpp", "#include \"qdistill/core/b.hpp\"\n"},
                                 {"qdistill/core/b.hpp", ""},
                                 {"qdistill/core/c.hpp", "#include \"qdistill/core/b.hpp\"\n"}})
              .empty());
  }
  SECTION("an include in the wrong place") {
    for (const char* include : {"<iostream>", "<random>", "<regex>", "<filesystem>", "<omp.h>", "<immintrin.h>",
                                "<nlohmann/json.hpp>", "<Eigen/Core>", "<CLI/CLI.hpp>"}) {
      INFO(include);
      CHECK(frame::forbidden_include_breaches({{"qdistill/ops/a.hpp", std::string("#include ") + include}}).size() ==
            1);
    }
    CHECK(frame::forbidden_include_breaches({{"qdistill/core/parallel.hpp", "#include <omp.h>"},
                                             {"qdistill/io/a.hpp", "#include <nlohmann/json.hpp>"},
                                             {"qdistill/kernels/cpu/a.hpp", "#include <immintrin.h>"}})
              .empty());
  }
  SECTION("a header that the umbrella forgets, or names twice") {
    frame::Tree tree = {{"qdistill/qdistill.hpp", "#include \"qdistill/core/a.hpp\"\n"},
                        {"qdistill/core/a.hpp", "#include \"qdistill/core/b.hpp\"\n"},
                        {"qdistill/core/b.hpp", ""}};
    CHECK(frame::umbrella_breaches(tree).empty());
    tree["qdistill/core/c.hpp"] = "";
    CHECK(frame::umbrella_breaches(tree).size() == 1);
    tree["qdistill/qdistill.hpp"] += "/// Opt-in: qdistill/core/c.hpp, since it needs Eigen.\n";
    CHECK(frame::umbrella_breaches(tree).empty());
    tree["qdistill/qdistill.hpp"] += "/// Opt-in: qdistill/core/b.hpp\n/// Opt-in: qdistill/core/none.hpp\n";
    CHECK(frame::umbrella_breaches(tree).size() == 2);
  }
  SECTION("content") {
    const auto breaches = [&](const std::string& text) {
      return frame::content_breaches({{"qdistill/core/a.hpp", once + text}}).size();
    };
    CHECK(breaches("namespace qdistill::inline QDISTILL_ABI {\nstatic_assert(true);\n  static int local;\n}\n") == 0);
    CHECK(breaches("#define MIN(a, b) a\n") == 1);
    CHECK(breaches("#define QDISTILL_MIN(a, b) a  // #define MIN\n") == 0);
    CHECK(breaches("namespace {\n") == 1);
    CHECK(breaches("namespace qdistill {\n") == 1);
    CHECK(breaches("namespace qdistill::nn {\n") == 1);
    CHECK(breaches("namespace qdistill::inline QDISTILL_ABI::nn {\n") == 0);
    CHECK(breaches("static int x = 1;\n") == 1);
    CHECK(breaches("using namespace std;\n") == 1);
    CHECK(breaches("#ifdef QDISTILL_X\n") == 1);
    CHECK(frame::content_breaches({{"qdistill/core/a.hpp", ""}}).size() == 1);
  }
}
