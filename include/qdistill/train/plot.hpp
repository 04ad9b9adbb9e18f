/// Line charts as SVG: training curves and other series over a common axis.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/train/plot_axis.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// One curve. x and y have the same length; a y that is NaN breaks the line there.
struct Series {
  std::string name;
  std::vector<double> x;
  std::vector<double> y;
};

struct LineChart {
  std::string title = {};
  std::string subtitle = {};
  Axis x = {};
  Axis y = {};
  std::vector<Series> series = {};
  double width = 760;   ///< pixels
  double height = 380;  ///< pixels; grows where the names of the series need more
};

namespace plot {

/// Moves labels, whose wished positions are given in any order, at least `gap` apart and into [top, bottom] where they
/// fit; keeps their order.
inline std::vector<double> spread_labels(const std::vector<double>& wished, double gap, double top, double bottom) {
  std::vector<std::size_t> order(wished.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return wished[a] < wished[b]; });
  std::vector<double> at(wished.size());
  double free_from = top;
  for (const std::size_t i : order) {
    at[i] = std::max(wished[i], free_from);
    free_from = at[i] + gap;
  }
  double free_to = bottom;
  for (std::size_t k = order.size(); k-- > 0;) {
    at[order[k]] = std::min(at[order[k]], free_to);
    free_to = at[order[k]] - gap;
  }
  return at;
}

/// Indices of the points of a series to draw: all, or at most about four a pixel column (first, lowest, highest, last
/// of each), which looks the same. Points that are not drawable stay, as breaks.
inline std::vector<std::size_t> thinned(const std::vector<double>& y, std::size_t n, std::size_t columns) {
  std::vector<std::size_t> keep;
  if (n <= 4 * columns) {
    for (std::size_t i = 0; i < n; ++i) keep.push_back(i);
    return keep;
  }
  for (std::size_t c = 0; c < columns; ++c) {
    const std::size_t begin = n * c / columns, end = n * (c + 1) / columns;
    std::size_t low = begin, high = begin, gap = end;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(y[i])) gap = i;
      if (y[i] < y[low] || std::isnan(y[low])) low = i;
      if (y[i] > y[high] || std::isnan(y[high])) high = i;
    }
    std::vector<std::size_t> some{begin, low, high, end - 1};
    if (gap < end) some.push_back(gap);
    std::sort(some.begin(), some.end());
    some.erase(std::unique(some.begin(), some.end()), some.end());
    keep.insert(keep.end(), some.begin(), some.end());
  }
  return keep;
}

}  // namespace plot

/// Draws the chart. Each curve is told apart by colour, dash pattern and marker, and named at its right end. Throws
/// ShapeError if a series has x and y of different lengths.
inline Svg line_chart(const LineChart& chart) {
  plot::Range rx, ry;
  double names = 0;
  for (const Series& s : chart.series) {
    check<ShapeError>(s.x.size() == s.y.size(), "line_chart", "series '", s.name, "': got ", s.x.size(), " x and ",
                      s.y.size(), " y, expected as many");
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!plot::drawable(s.x[i], chart.x) || !plot::drawable(s.y[i], chart.y)) continue;
      rx.add(s.x[i]);
      ry.add(s.y[i]);
    }
    names = std::max(names, svg::text_width(one_line(s.name), 12));
  }
  const double gap = 17;
  const double name_room = chart.series.empty() ? 0 : std::min(names, chart.width * 0.33);
  plot::Frame f;
  f.top = plot::headings_height(chart.title, chart.subtitle) + (chart.y.label.empty() ? 10 : 32);
  f.bottom = std::max(chart.height - 50, f.top + gap * static_cast<double>(chart.series.size()));
  f.right = chart.width - (chart.series.empty() ? 20 : name_room + 62);
  const double height = f.bottom + 50;
  const plot::Scale y = plot::make_scale(ry, chart.y, plot::Fit::ticked, 6, f.bottom, f.top);
  f.left = std::max(16.0, 24 + plot::tick_width(y));
  const plot::Scale x = plot::make_scale(rx, chart.x, plot::Fit::tight, 8, f.left, f.right);

  std::string out = svg::open(chart.width, height, chart.title + ": " + chart.y.label + " over " + chart.x.label);
  out += plot::headings(chart.title, chart.subtitle, chart.width) + plot::axes(f, x, y, chart.x, chart.y);
  if (rx.empty()) {
    out += svg::label((f.left + f.right) / 2, (f.top + f.bottom) / 2, "no data", "qp-m", svg::Anchor::middle);
    return {out + svg::close()};
  }

  std::vector<double> ends(chart.series.size(), f.bottom);
  std::vector<std::size_t> drawn;
  std::vector<double> wished;
  for (std::size_t k = 0; k < chart.series.size(); ++k) {
    const Series& s = chart.series[k];
    std::string path, marks;
    bool pen = false;
    std::vector<std::pair<double, double>> points;
    for (const std::size_t i : plot::thinned(s.y, s.y.size(), static_cast<std::size_t>(f.right - f.left))) {
      if (!plot::drawable(s.x[i], chart.x) || !plot::drawable(s.y[i], chart.y)) {
        pen = false;
        continue;
      }
      const double px = x(s.x[i]), py = y(s.y[i]);
      path += (pen ? 'L' : 'M') + svg::px(px) + ' ' + svg::px(py);
      pen = true;
      points.emplace_back(s.x[i], s.y[i]);
    }
    if (points.empty()) continue;
    // A marker on every point of a short curve; on a long one about 8, at other places for each curve.
    const std::size_t n = points.size(), stride = n <= 12 ? 1 : n / 8;
    for (std::size_t i = stride * k / chart.series.size(); i < n; i += stride) {
      const std::string tip = s.name + ": " + significant(points[i].first) + ", " + significant(points[i].second);
      marks += svg::marker(k, x(points[i].first), y(points[i].second), 3.6, k, tip);
    }
    out += "<path d=\"" + path + "\" class=\"" + svg::color_class(k) +
           "\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\" stroke-linejoin=\"round\"" + svg::dash(k) +
           "/>\n" + marks;
    drawn.push_back(k);
    wished.push_back(y(points.back().second));
    ends[k] = x(points.back().first);
  }

  // Names beside the ends of the curves, each with a sample of its line.
  const std::vector<double> at = plot::spread_labels(wished, gap, f.top + 2, f.bottom);
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const std::size_t k = drawn[i];
    const std::string css = svg::color_class(k);
    const double start = f.right + 16, end = f.right + 42;
    out += "<path d=\"M" + svg::px(ends[k] + 5) + ' ' + svg::px(wished[i]) + 'L' +
           svg::px(std::max(start - 2, ends[k] + 5)) + ' ' + svg::px(at[i]) + "\" class=\"qp-g\"/>\n";
    out += "<path d=\"M" + svg::px(start) + ' ' + svg::px(at[i]) + 'L' + svg::px(end) + ' ' + svg::px(at[i]) +
           "\" class=\"" + css + "\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\"" + svg::dash(k) +
           "/>\n";
    out += svg::marker(k, (start + end) / 2, at[i], 3.6, k, chart.series[k].name);
    out += svg::label(end + 6, at[i] + 4, svg::fitted(chart.series[k].name, name_room + 4, 12));
  }
  return {out + svg::close()};
}

}  // namespace qdistill::inline QDISTILL_ABI::train
