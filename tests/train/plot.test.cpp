#include "qdistill/train/plot.hpp"

#include <catch2/catch.hpp>

#include "picture.hpp"
#include "qdistill/train/plot_scatter.hpp"
#include "xml_check.hpp"

using namespace qdistill;
using namespace qdistill::train;
using qdistill_test::check_picture, qdistill_test::infinite, qdistill_test::none;

namespace {

std::vector<std::string> labels(const plot::Scale& s) {
  std::vector<std::string> out;
  for (const plot::Tick& t : s.ticks) {
    if (!t.label.empty()) out.push_back(t.label);
  }
  return out;
}

LineChart one_series(std::vector<double> x, std::vector<double> y) {
  LineChart c;
  c.title = "t";
  c.x.label = "x";
  c.y.label = "y";
  c.series = {{"s", std::move(x), std::move(y)}};
  return c;
}

}  // namespace

TEST_CASE("linear ticks are round and span the range", "[train]") {
  const auto scale = [](double lo, double hi) { return plot::make_scale({lo, hi}, {}, plot::Fit::ticked, 5, 0, 100); };
  CHECK(labels(scale(0, 1)) == std::vector<std::string>{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"});
  CHECK(labels(scale(-3, 97)) == std::vector<std::string>{"-20", "0", "20", "40", "60", "80", "100"});
  CHECK(labels(scale(0, 20000)) == std::vector<std::string>{"0", "5,000", "10,000", "15,000", "20,000"});
  CHECK(labels(scale(0.9991, 0.9999)) ==
        std::vector<std::string>{"0.9990", "0.9992", "0.9994", "0.9996", "0.9998", "1.0000"});
  CHECK(labels(scale(0, 5e9)) == std::vector<std::string>{"0", "1e+09", "2e+09", "3e+09", "4e+09", "5e+09"});
  CHECK(scale(0, 1)(0.25) == Approx(25));
}

TEST_CASE("logarithmic ticks stand at decades, in narrow ranges at round values", "[train]") {
  Axis axis;
  axis.log = true;
  axis.bytes = true;
  const auto scale = [&](double lo, double hi) {
    return plot::make_scale({lo, hi}, axis, plot::Fit::tight, 6, 0, 100);
  };
  CHECK(labels(scale(1e3, 1e7)) == std::vector<std::string>{"1 kB", "10 kB", "100 kB", "1 MB", "10 MB"});
  CHECK(labels(scale(150e3, 1e6)) == std::vector<std::string>{"200 kB", "500 kB", "1 MB"});
  CHECK(labels(scale(1.1e6, 1.4e6)).size() >= 3);
  CHECK(scale(1, 100)(10) == Approx(50));
  CHECK(labels(scale(1e-300, 1e300)).size() >= 2);
  CHECK(labels(scale(1e-300, 1e300)).size() <= 9);
}

TEST_CASE("any range makes a scale with ordered, finite ticks and different labels", "[train]") {
  const double max = std::numeric_limits<double>::max(), tiny = std::numeric_limits<double>::denorm_min();
  const std::vector<plot::Range> ranges{{},
                                        {0, 0},
                                        {5, 5},
                                        {-max, max},
                                        {0, tiny},
                                        {tiny, tiny},
                                        {max, max},
                                        {1e-12, 2e-12},
                                        {1, 1 + 1e-9},
                                        {1e15, 1e15 + 1},
                                        {-1e-5, 1e5},
                                        {0.1, 0.1001},
                                        {1e6 - 1, 1e6 + 1},
                                        {-7e20, -6e20}};
  for (const bool log : {false, true}) {
    for (const plot::Fit fit : {plot::Fit::tight, plot::Fit::padded, plot::Fit::ticked}) {
      for (const plot::Range& r : ranges) {
        if (log && r.lo <= 0) continue;
        Axis axis;
        axis.log = log;
        const plot::Scale s = plot::make_scale(r, axis, fit, 6, 0, 100);
        INFO(r.lo << " .. " << r.hi << (log ? " log" : "") << " fit " << static_cast<int>(fit));
        CHECK(s.lo < s.hi);
        CHECK(std::isfinite(s.hi - s.lo));
        CHECK(labels(s).size() >= 1);
        for (std::size_t i = 0; i < s.ticks.size(); ++i) {
          CHECK(std::isfinite(s(s.ticks[i].value)));
          if (i == 0) continue;
          CHECK(s.ticks[i - 1].value < s.ticks[i].value);
          CHECK((s.ticks[i].label.empty() || s.ticks[i - 1].label != s.ticks[i].label));
        }
        if (r.lo > r.hi) continue;
        const double least = log ? 1e-300 : -1e300, slack = 1e-8 * (s.hi - s.lo);  // what is drawn at all
        CHECK(s.lo <= std::clamp(r.lo, least, 1e300) + slack);
        CHECK(s.hi >= std::clamp(r.hi, least, 1e300) - slack);
      }
    }
  }
}

TEST_CASE("line charts of nothing, of one point, of values that cannot be drawn", "[train]") {
  LineChart empty;
  check_picture(line_chart(empty));
  CHECK(line_chart(empty).text.find("no data") != std::string::npos);
  check_picture(line_chart(one_series({}, {})));
  check_picture(line_chart(one_series({none, 1}, {1, none})));
  CHECK(line_chart(one_series({none, 1}, {1, none})).text.find("no data") != std::string::npos);
  check_picture(line_chart(one_series({3}, {4})));
  check_picture(line_chart(one_series({1, 2, 3}, {-1.7e308, 0, 1.7e308})));
  check_picture(line_chart(one_series({1, 2, 3}, {5e-324, 1e-320, 0})));
  check_picture(line_chart(one_series({1, 2, 3}, {infinite, 1, -infinite})));
  CHECK_THROWS_AS(line_chart(one_series({1, 2}, {1})), ShapeError);
  LineChart log = one_series({0, 1, 10}, {0, 1e-8, 1e8});
  log.x.log = log.y.log = true;
  check_picture(line_chart(log));
}

TEST_CASE("a value that is not a number breaks the line", "[train]") {
  const std::string whole = line_chart(one_series({1, 2, 3, 4}, {1, 2, 3, 4})).text;
  const std::string broken = line_chart(one_series({1, 2, none, 4, 5}, {1, 2, 3, 3, 4})).text;
  const auto starts = [](const std::string& s) {
    const std::size_t begin = s.find("<path d=\"M"), end = s.find('"', begin + 9);
    return xml_check::count(s.substr(begin, end - begin), "M");
  };
  CHECK(starts(whole) == 1);
  CHECK(starts(broken) == 2);
}

TEST_CASE("a long series is thinned to what can be seen and keeps its extremes", "[train]") {
  std::vector<double> y(100000, 1.0);
  y[54321] = 7;
  y[54322] = -7;
  y[70001] = none;
  const auto keep = plot::thinned(y, y.size(), 500);
  CHECK(keep.size() <= 2500);
  CHECK(std::is_sorted(keep.begin(), keep.end()));
  for (const std::size_t i : {0u, 54321u, 54322u, 70001u, 99999u}) CHECK(std::count(keep.begin(), keep.end(), i) == 1);
  CHECK(plot::thinned(y, 10, 500).size() == 10);
}

TEST_CASE("hostile names are escaped in every picture", "[train]") {
  const std::string evil = "</text><script>alert(1)</script>\"'&\x01\xFF";
  LineChart line = one_series({1, 2}, {3, 4});
  line.title = line.subtitle = line.x.label = line.y.label = line.series[0].name = evil;
  ScatterChart scatter;
  scatter.title = scatter.subtitle = scatter.x.label = scatter.y.label = evil;
  scatter.points = {{evil, 1, 2, evil}, {"b", 2, 3, "g"}};
  for (const Svg& s : {line_chart(line), scatter_chart(scatter)}) {
    check_picture(s);
    CHECK(s.text.find("<script") == std::string::npos);
  }
}

TEST_CASE("labels at the ends of curves keep their distance and their order", "[train]") {
  const std::vector<double> at = plot::spread_labels({50, 51, 49, 200, 52}, 15, 0, 210);
  CHECK(at[2] < at[0]);
  CHECK(at[0] < at[1]);
  CHECK(at[1] < at[4]);
  CHECK(at[4] < at[3]);
  CHECK(at[3] <= 210);
  for (const auto& [a, b] : {std::pair{2, 0}, std::pair{0, 1}, std::pair{1, 4}, std::pair{4, 3}})
    CHECK(at[static_cast<std::size_t>(b)] - at[static_cast<std::size_t>(a)] >= 15 - 1e-9);
}

TEST_CASE("the Pareto frontier", "[train]") {
  const std::vector<ScatterPoint> p{{"a", 10, 90}, {"b", 1, 50},    {"c", 5, 40}, {"d", 5, 80},
                                    {"e", 20, 90}, {"f", none, 99}, {"g", 1, 50}, {"h", 1, 45}};
  CHECK(pareto_frontier(p) == std::vector<std::size_t>{1, 3, 0});
  CHECK(pareto_frontier({}).empty());
}

TEST_CASE("scatter charts of nothing, of one point, of values that cannot be drawn", "[train]") {
  ScatterChart c;
  check_picture(scatter_chart(c));
  CHECK(scatter_chart(c).text.find("no data") != std::string::npos);
  c.points = {{"a", 5, 6}};
  check_picture(scatter_chart(c));
  c.x.log = true;
  c.points = {{"a", 0, 1}, {"b", -1, 1}, {"c", 10, none}, {"d", infinite, 3}, {"e", 10, 2, "g", none, 1e308}};
  check_picture(scatter_chart(c));
  CHECK(scatter_chart(c).text.find("4 points have no value to draw") != std::string::npos);
}

TEST_CASE("labels of a scatter chart overlap neither each other nor a marker", "[train]") {
  std::vector<std::pair<double, double>> anchors;
  std::vector<plot::Box> blocked;
  for (int i = 0; i < 14; ++i) {  // two tight groups and a line
    const double x = i < 5 ? 60 + 3 * i : i < 10 ? 300 + 4 * i : 400 + 20 * i;
    const double y = i < 5 ? 50 + 7 * i : i < 10 ? 200 - 2 * i : 90;
    anchors.emplace_back(x, y);
    blocked.push_back({x - 6, y - 6, x + 6, y + 6});
  }
  const plot::Frame frame{40, 20, 740, 400};
  const auto placed = plot::place_labels(anchors, std::vector<double>(14, 75.0), 14, frame, blocked, {});
  int shown = 0;
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (placed[i].hidden) continue;
    ++shown;
    CHECK(placed[i].box.x0 >= frame.left);
    CHECK(placed[i].box.x1 <= frame.right);
    double area = 0;
    for (const plot::Box& b : blocked) area += plot::overlap(placed[i].box, b);
    for (std::size_t j = 0; j < i; ++j) area += placed[j].hidden ? 0 : plot::overlap(placed[i].box, placed[j].box);
    CHECK(area <= 24);
  }
  CHECK(shown >= 12);
}

TEST_CASE("series differ without colour: markers and dashes", "[train]") {
  LineChart c;
  for (int k = 0; k < 8; ++k) c.series.push_back({text("s", k), {1, 2}, {1.0 * k, 2.0 * k}});
  const std::string s = line_chart(c).text;
  check_picture({s});
  std::vector<std::string> shapes;
  for (std::size_t k = 0; k < 8; ++k) {
    // Colour set aside, two series may share a marker or a dash, but not both.
    std::string shape = svg::marker(k, 0, 0, 4, 0) + svg::dash(k);
    CHECK(std::find(shapes.begin(), shapes.end(), shape) == shapes.end());
    shapes.push_back(std::move(shape));
  }
}
