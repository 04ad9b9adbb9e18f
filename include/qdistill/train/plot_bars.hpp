/// Horizontal bars as SVG: one figure for each of many named things, such as the bits of each layer.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/train/plot_axis.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// One bar from 0 to `value`, which may be negative; NaN or infinite: a dash instead. Bars of one group share colour
/// and marker.
struct Bar {
  std::string label;
  double value = 0;
  std::string group = {};
  double low = std::numeric_limits<double>::quiet_NaN();  ///< ends of a line across the bar; NaN: none
  double high = std::numeric_limits<double>::quiet_NaN();
};

struct BarChart {
  std::string title = {};
  std::string subtitle = {};
  Axis x = {};                 ///< linear
  std::vector<Bar> bars = {};  ///< from top to bottom
  double width = 760;          ///< pixels; the height grows with the number of bars
};

/// Draws the chart. Each bar has its name to the left and its figure to the right. Throws ValueError for a logarithmic
/// axis, on which bars have no beginning.
inline Svg bar_chart(const BarChart& chart) {
  check(!chart.x.log, "bar_chart", "got a logarithmic axis, expected a linear one");
  const auto figure = [&](double v) {
    return !std::isfinite(v) ? std::string("–") : chart.x.bytes ? bytes_text(v) : significant(v, 3);
  };
  std::vector<std::string> groups;
  plot::Range range;
  double names = 0, figures = 0;
  for (const Bar& b : chart.bars) {
    if (std::find(groups.begin(), groups.end(), b.group) == groups.end()) groups.push_back(b.group);
    for (const double v : {b.value, b.low, b.high})
      if (std::isfinite(v)) range.add(v);
    names = std::max(names, svg::text_width(one_line(b.label), 12));
    figures = std::max(figures, svg::text_width(figure(b.value), 12));
  }
  const bool any = !range.empty(), legend = groups.size() > 1;
  if (any) range.add(0);
  if (range.lo == range.hi) range.hi = 1;
  names = std::min(names, chart.width * 0.4);

  std::string legend_text;
  double lx = 16, ly = plot::headings_height(chart.title, chart.subtitle) + 14;
  for (std::size_t g = 0; legend && g < groups.size(); ++g) {
    const std::string name = svg::fitted(groups[g].empty() ? "other" : groups[g], chart.width * 0.5, 12);
    const double width = svg::text_width(name, 12) + 34;
    if (lx > 16 && lx + width > chart.width - 16) lx = 16, ly += 20;
    legend_text += svg::marker(g, lx + 6, ly - 4, 5, g) + svg::label(lx + 18, ly, name);
    lx += width;
  }

  const double pitch = 20, thick = 13;
  plot::Frame f;
  f.top = (legend ? ly : ly - 14) + 14;
  f.bottom = f.top + pitch * static_cast<double>(std::max<std::size_t>(chart.bars.size(), 3)) + 4;
  f.left = 16 + names + (legend ? 26 : 8);
  f.right = std::max(chart.width - figures - 24, f.left + 40);
  const double height = f.bottom + (chart.x.label.empty() ? 30 : 50);
  const plot::Scale x = plot::make_scale(range, chart.x, plot::Fit::ticked, 7, f.left, f.right);

  std::string out = svg::open(chart.width, height, chart.title + ": " + chart.x.label);
  out += plot::headings(chart.title, chart.subtitle, chart.width) + legend_text;
  out += plot::axes(f, x, {}, chart.x, {});
  if (!any) out += svg::label((f.left + f.right) / 2, (f.top + f.bottom) / 2, "no data", "qp-m", svg::Anchor::middle);
  const double zero = x(0);
  for (std::size_t i = 0; i < chart.bars.size(); ++i) {
    const Bar& b = chart.bars[i];
    const auto g = static_cast<std::size_t>(std::find(groups.begin(), groups.end(), b.group) - groups.begin());
    const double top = f.top + pitch * static_cast<double>(i) + 5, middle = top + thick / 2;
    out += svg::label(16 + names, middle + 4, svg::fitted(b.label, names + 0.5, 12), "qp-t", svg::Anchor::end);
    if (legend) out += svg::marker(g, f.left - 11, middle, 4, g);
    double right = zero;
    if (std::isfinite(b.value)) {
      const double end = x(b.value);
      std::string tip = b.label + ": " + figure(b.value);
      if (std::isfinite(b.low) && std::isfinite(b.high)) tip += " (" + figure(b.low) + " to " + figure(b.high) + ')';
      out += "<rect x=\"" + svg::px(std::min(zero, end)) + "\" y=\"" + svg::px(top) + "\" width=\"" +
             svg::px(std::abs(end - zero)) + "\" height=\"" + svg::px(thick) + "\" class=\"" + svg::color_class(g) +
             "\" fill=\"currentColor\"><title>" + escape_xml(one_line(tip)) + "</title></rect>\n";
      right = std::max(right, end);
    }
    if (std::isfinite(b.low) && std::isfinite(b.high)) {
      const std::string path = "<path d=\"M" + svg::px(x(b.low)) + ' ' + svg::px(middle) + 'H' + svg::px(x(b.high)) +
                               'M' + svg::px(x(b.low)) + ' ' + svg::px(middle - 4) + "v8M" + svg::px(x(b.high)) + ' ' +
                               svg::px(middle - 4) + "v8\" fill=\"none\" class=\"";
      out += path + "qp-k\" stroke-width=\"4\"/>\n" + path + "qp-f\" stroke-width=\"1.6\"/>\n";
      right = std::max(right, x(b.high));
    }
    out += svg::label(right + 7, middle + 4, figure(b.value), "qp-t qp-o");
  }
  if (any) out += svg::line(zero, f.top, zero, f.bottom, "qp-a");
  return {out + svg::close()};
}

}  // namespace qdistill::inline QDISTILL_ABI::train
