#include "qdistill/train/plot_bars.hpp"

#include <catch2/catch.hpp>

#include "picture.hpp"
#include "xml_check.hpp"

using namespace qdistill;
using namespace qdistill::train;
using qdistill_test::check_picture, qdistill_test::infinite, qdistill_test::none;

namespace {

BarChart bars(std::vector<double> values) {
  BarChart c{.title = "t", .x = {.label = "x"}};
  for (const double v : values) c.bars.push_back({text("bar ", c.bars.size()), v});
  return c;
}

/// A picture in which nothing is negative.
void check_bars(const Svg& s) {
  check_picture(s);
  CHECK(s.text.find("\"-") == std::string::npos);
}

/// The number of attribute `name` in each bar.
std::vector<double> attribute(const Svg& s, const std::string& name) {
  std::vector<double> out;
  for (std::size_t i = s.text.find("<rect x="); i != std::string::npos; i = s.text.find("<rect x=", i + 1))
    out.push_back(std::stod(s.text.substr(s.text.find(' ' + name + "=\"", i) + name.size() + 3)));
  return out;
}

}  // namespace

TEST_CASE("bars are as long as their figures, from 0", "[train]") {
  const Svg s = bar_chart(bars({2, 8, 4}));
  check_bars(s);
  const auto width = attribute(s, "width"), x = attribute(s, "x"), y = attribute(s, "y");
  REQUIRE(width.size() == 3);
  CHECK(width[1] == Approx(4 * width[0]).margin(0.3));
  CHECK(width[2] == Approx(2 * width[0]).margin(0.3));
  CHECK((x[0] == x[1] && x[1] == x[2]));
  CHECK((y[0] < y[1] && y[1] < y[2]));
  for (const char* part : {">bar 0<", ">bar 1<", ">2.00<", ">8.00<", "<title>bar 2: 4.00</title>"})
    CHECK(s.text.find(part) != std::string::npos);
}

TEST_CASE("negative bars begin at the same line", "[train]") {
  const Svg s = bar_chart(bars({2, -1}));
  check_bars(s);
  const auto width = attribute(s, "width"), x = attribute(s, "x");
  CHECK(x[1] + width[1] == Approx(x[0]).margin(0.2));
  CHECK(width[0] == Approx(2 * width[1]).margin(0.3));
}

TEST_CASE("bars of nothing, of zeros, of values that cannot be drawn", "[train]") {
  check_bars(bar_chart({}));
  CHECK(bar_chart({}).text.find("no data") != std::string::npos);
  check_bars(bar_chart(bars({0, 0})));
  CHECK(bar_chart(bars({0, 0})).text.find("no data") == std::string::npos);
  check_bars(bar_chart(bars({none, infinite})));
  const Svg some = bar_chart(bars({none, 3, -infinite}));
  check_bars(some);
  CHECK(attribute(some, "width").size() == 1);
  CHECK(xml_check::count(some.text, ">–<") == 2);
  check_bars(bar_chart(bars({1e300, -1e300, 1e-300})));
  check_bars(bar_chart(bars(std::vector<double>(500, 1.0))));
  BarChart log = bars({1});
  log.x.log = true;
  CHECK_THROWS_AS(bar_chart(log), ValueError);
}

TEST_CASE("a range across a bar, groups with colours and markers", "[train]") {
  BarChart c = bars({4, 5});
  c.bars[0].low = 2, c.bars[0].high = 9;
  const Svg one = bar_chart(c);
  check_bars(one);
  CHECK(xml_check::count(one.text, "class=\"qp-f\"") == 1);
  CHECK(one.text.find("bar 0: 4.00 (2.00 to 9.00)") != std::string::npos);
  CHECK(xml_check::count(one.text, "<circle") == 0);
  c.bars[0].group = "float16", c.bars[1].group = "table";
  const Svg two = bar_chart(c);
  check_bars(two);
  CHECK(two.text.find(">float16<") != std::string::npos);
  CHECK(xml_check::count(two.text, "<circle") == 2);  // in the legend and beside its bar
  CHECK(xml_check::count(two.text, "qp-c1\" fill") == 1);
}

TEST_CASE("hostile names are escaped in bars", "[train]") {
  const std::string evil = "</text><script>alert(1)</script>\"'&\x01\xFF";
  BarChart c = bars({1, 2});
  c.title = c.subtitle = c.x.label = c.bars[0].label = c.bars[0].group = evil;
  const Svg s = bar_chart(c);
  check_bars(s);
  CHECK(s.text.find("<script") == std::string::npos);
}
