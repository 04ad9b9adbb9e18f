/// The rules of the source tree as functions on its text: which folder may include which, what may be included where,
/// what a header may not contain. Each returns the breaches it finds, as "file: what".
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace frame {

/// Path below include/ (as "qdistill/core/error.hpp") to text.
using Tree = std::map<std::string, std::string>;
using Breaches = std::vector<std::string>;

inline Tree read_tree(const std::filesystem::path& include) {
  Tree tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(include)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    tree[std::filesystem::relative(entry.path(), include).generic_string()] =
        std::string(std::istreambuf_iterator<char>(file), {});
  }
  return tree;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') lines.emplace_back();
    else lines.back() += c;
  }
  return lines;
}

/// What stands between the quotes or angle brackets of a file's includes; quoted ones without their quotes, system ones
/// as "<vector>".
inline std::vector<std::string> includes_of(const std::string& text) {
  static const std::regex include(R"(^\s*#\s*include\s*(?:"([^"]+)\"|(<[^>]+>)))");
  std::vector<std::string> found;
  for (const std::string& line : lines_of(text)) {
    std::smatch match;
    if (std::regex_search(line, match, include)) found.push_back(match[1].matched ? match[1].str() : match[2].str());
  }
  return found;
}

/// "core" for "qdistill/core/error.hpp", "" for the umbrella header.
inline std::string folder_of(const std::string& path) {
  const auto first = path.find('/'), second = path.find('/', first + 1);
  return second == std::string::npos ? std::string{} : path.substr(first + 1, second - first - 1);
}

/// Folder to the folders that it may include besides itself. "nn/parameter" allows nn/parameter.hpp alone.
inline const std::map<std::string, std::set<std::string>>& layers() {
  static const std::map<std::string, std::set<std::string>> table = {
      {"core", {}},
      {"kernels", {"core"}},
      {"autograd", {"core"}},
      {"ops", {"core", "kernels", "autograd"}},
      {"encoding", {"core", "kernels"}},
      {"nn", {"core", "kernels", "autograd", "ops", "encoding"}},
      {"optim", {"core", "kernels", "autograd", "ops", "nn/parameter"}},
      {"io", {"core", "encoding"}},
      {"quant", {"core", "kernels", "autograd", "ops", "encoding", "nn", "io"}},
      {"data", {"core"}},
      {"text", {"core"}},
      {"models", {"core", "kernels", "autograd", "ops", "encoding", "nn"}},
      {"train", {"core", "kernels", "autograd", "ops", "encoding", "nn", "optim", "data", "io"}},
      {"distill", {"core", "kernels", "autograd", "ops", "encoding", "nn", "optim", "data", "io", "quant", "train"}},
      {"runtime", {"core", "kernels", "encoding", "io"}},
  };
  return table;
}

/// Every include between folders is an arrow of the table, and every included file exists.
inline Breaches layer_breaches(const Tree& tree) {
  Breaches breaches;
  for (const auto& [path, text] : tree) {
    const std::string folder = folder_of(path);
    if (folder.empty()) {
      if (path != "qdistill/qdistill.hpp") breaches.push_back(path + ": lies in no folder");
      continue;
    }
    const auto row = layers().find(folder);
    if (row == layers().end()) {
      breaches.push_back(path + ": folder '" + folder + "' is not in the table of layers");
      continue;
    }
    for (const std::string& include : includes_of(text)) {
      if (include.front() == '<') {
        if (include.rfind("<qdistill/", 0) == 0) breaches.push_back(path + ": " + include + ", expected quotes");
        continue;
      }
      if (!tree.count(include)) {
        breaches.push_back(path + ": \"" + include + "\" is not a file of the library");
        continue;
      }
      const std::string to = folder_of(include);
      const std::string stem = include.substr(sizeof "qdistill/" - 1, include.rfind('.') - sizeof "qdistill/" + 1);
      if (to != folder && !row->second.count(to) && !row->second.count(stem))
        breaches.push_back(path + ": " + folder + " may not include " + include);
    }
  }
  return breaches;
}

/// No file includes itself, directly or through others.
inline Breaches cycle_breaches(const Tree& tree) {
  Breaches breaches;
  std::map<std::string, int> state;  // 0 not seen, 1 on the path, 2 done
  struct Frame {
    std::string path;
    std::vector<std::string> todo;
  };
  for (const auto& [start, unused] : tree) {
    if (state[start]) continue;
    std::vector<Frame> stack{{start, includes_of(tree.at(start))}};
    state[start] = 1;
    while (!stack.empty()) {
      if (stack.back().todo.empty()) {
        state[stack.back().path] = 2;
        stack.pop_back();
        continue;
      }
      const std::string next = stack.back().todo.back();
      stack.back().todo.pop_back();
      if (!tree.count(next) || state[next] == 2) continue;
      if (state[next] == 1) {
        breaches.push_back(stack.back().path + ": includes " + next + ", which includes it");
        continue;
      }
      state[next] = 1;
      stack.push_back({next, includes_of(tree.at(next))});
    }
  }
  return breaches;
}

/// Heavy or private headers stay where they belong.
inline Breaches forbidden_include_breaches(const Tree& tree) {
  static const std::set<std::string> light = {"core", "kernels", "autograd", "ops", "nn", "optim"};
  static const std::set<std::string> heavy = {"<iostream>", "<random>", "<regex>", "<filesystem>"};
  const auto starts = [](const std::string& s, const char* prefix) { return s.rfind(prefix, 0) == 0; };
  Breaches breaches;
  for (const auto& [path, text] : tree) {
    const std::string folder = folder_of(path);
    for (const std::string& include : includes_of(text)) {
      bool allowed = true;
      if (heavy.count(include)) allowed = !light.count(folder);
      if (include == "<iostream>") allowed = false;
      if (include == "<omp.h>") allowed = path == "qdistill/core/parallel.hpp";
      if (starts(include, "<immintrin") || starts(include, "<x86") || starts(include, "<arm_"))
        allowed = starts(path, "qdistill/kernels/cpu/");
      if (starts(include, "<nlohmann/")) allowed = folder == "io" || folder == "train";
      if (starts(include, "<Eigen/")) allowed = starts(path, "qdistill/kernels/cpu/");
      if (starts(include, "<CLI/") || starts(include, "<catch2/") || starts(include, "<benchmark/")) allowed = false;
      if (!allowed) breaches.push_back(path + ": may not include " + include);
    }
  }
  return breaches;
}

/// The files that a header's comment names as "Opt-in: qdistill/x/y.hpp".
inline std::set<std::string> opt_in(const std::string& umbrella) {
  static const std::regex name(R"(Opt-in: (qdistill/[a-z0-9_/]+\.hpp))");
  std::set<std::string> names;
  for (auto it = std::sregex_iterator(umbrella.begin(), umbrella.end(), name); it != std::sregex_iterator(); ++it)
    names.insert((*it)[1].str());
  return names;
}

/// The umbrella header reaches every header but those it names as opt-in, and none of these.
inline Breaches umbrella_breaches(const Tree& tree) {
  const std::string umbrella = "qdistill/qdistill.hpp";
  if (!tree.count(umbrella)) return {umbrella + ": missing"};
  std::set<std::string> reached;
  std::vector<std::string> todo{umbrella};
  while (!todo.empty()) {
    const std::string path = todo.back();
    todo.pop_back();
    if (!tree.count(path) || !reached.insert(path).second) continue;
    for (const std::string& include : includes_of(tree.at(path))) todo.push_back(include);
  }
  const std::set<std::string> excepted = opt_in(tree.at(umbrella));
  Breaches breaches;
  for (const auto& [path, text] : tree)
    if (!reached.count(path) && !excepted.count(path))
      breaches.push_back(path + ": not reached from " + umbrella +
                         ", nor named there as opt-in. HINT: run scripts/umbrella.sh");
  for (const std::string& path : excepted) {
    if (!tree.count(path)) breaches.push_back(umbrella + ": names " + path + ", which does not exist");
    if (reached.count(path)) breaches.push_back(umbrella + ": includes " + path + ", which it names as opt-in");
  }
  return breaches;
}

/// What a header of the library must be or may not contain, as far as its lines tell.
inline Breaches content_breaches(const Tree& tree) {
  static const std::regex comment(R"(//.*$)");
  static const std::regex definition(R"(^\s*#\s*define\s+([A-Za-z_0-9]+))");
  static const std::regex anonymous(R"(\bnamespace\s*\{)");
  static const std::regex own_namespace(R"(^\s*namespace\s+qdistill\b(?!::inline QDISTILL_ABI\b))");
  static const std::regex file_static(R"(^static\b(?!_assert))");
  static const std::regex using_namespace(R"(^using\s+namespace\b)");
  static const std::regex ifdef(R"(^\s*#\s*ifn?def\s+QDISTILL_)");
  Breaches breaches;
  for (const auto& [path, text] : tree) {
    bool once = false;
    int number = 0;
    for (std::string line : lines_of(text)) {
      ++number;
      line = std::regex_replace(line, comment, "");
      const auto breach = [&, &file = path](const std::string& what) {
        breaches.push_back(file + ":" + std::to_string(number) + ": " + what);
      };
      if (line == "#pragma once") once = true;
      std::smatch match;
      if (std::regex_search(line, match, definition) && match[1].str().rfind("QDISTILL_", 0) != 0)
        breach("macro " + match[1].str() + ", expected QDISTILL_*");
      if (std::regex_search(line, anonymous)) breach("unnamed namespace in a header");
      if (std::regex_search(line, own_namespace)) breach("namespace qdistill without ::inline QDISTILL_ABI");
      if (std::regex_search(line, file_static)) breach("static at namespace scope in a header");
      if (std::regex_search(line, using_namespace)) breach("using namespace in a header");
      if (std::regex_search(line, ifdef)) breach("a setting tested with #ifdef, expected #if");
    }
    if (!once) breaches.push_back(path + ": no #pragma once");
  }
  return breaches;
}

}  // namespace frame
