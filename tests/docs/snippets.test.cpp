/// Every C++ example of README.md and docs/*.md is code that is compiled and run here: a fenced block that begins with
/// ```cpp follows a line `<!-- snippet NAME -->` and has the text of the region between `// [snippet NAME]` and
/// `// [end]` of a file in tests/docs/ or examples/, but for white space.
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <set>

#include "docs/pages.hpp"

namespace qdistill_test {

namespace {

/// Name to text of all regions. A region names itself once.
std::map<std::string, std::string> regions() {
  std::map<std::string, std::string> out;
  for (const char* folder : {"tests/docs", "examples"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(project_root() / folder)) {
      const auto extension = entry.path().extension();
      if (extension != ".cpp" && extension != ".hpp") continue;
      std::string name;
      for (const std::string& line : lines_of(entry.path())) {
        const std::string text = trimmed(line), mark = "// [snippet ";
        if (starts_with(text, mark) && text.back() == ']') {
          INFO(entry.path().string() << ": " << text);
          REQUIRE(name.empty());
          name = text.substr(mark.size(), text.size() - mark.size() - 1);
          REQUIRE(out.emplace(name, "").second);
        } else if (text == "// [end]") {
          name.clear();
        } else if (!name.empty()) {
          out[name] += line + '\n';
        }
      }
      INFO(entry.path().string() << ": '" << name << "' has no end");
      REQUIRE(name.empty());
    }
  }
  return out;
}

std::string without_white_space(const std::string& s) {
  std::string out;
  for (const char c : s)
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') out += c;
  return out;
}

}  // namespace

TEST_CASE("every C++ example of the documentation is a tested snippet", "[docs]") {
  const auto snippets = regions();
  std::set<std::string> used;
  int blocks = 0;
  for (const auto& page : pages()) {
    const auto lines = lines_of(page);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (!starts_with(trimmed(lines[i]), "```cpp")) continue;
      INFO(page.string() << ", line " << i + 1);
      ++blocks;
      std::string shown;
      const std::string mark = i > 0 ? lines[i - 1] : std::string();
      for (++i; i < lines.size() && trimmed(lines[i]) != "```"; ++i) shown += lines[i] + '\n';
      REQUIRE(i < lines.size());
      const std::string head = "<!-- snippet ", tail = " -->";
      INFO("the line above it is '" << mark << "'");
      REQUIRE((starts_with(mark, head) && mark.size() > head.size() + tail.size()));
      const std::string name = mark.substr(head.size(), mark.size() - head.size() - tail.size());
      REQUIRE(snippets.count(name) == 1);
      used.insert(name);
      INFO("snippet '" << name << "' is in the code:\n" << snippets.at(name) << "\nand on the page:\n" << shown);
      CHECK(without_white_space(shown) == without_white_space(snippets.at(name)));
    }
  }
  CHECK(blocks > 10);
  for (const auto& [name, text] : snippets) {
    INFO("snippet '" << name << "' is on no page");
    CHECK(used.count(name) == 1);
  }
}

}  // namespace qdistill_test
