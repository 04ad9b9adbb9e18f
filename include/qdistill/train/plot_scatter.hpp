/// Scatter charts as SVG: accuracy against bytes, with labelled points, error bars and the Pareto frontier.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "qdistill/train/plot_axis.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// One labelled point. Points of one group share colour and marker.
struct ScatterPoint {
  std::string label;
  double x = 0;
  double y = 0;
  std::string group = {};
  double y_low = std::numeric_limits<double>::quiet_NaN();  ///< ends of the error bar; NaN: none
  double y_high = std::numeric_limits<double>::quiet_NaN();
};

struct ScatterChart {
  std::string title = {};
  std::string subtitle = {};
  Axis x = {};
  Axis y = {};
  std::vector<ScatterPoint> points = {};
  bool frontier = true;  ///< draw the Pareto frontier: smaller x and larger y are better
  double width = 760;    ///< pixels
  double height = 460;   ///< pixels
};

/// Indices of the points on the Pareto frontier (no other point has a smaller or equal x and a larger or equal y, one
/// of them strictly), by increasing x; points that are not finite are never on it. Of equal points the first counts.
inline std::vector<std::size_t> pareto_frontier(const std::vector<ScatterPoint>& points) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (std::isfinite(points[i].x) && std::isfinite(points[i].y)) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return points[a].x != points[b].x ? points[a].x < points[b].x : points[a].y > points[b].y;
  });
  std::vector<std::size_t> out;
  for (const std::size_t i : order) {
    if (out.empty() || points[i].y > points[out.back()].y) out.push_back(i);
  }
  return out;
}

namespace plot {

struct Box {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;

  bool has(double x, double y) const noexcept { return x > x0 && x < x1 && y > y0 && y < y1; }
};

inline double overlap(const Box& a, const Box& b) noexcept {
  const double w = std::min(a.x1, b.x1) - std::max(a.x0, b.x0), h = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  return w > 0 && h > 0 ? w * h : 0;
}

/// Where a label ended up.
struct PlacedLabel {
  Box box = {};
  double gap = 0;      ///< pixels between marker and label; a line joins them where it is large
  bool hidden = true;  ///< there was no free place
};

/// Places one label of `width` x `height` pixels beside each anchor inside `frame`, clear of each other, of the
/// `blocked` boxes (markers, error bars), and if possible of the `avoided` ones (lines). Coordinate descent over 40
/// places a label; always gives the same result.
inline std::vector<PlacedLabel> place_labels(const std::vector<std::pair<double, double>>& anchors,
                                             const std::vector<double>& widths, double height, const Frame& frame,
                                             const std::vector<Box>& blocked, const std::vector<Box>& avoided) {
  // Directions in order of preference, and distances from the marker's edge.
  const std::array<std::array<double, 2>, 8> directions{
      {{1, 0}, {0, -1}, {-1, 0}, {0, 1}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, -0.9}, {-0.9, 0.9}}};
  const std::array<double, 5> gaps{3, 10, 20, 32, 48};
  const double radius = 5;
  std::vector<PlacedLabel> placed(anchors.size());

  const auto candidate = [&](std::size_t i, std::size_t d, double gap) {
    const double dx = directions[d][0], dy = directions[d][1];
    const double cx = anchors[i].first + dx * (radius + gap) + (dx > 0 ? 1 : dx < 0 ? -1 : 0) * widths[i] / 2;
    const double cy = anchors[i].second + dy * (radius + gap) + (dy > 0 ? 1 : dy < 0 ? -1 : 0) * height / 2;
    return Box{cx - widths[i] / 2, cy - height / 2, cx + widths[i] / 2, cy + height / 2};
  };
  const auto conflicts = [&](std::size_t i, const Box& b) {
    double area = 0;
    for (const Box& other : blocked) area += overlap(b, other);
    for (std::size_t j = 0; j < placed.size(); ++j) {
      if (j != i && !placed[j].hidden) area += overlap(b, placed[j].box);
    }
    return area;
  };
  // Points of the line from the marker to the label that lie in another label or on another marker.
  const auto leader_conflicts = [&](std::size_t i, const Box& b) {
    const double ex = std::clamp(anchors[i].first, b.x0, b.x1), ey = std::clamp(anchors[i].second, b.y0, b.y1);
    double hits = 0;
    for (int k = 2; k < 8; ++k) {
      const double x = anchors[i].first + (ex - anchors[i].first) * k / 8.0;
      const double y = anchors[i].second + (ey - anchors[i].second) * k / 8.0;
      for (std::size_t j = 0; j < placed.size(); ++j) {
        if (j != i && !placed[j].hidden && placed[j].box.has(x, y)) ++hits;
      }
      for (const Box& other : blocked) {
        if (!other.has(anchors[i].first, anchors[i].second) && other.has(x, y)) ++hits;
      }
    }
    return hits;
  };

  for (int sweep = 0; sweep < 8; ++sweep) {
    bool moved = false;
    for (std::size_t i = 0; i < anchors.size(); ++i) {
      PlacedLabel best;
      double best_cost = std::numeric_limits<double>::infinity();
      for (std::size_t d = 0; d < directions.size(); ++d) {
        for (const double gap : gaps) {
          const Box b = candidate(i, d, gap);
          const double outside =
              std::max({0.0, frame.left - b.x0, b.x1 - frame.right, frame.top - b.y0, b.y1 - frame.bottom});
          double cost = 40 * conflicts(i, b) + 1000 * outside + 2.5 * gap + 1.5 * static_cast<double>(d);
          for (const Box& line : avoided) cost += 0.5 * overlap(b, line);
          if (gap >= 10) cost += 90 * leader_conflicts(i, b) + 8;
          if (cost < best_cost) {
            best_cost = cost;
            best = {b, gap, outside > 0};
          }
        }
      }
      moved = moved || best.hidden != placed[i].hidden || best.box.x0 != placed[i].box.x0 ||
              best.box.y0 != placed[i].box.y0;
      placed[i] = best;
    }
    if (!moved) break;
  }
  // A label that still covers something is left out: its point keeps it as a tip, and a table tells the rest.
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (!placed[i].hidden && conflicts(i, placed[i].box) > 12) placed[i].hidden = true;
  }
  return placed;
}

}  // namespace plot

/// Draws the chart. Points that cannot be drawn (NaN, infinite, or not positive on a logarithmic axis) are counted
/// below it.
inline Svg scatter_chart(const ScatterChart& chart) {
  std::vector<ScatterPoint> points;
  std::vector<std::string> groups;
  plot::Range rx, ry;
  for (const ScatterPoint& p : chart.points) {
    if (std::find(groups.begin(), groups.end(), p.group) == groups.end()) groups.push_back(p.group);
    if (!plot::drawable(p.x, chart.x) || !plot::drawable(p.y, chart.y)) continue;
    points.push_back(p);
    rx.add(p.x);
    for (const double v : {p.y, p.y_low, p.y_high}) {
      if (plot::drawable(v, chart.y)) ry.add(v);
    }
  }
  const bool legend = groups.size() > 1 || (groups.size() == 1 && !groups[0].empty());
  const bool frontier = chart.frontier && points.size() > 1;

  // The legend: as many entries a row as fit.
  std::string legend_text;
  double lx = 16, ly = plot::headings_height(chart.title, chart.subtitle) + 14;
  const auto legend_place = [&](double width) {
    if (lx > 16 && lx + width > chart.width - 16) {
      lx = 16;
      ly += 20;
    }
    const double at = lx;
    lx += width;
    return at;
  };
  if (legend) {
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const std::string name = svg::fitted(groups[g].empty() ? "other" : groups[g], chart.width * 0.5, 12);
      const double at = legend_place(svg::text_width(name, 12) + 34);
      legend_text += svg::marker(g, at + 6, ly - 4, 5, g) + svg::label(at + 18, ly, name);
    }
  }
  if (frontier) {
    const double at = legend_place(svg::text_width("Pareto frontier", 12) + 44);
    legend_text += "<path d=\"M" + svg::px(at) + ' ' + svg::px(ly - 4) +
                   "h24\" class=\"qp-f\" stroke-dasharray=\"4 3\"/>\n" + svg::label(at + 30, ly, "Pareto frontier");
  }

  plot::Frame f;
  f.top = (legend_text.empty() ? ly - 14 : ly) + (chart.y.label.empty() ? 14 : 40);
  f.bottom = std::max(chart.height - 52, f.top + 60);
  f.right = chart.width - 20;
  const plot::Scale y = plot::make_scale(ry, chart.y, plot::Fit::padded, 6, f.bottom, f.top);
  f.left = std::max(16.0, 24 + plot::tick_width(y));
  const plot::Scale x = plot::make_scale(rx, chart.x, plot::Fit::padded, 7, f.left, f.right);

  std::string out =
      svg::open(chart.width, f.bottom + 52, chart.title + ": " + chart.y.label + " against " + chart.x.label);
  out += plot::headings(chart.title, chart.subtitle, chart.width) + legend_text + plot::axes(f, x, y, chart.x, chart.y);
  if (points.empty())
    out += svg::label((f.left + f.right) / 2, (f.top + f.bottom) / 2, "no data", "qp-m", svg::Anchor::middle);

  std::vector<plot::Box> blocked, avoided;
  if (frontier) {
    std::string path;
    double last_x = 0, last_y = 0;
    for (const std::size_t i : pareto_frontier(points)) {
      const double px = x(points[i].x), py = y(points[i].y);
      if (path.empty()) {
        path = 'M' + svg::px(px) + ' ' + svg::px(py);
      } else {
        path += 'H' + svg::px(px) + 'V' + svg::px(py);
        avoided.push_back({last_x, last_y - 2, px, last_y + 2});
        avoided.push_back({px - 2, py, px + 2, last_y});
      }
      last_x = px;
      last_y = py;
    }
    path += 'H' + svg::px(f.right);
    avoided.push_back({last_x, last_y - 2, f.right, last_y + 2});
    out += "<path d=\"" + path + "\" class=\"qp-f\" stroke-dasharray=\"4 3\"/>\n";
  }

  std::vector<std::pair<double, double>> anchors;
  std::vector<double> widths;
  std::vector<std::string> labels;
  for (const ScatterPoint& p : points) {
    const double px = x(p.x), py = y(p.y);
    anchors.emplace_back(px, py);
    labels.push_back(svg::fitted(p.label, 220, 12));
    widths.push_back(svg::text_width(labels.back(), 12));
    blocked.push_back({px - 6, py - 6, px + 6, py + 6});
    const double low = plot::drawable(p.y_low, chart.y) ? y(p.y_low) : py;
    const double high = plot::drawable(p.y_high, chart.y) ? y(p.y_high) : py;
    if (low == py && high == py) continue;
    blocked.push_back({px - 4, std::min(low, high) - 1, px + 4, std::max(low, high) + 1});
  }
  const std::vector<plot::PlacedLabel> placed = plot::place_labels(anchors, widths, 14, f, blocked, avoided);
  std::string names;
  int hidden = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const ScatterPoint& p = points[i];
    const std::size_t g = static_cast<std::size_t>(std::find(groups.begin(), groups.end(), p.group) - groups.begin());
    const auto [px, py] = anchors[i];
    if (plot::drawable(p.y_low, chart.y) || plot::drawable(p.y_high, chart.y)) {
      const double low = plot::drawable(p.y_low, chart.y) ? y(p.y_low) : py;
      const double high = plot::drawable(p.y_high, chart.y) ? y(p.y_high) : py;
      out += "<path d=\"M" + svg::px(px) + ' ' + svg::px(low) + 'V' + svg::px(high) + 'M' + svg::px(px - 4) + ' ' +
             svg::px(low) + "h8M" + svg::px(px - 4) + ' ' + svg::px(high) + "h8\" class=\"" + svg::color_class(g) +
             "\" stroke=\"currentColor\" stroke-width=\"1.4\" fill=\"none\"/>\n";
    }
    const plot::PlacedLabel& l = placed[i];
    if (l.hidden) {
      hidden += labels[i].empty() ? 0 : 1;
      continue;
    }
    if (l.gap >= 10)
      out += svg::line(px, py, std::clamp(px, l.box.x0, l.box.x1), std::clamp(py, l.box.y0 + 2, l.box.y1 - 2), "qp-a");
    const double middle = (l.box.x0 + l.box.x1) / 2;
    const svg::Anchor anchor = l.box.x0 >= px   ? svg::Anchor::start
                               : l.box.x1 <= px ? svg::Anchor::end
                                                : svg::Anchor::middle;
    const double tx = anchor == svg::Anchor::start ? l.box.x0 : anchor == svg::Anchor::end ? l.box.x1 : middle;
    names += svg::label(tx, l.box.y1 - 3, labels[i], "qp-t qp-o", anchor);
  }
  for (std::size_t i = 0; i < points.size(); ++i) {
    const ScatterPoint& p = points[i];
    const std::size_t g = static_cast<std::size_t>(std::find(groups.begin(), groups.end(), p.group) - groups.begin());
    const std::string at = chart.x.bytes ? bytes_text(p.x) : significant(p.x);
    out += svg::marker(g, anchors[i].first, anchors[i].second, 5, g, p.label + ": " + at + ", " + significant(p.y));
  }
  out += names;
  const std::size_t missing = chart.points.size() - points.size();
  std::string note;
  if (missing > 0) note = text(missing, missing == 1 ? " point has" : " points have", " no value to draw");
  if (hidden > 0)
    note += text(note.empty() ? "" : "; ", hidden, hidden == 1 ? " name" : " names", " left out for space");
  if (!note.empty()) out += svg::label(chart.width - 16, f.bottom + 44, note, "qp-m", svg::Anchor::end);
  return {out + svg::close()};
}

}  // namespace qdistill::inline QDISTILL_ABI::train
