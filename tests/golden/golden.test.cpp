/// Runs every golden case whose operation some OpCase or test registered, in whatever folder QDISTILL_GOLDEN_DIR names.
#include "golden.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "conv_mode.hpp"

namespace qdistill_test {

namespace {

/// Topics of operations that the library does not have yet; in every other one each case is run.
const std::set<std::string>& topics_to_come() {
  static const std::set<std::string> topics = {"attention", "bleu", "conv_transpose2d", "lstm", "model_seq2seq"};
  return topics;
}

void print_row(const std::string& topic, int passed, int failed, int uncovered, const std::string& which) {
  std::printf("golden %-26s %4d passed %4d failed %4d not yet covered%s%s\n", topic.c_str(), passed, failed, uncovered,
              which.empty() ? "" : ":", which.c_str());
}

/// parameter_counts.json: a number for each network.
int check_counts(const nlohmann::json& counts, bool own) {
  int passed = 0, failed = 0, uncovered = 0;
  std::string which;
  for (const auto& [network, expected] : counts.items()) {
    const auto count = golden_counts().find(network);
    if (count == golden_counts().end()) {
      ++uncovered, which += ' ' + network;
      continue;
    }
    INFO(network);
    const Index got = count->second();
    CHECK(got == expected.get<Index>());
    got == expected.get<Index>() ? ++passed : ++failed;
  }
  print_row("parameter_counts", passed, failed, uncovered, which);
  if (own) CHECK(which.empty());
  return passed;
}

}  // namespace

TEST_CASE("golden cases", "[golden]") {
  const char* const other = std::getenv("QDISTILL_GOLDEN_DIR");
  const bool own = !other || !*other;  // another folder may hold operations that no test knows
  std::vector<std::filesystem::path> topics;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir()))
    if (entry.path().extension() == ".json") topics.push_back(entry.path());
  std::sort(topics.begin(), topics.end());
  REQUIRE(!topics.empty());
  const WithConvMode exact(ConvMode::exact);  // Winograd's rounding has its own test, kernels/conv_winograd.test.cpp
  int total_passed = 0;
  for (const auto& path : topics) {
    std::ifstream in(path);
    const auto topic = nlohmann::json::parse(in);
    if (topic.contains("counts")) total_passed += check_counts(topic.at("counts"), own);
    if (!topic.contains("cases") || !topic.contains("tensors")) continue;  // not a topic of tensors
    const std::string name = topic.value("topic", path.stem().string());
    const io::SafetensorsFile file = io::load_safetensors((path.parent_path() / topic.at("tensors")).string());
    int passed = 0, failed = 0, uncovered = 0;
    std::string first_uncovered;
    for (const auto& json : topic.at("cases")) {
      GoldenCase c(json, file);
      const auto handler = golden_handlers().find(c.op());
      if (handler == golden_handlers().end()) {
        ++uncovered;
        if (first_uncovered.find(c.op()) == std::string::npos) first_uncovered += ' ' + c.op();
        continue;
      }
      INFO(name << ": " << c.name());
      try {
        handler->second(c);
        for (const auto& output : json.at("outputs")) {
          const auto& done = c.compared();
          if (std::find(done.begin(), done.end(), output.get<std::string>()) == done.end())
            c.fail_with(output.get<std::string>() + ": not compared by the handler");
        }
      } catch (const std::exception& e) {
        c.fail_with(e.what());
      }
      for (const auto& failure : c.failures()) {
        UNSCOPED_INFO(failure);
        CHECK(false);
      }
      c.failures().empty() ? ++passed : ++failed;
    }
    print_row(name, passed, failed, uncovered, first_uncovered);
    if (own && topics_to_come().count(name) == 0) {
      INFO(name << ": not covered:" << first_uncovered);
      CHECK(uncovered == 0);
    }
    total_passed += passed;
  }
  CHECK(total_passed > 0);
  CHECK(live_nodes() == 0);
}

}  // namespace qdistill_test
