/// docs/paper-to-code.md names files and names that exist, and no page names a file that does not.
#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "docs/pages.hpp"

namespace qdistill_test {

namespace {

std::string text_of(const std::filesystem::path& path) {
  std::string out;
  for (const std::string& line : lines_of(path)) out += line + '\n';
  return out;
}

bool part_of_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// True if `name` stands in `text` as a word of its own.
bool has_word(const std::string& text, const std::string& name) {
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const bool left = at == 0 || !part_of_name(text[at - 1]);
    const bool right = at + name.size() >= text.size() || !part_of_name(text[at + name.size()]);
    if (left && right) return true;
  }
  return false;
}

/// "models/x.hpp" of a table stands below include/qdistill/; other paths count from the project's folder.
std::filesystem::path located(const std::string& file) {
  const auto header = project_root() / "include" / "qdistill" / file;
  return std::filesystem::exists(header) ? header : project_root() / file;
}

bool looks_like_a_file(const std::string& span) {
  if (span.find('/') == std::string::npos || span.find_first_of(" *<>(){}$,:~") != std::string::npos) return false;
  for (const char* extension : {".hpp", ".cpp", ".md", ".sh", ".py", ".cmake", ".safetensors", ".json"}) {
    const std::string end = extension;
    if (span.size() > end.size() && span.compare(span.size() - end.size(), end.size(), end) == 0) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("docs/paper-to-code.md: every file and name is there", "[docs]") {
  int done = 0, open = 0;
  std::size_t line_number = 0;
  for (const std::string& line : lines_of(project_root() / "docs" / "paper-to-code.md")) {
    ++line_number;
    const auto cells = cells_of(line);
    if (cells.empty() || cells[0] == "paper" || starts_with(cells[0], "---")) continue;
    INFO("line " << line_number << ": " << line);
    REQUIRE(cells.size() == 5);
    const auto files = code_spans(cells[2]), names = code_spans(cells[3]);
    const std::string& state = cells[4];
    if (state == "not yet") {
      ++open;
      CHECK(files.empty());
      CHECK(names.empty());
      continue;
    }
    CHECK((state == "done" || starts_with(state, "part: ")));
    ++done;
    REQUIRE(files.size() == 1);
    REQUIRE(!names.empty());
    REQUIRE(std::filesystem::exists(located(files[0])));
    const std::string text = text_of(located(files[0]));
    for (const std::string& name : names) {
      INFO("`" << name << "` in " << files[0]);
      CHECK(has_word(text, name));
    }
  }
  CHECK(done > 90);
  CHECK(done + open > 100);
}

TEST_CASE("every file that the documentation names is there", "[docs]") {
  int files = 0;
  for (const auto& page : pages()) {
    bool fenced = false;
    std::size_t line_number = 0;
    for (const std::string& line : lines_of(page)) {
      ++line_number;
      if (starts_with(trimmed(line), "```")) fenced = !fenced;
      if (fenced) continue;
      INFO(page.string() << ", line " << line_number << ": " << line);
      for (const std::string& span : code_spans(line)) {
        // What a run writes, and the example op of docs/add-an-op.md, are not part of the project.
        if (!looks_like_a_file(span) || starts_with(span, "runs/") || span.find("unit_rows") != std::string::npos)
          continue;
        ++files;
        INFO("`" << span << "`");
        CHECK(std::filesystem::exists(located(span)));
      }
      // Links to other pages, as in [text](docs/design.md#part).
      for (std::size_t at = line.find("]("); at != std::string::npos; at = line.find("](", at + 2)) {
        const std::size_t end = line.find(')', at);
        REQUIRE(end != std::string::npos);
        std::string target = line.substr(at + 2, end - at - 2);
        if (target.find("://") != std::string::npos || starts_with(target, "#")) continue;
        target = target.substr(0, target.find('#'));
        ++files;
        INFO("link to " << target);
        CHECK(std::filesystem::exists(page.parent_path() / target));
      }
    }
  }
  CHECK(files > 30);
}

}  // namespace qdistill_test
