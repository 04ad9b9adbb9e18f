#include "qdistill/train/table.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "xml_check.hpp"

using namespace qdistill;
using namespace qdistill::train;

namespace {

Table example() {
  Table t({{"network"}, {"accuracy", "%", 1}, {"bytes"}});
  t.add({"teacher", 91.26, Index{21372104}});
  t.rule().add({"größe 日本", Cell(7.0, 0.25), 12});
  t.add({"broken", std::numeric_limits<double>::quiet_NaN()});
  return t;
}

}  // namespace

TEST_CASE("a table as aligned text", "[train]") {
  // The spread and the East Asian letters have more bytes than columns.
  CHECK(example().text() ==
        "network     accuracy (%)       bytes\n"
        "----------  ------------  ----------\n"
        "teacher             91.3  21,372,104\n"
        "----------  ------------  ----------\n"
        "größe 日本     7.0 ± 0.2          12\n"
        "broken                 –\n");
}

TEST_CASE("every line of a table has its columns at the same place", "[train]") {
  Table t({{"a"}, {"b"}});
  t.add({"x", 1}).add({"ÄÖÜ", 1000}).add({"日本語", -5}).add({"e\xCC\x81", 22});
  const std::string s = t.text();
  std::size_t begin = 0;
  for (int line = 0; line < 6; ++line) {
    const std::size_t end = s.find('\n', begin);
    CHECK(display_width(s.substr(begin, end - begin)) == 13);
    begin = end + 1;
  }
  CHECK(begin == s.size());
}

TEST_CASE("a column with a word in it is aligned left, a dash does not count", "[train]") {
  Table t({{"a"}, {"b"}, {"c"}});
  t.add({1, 2, {}}).add({"n/a", "–"});
  CHECK_FALSE(t.right_aligned(0));
  CHECK(t.right_aligned(1));
  CHECK_FALSE(t.right_aligned(2));
}

TEST_CASE("a table as Markdown", "[train]") {
  Table t({{"name|x"}, {"n"}});
  t.add({"a_b\nc", 5});
  CHECK(t.markdown() ==
        "| name\\|x |   n |\n"
        "| ------- | --: |\n"
        "| a\\_b c  |   5 |\n");
}

TEST_CASE("a table as CSV keeps every digit and quotes what needs it", "[train]") {
  Table t({{"name"}, {"value", "%"}});
  t.add({"a,\"b\"", Cell(0.1, 0.025)})
      .add({"c\nd", std::numeric_limits<double>::infinity()})
      .add({"e", Index{12345678}});
  CHECK(t.csv() ==
        "name,value (%),value (%) spread\n"
        "\"a,\"\"b\"\"\",0.1,0.025\n"
        "\"c\nd\",,\n"
        "e,12345678,\n");
}

TEST_CASE("a table as HTML is well formed whatever the names are", "[train]") {
  Table t({{"<script>", "&"}, {"n"}});
  t.add({"</td>\"'&\xFF", 5}).rule().add({"x"});
  CHECK(xml_check::problem(t.html()) == "");
  CHECK(t.html().find("<script>") == std::string::npos);
  CHECK(xml_check::problem(example().html()) == "");
}

TEST_CASE("tables without rows, and bad rows", "[train]") {
  Table t({{"a"}, {"b", "s"}});
  CHECK(t.text() == "a  b (s)\n-  -----\n");
  CHECK(t.csv() == "a,b (s)\n");
  CHECK(xml_check::problem(t.html()) == "");
  CHECK_THROWS_AS(t.add({1, 2, 3}), ShapeError);
  CHECK_THROWS_AS(Table({}), ValueError);
}
