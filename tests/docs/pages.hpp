/// The documentation's pages as lines of text.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#if !defined(QDISTILL_TEST_DIR)
#define QDISTILL_TEST_DIR "tests"
#endif

namespace qdistill_test {

inline std::filesystem::path project_root() { return std::filesystem::path(QDISTILL_TEST_DIR) / ".."; }

inline bool starts_with(const std::string& s, const std::string& head) { return s.compare(0, head.size(), head) == 0; }

inline std::string trimmed(const std::string& s) {
  const auto first = s.find_first_not_of(" \t\r"), last = s.find_last_not_of(" \t\r");
  return first == std::string::npos ? std::string() : s.substr(first, last - first + 1);
}

inline std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  INFO(path.string());
  REQUIRE(in.good());
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

/// README.md, CONTRIBUTING.md and all pages of docs/, but not the generated reference.
inline std::vector<std::filesystem::path> pages() {
  std::vector<std::filesystem::path> out{project_root() / "README.md", project_root() / "CONTRIBUTING.md"};
  for (const auto& folder : {"docs", "docs/results"})
    for (const auto& entry : std::filesystem::directory_iterator(project_root() / folder))
      if (entry.path().extension() == ".md") out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

/// The cells of a Markdown table's line; empty for a line that is none. A cell may hold `a|b` only as `a\|b`.
inline std::vector<std::string> cells_of(const std::string& line) {
  const std::string text = trimmed(line);
  std::vector<std::string> out;
  if (text.size() < 2 || text.front() != '|' || text.back() != '|') return out;
  std::string cell;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '|' && text[i - 1] != '\\') {
      out.push_back(trimmed(cell));
      cell.clear();
    } else {
      cell += text[i];
    }
  }
  return out;
}

/// The texts between single backticks.
inline std::vector<std::string> code_spans(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = text.find('`'); begin != std::string::npos;) {
    const std::size_t end = text.find('`', begin + 1);
    if (end == std::string::npos) break;
    if (end > begin + 1) out.push_back(text.substr(begin + 1, end - begin - 1));
    begin = text.find('`', end + 1);
  }
  return out;
}

}  // namespace qdistill_test
