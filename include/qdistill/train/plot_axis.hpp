/// Axes: the range that is shown, linear or logarithmic, its ticks at round values, and the way from values to pixels.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "qdistill/train/svg.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// What a chart is asked to do with one of its axes.
struct Axis {
  std::string label = {};
  bool log = false;                                       ///< logarithmic; values <= 0 are then left out
  bool bytes = false;                                     ///< ticks as "10 kB"
  double min = std::numeric_limits<double>::quiet_NaN();  ///< NaN: from the data
  double max = std::numeric_limits<double>::quiet_NaN();
};

namespace plot {

/// Whether a value can be shown on `axis`.
inline bool drawable(double v, const Axis& axis) noexcept { return std::isfinite(v) && (!axis.log || v > 0); }

struct Tick {
  double value = 0;
  std::string label;  ///< empty: a minor line of the grid
};

/// The smallest and largest of the values it was shown.
struct Range {
  double lo = std::numeric_limits<double>::infinity();
  double hi = -std::numeric_limits<double>::infinity();

  bool empty() const noexcept { return !(lo <= hi); }
  void add(double v) noexcept {
    lo = v < lo ? v : lo;
    hi = v > hi ? v : hi;
  }
};

/// Maps values in [lo, hi] to pixels in [from, to].
struct Scale {
  double lo = 0, hi = 1;
  bool log = false;
  double from = 0, to = 1;
  std::vector<Tick> ticks = {};

  double operator()(double v) const noexcept {
    const auto f = [this](double x) { return log ? std::log10(x) : x; };
    const double span = f(hi) - f(lo);
    const double t = span > 0 ? (f(v) - f(lo)) / span : 0.5;
    const double clipped = t < -0.02 ? -0.02 : t > 1.02 ? 1.02 : t;  // outside a range that the caller fixed
    return from + clipped * (to - from);
  }
};

/// 1, 2, 2.5 or 5 times a power of ten: the least of them not below `rough` > 0.
inline double nice_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double m : {1.0, 2.0, 2.5, 5.0}) {
    if (m * power >= rough * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

inline std::string bytes_tick(double v) {
  std::string s = bytes_text(v);
  const std::size_t space = s.find(' '), dot = s.find('.');
  if (dot == std::string::npos || dot > space) return s;
  std::size_t end = space;
  while (s[end - 1] == '0') --end;
  if (s[end - 1] == '.') --end;
  return s.erase(end, space - end);
}

/// The label of a tick among ticks `step` apart, `largest` the largest magnitude on the axis.
inline std::string tick_label(double v, double step, double largest, bool bytes) {
  if (std::abs(v) < step * 1e-6) v = 0;
  if (bytes) return bytes_tick(v);
  // The places that `step` = m * 10^k needs: -k, and one more if m is 2.5.
  const int exponent = static_cast<int>(std::floor(std::log10(step) + 1e-9));
  const double mantissa = step / std::pow(10.0, exponent);
  const int places = -exponent + (std::abs(mantissa - 2.5) < 1e-6 ? 1 : 0);
  if (largest < 1e7 && places <= 7) {
    if (places <= 0 && largest >= 10000) return grouped(static_cast<Index>(std::llround(v)));
    return fixed(v, std::max(places, 0));
  }
  if (v == 0) return "0";
  const int leading = static_cast<int>(std::floor(std::log10(std::abs(v))));
  return detail::to_chars_text(v, std::chars_format::scientific, std::min(std::max(leading + places, 0), 12));
}

inline void linear_ticks(Scale& s, double step, bool bytes) {
  const double first = std::ceil(s.lo / step - 1e-9), largest = std::max(std::abs(s.lo), std::abs(s.hi));
  for (int i = 0; i < 64; ++i) {
    const double v = (first + i) * step;
    if (v > s.hi + step * 1e-9) break;
    s.ticks.push_back({v, tick_label(v, step, largest, bytes)});
  }
}

inline void log_ticks(Scale& s, int count, bool bytes) {
  const double decades = std::log10(s.hi) - std::log10(s.lo);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / count)));
  int labelled = 0;
  for (int k = static_cast<int>(std::floor(std::log10(s.lo))); k <= static_cast<int>(std::ceil(std::log10(s.hi)));
       ++k) {
    for (int m = 1; m < 10; ++m) {
      const double v = m * std::pow(10.0, k);
      if (v < s.lo * (1 - 1e-9) || v > s.hi * (1 + 1e-9)) continue;
      const bool named = m == 1 ? k % every == 0 : every == 1 && decades < 2.6 && (m == 2 || m == 5);
      if (!named && decades > 4) continue;
      std::string label;
      if (named) {
        label = bytes                   ? bytes_tick(v)
                : v < 9e-5 || v > 1.5e6 ? detail::to_chars_text(v, std::chars_format::scientific, 0)
                : v >= 10000            ? grouped(static_cast<Index>(std::llround(v)))
                                        : fixed(v, k < 0 ? -k : 0);
        ++labelled;
      }
      s.ticks.push_back({v, std::move(label)});
    }
  }
  if (labelled >= 2) return;
  s.ticks.clear();  // less than a decade: round steps of the value itself
  linear_ticks(s, nice_step((s.hi - s.lo) / count), bytes);
}

enum class Fit {
  tight,   ///< the range of the data
  padded,  ///< a margin of 5 % on both sides
  ticked   ///< out to the next tick
};

/// The scale that shows `range` on `axis` with about `count` ticks. Any range works: empty, one value, values so large
/// that their difference overflows, values that differ in their last digits only.
inline Scale make_scale(Range range, const Axis& axis, Fit fit, int count, double from, double to) {
  Scale s;
  s.log = axis.log;
  s.from = from;
  s.to = to;
  if (drawable(axis.min, axis)) range.lo = axis.min;
  if (drawable(axis.max, axis)) range.hi = axis.max;
  if (range.empty()) range = s.log ? Range{1, 10} : Range{0, 1};
  const double least = s.log ? 1e-300 : -1e300;
  s.lo = std::clamp(range.lo, least, 1e300);
  s.hi = std::clamp(range.hi, least, 1e300);
  if (s.log) {
    if (s.hi / s.lo < 1 + 1e-9) {
      s.lo /= 2;
      s.hi *= 2;
    }
    const double margin = fit == Fit::tight ? 0 : 0.05 * (std::log10(s.hi) - std::log10(s.lo));
    s.lo /= std::pow(10.0, margin);
    s.hi *= std::pow(10.0, margin);
    log_ticks(s, count, axis.bytes);
    return s;
  }
  const double magnitude = std::max(std::abs(s.lo), std::abs(s.hi));
  if (s.hi - s.lo <= magnitude * 1e-12 || s.hi - s.lo < 1e-290) {
    const double margin = magnitude > 1e-280 ? magnitude * 0.1 : 1;
    s.lo -= margin;
    s.hi += margin;
  }
  if (fit == Fit::padded) {
    const double margin = 0.05 * (s.hi - s.lo);
    s.lo -= std::isfinite(axis.min) ? 0 : margin;
    s.hi += std::isfinite(axis.max) ? 0 : margin;
  }
  const double step = nice_step((s.hi - s.lo) / count);
  if (fit == Fit::ticked) {
    if (!std::isfinite(axis.min)) s.lo = std::floor(s.lo / step + 1e-9) * step;
    if (!std::isfinite(axis.max)) s.hi = std::ceil(s.hi / step - 1e-9) * step;
  }
  linear_ticks(s, step, axis.bytes);
  return s;
}

/// The frame of a chart: the box that data are drawn in, in pixels from the top left.
struct Frame {
  double left = 0, top = 0, right = 0, bottom = 0;
};

/// Title and subtitle at the top left.
inline std::string headings(std::string_view title, std::string_view subtitle, double width) {
  std::string out;
  if (!title.empty()) out += svg::label(16, 24, svg::fitted(title, width - 32, 16), "qp-t qp-h");
  if (!subtitle.empty()) out += svg::label(16, 42, svg::fitted(subtitle, width - 32, 12), "qp-m");
  return out;
}

/// Height that headings() needs.
inline double headings_height(std::string_view title, std::string_view subtitle) {
  return (title.empty() ? 8.0 : 30.0) + (subtitle.empty() ? 0.0 : 18.0);
}

/// Pixels that the labels of the y axis take.
inline double tick_width(const Scale& y) {
  double w = 0;
  for (const Tick& t : y.ticks) w = std::max(w, svg::text_width(t.label, 12));
  return w;
}

/// Grid, ticks, axis lines and axis labels. The y label stands above the axis, where it is read without turning.
inline std::string axes(const Frame& f, const Scale& x, const Scale& y, const Axis& x_axis, const Axis& y_axis) {
  std::string out;
  for (const Tick& t : y.ticks) {
    out += svg::line(f.left, y(t.value), f.right, y(t.value), t.label.empty() ? "qp-g qp-i" : "qp-g");
    if (!t.label.empty()) out += svg::label(f.left - 8, y(t.value) + 4, t.label, "qp-m", svg::Anchor::end);
  }
  double taken = -1e9;  // right end of the last label, so that none overlaps the next
  for (const Tick& t : x.ticks) {
    const double px = x(t.value);
    const double half = svg::text_width(t.label, 12) / 2;
    const bool named = !t.label.empty() && px - half > taken + 6;
    if (named || t.label.empty()) out += svg::line(px, f.top, px, f.bottom, named ? "qp-g" : "qp-g qp-i");
    if (!named) continue;
    taken = px + half;
    out += svg::line(px, f.bottom, px, f.bottom + 4, "qp-a");
    out += svg::label(px, f.bottom + 18, t.label, "qp-m", svg::Anchor::middle);
  }
  out += svg::line(f.left, f.bottom, f.right, f.bottom, "qp-a");
  out += svg::label((f.left + f.right) / 2, f.bottom + 36, x_axis.label, "qp-t", svg::Anchor::middle);
  out += svg::label(16, f.top - 14, y_axis.label, "qp-t");
  return out;
}

}  // namespace plot
}  // namespace qdistill::inline QDISTILL_ABI::train
