#include "qdistill/train/report.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "qdistill/train/plot.hpp"
#include "qdistill/train/plot_scatter.hpp"
#include "xml_check.hpp"

using namespace qdistill;
using namespace qdistill::train;

TEST_CASE("a report is one well-formed page that needs nothing outside itself", "[train]") {
  const std::string evil = "</p><script>alert('x')</script> & \"quoted\" \xFF";
  Table table({{"name " + evil}, {"accuracy", "%"}});
  table.add({evil, std::numeric_limits<double>::quiet_NaN()}).add({"b", Cell(3.0, 0.5)});
  LineChart chart;
  chart.series = {{evil, {1, 2}, {3, 4}}};
  ScatterChart scatter;
  scatter.points = {{evil, 1, 2, "g"}, {"b", 3, 4, evil}};

  Report report(evil);
  report.paragraph(evil).preformatted(evil).heading(evil);
  report.settings({{evil, evil},
                   {"nested", {{"a", {1, 2}}, {"b", {{"c", nullptr}}}}},
                   {"empty", Json::object()},
                   {"loss", std::numeric_limits<double>::infinity()}});
  report.table(table, evil).figure(line_chart(chart), evil).figure(scatter_chart(scatter));
  const std::string html = report.html();

  // HTML's void elements are written closed, so that the page reads as XML too.
  CHECK(xml_check::problem(html) == "");
  CHECK(html.find("<script") == std::string::npos);
  for (const char* outside : {"src=", "href=", "@import", "url(", "<link", "<img", "onload"})
    CHECK(html.find(outside) == std::string::npos);
  CHECK(html.rfind("<!DOCTYPE html>", 0) == 0);
  CHECK(html.find("charset=\"utf-8\"") != std::string::npos);
  CHECK(html.find("<th scope=\"row\">nested.a</th><td>[1,2]</td>") != std::string::npos);
  CHECK(html.find("<th scope=\"row\">nested.b.c</th><td>–</td>") != std::string::npos);
  CHECK(html.find("prefers-color-scheme:dark") != std::string::npos);
}

TEST_CASE("an empty report is a page", "[train]") { CHECK(xml_check::problem(Report("").html()) == ""); }
