/// The parts that every picture is made of: elements of SVG as text, one style sheet for light and dark, colours that
/// colour-blind readers can tell apart, markers that need no colour at all, and estimated text widths.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "qdistill/train/format.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// A picture: a whole <svg> element that needs nothing outside itself. Stands alone as a file and inside HTML.
struct Svg {
  std::string text;
};

namespace svg {

/// A coordinate or length with one place after the point.
inline std::string px(double v) {
  std::string s = fixed(v, 1);
  if (s.size() > 2 && s.compare(s.size() - 2, 2, ".0") == 0) s.resize(s.size() - 2);
  return s;
}

/// Estimated width in pixels of `s` in a sans-serif font of `size` pixels. Errs on the wide side.
inline double text_width(std::string_view s, double size) {
  double em = 0;
  for (std::size_t i = 0; i < s.size();) {
    const CodePoint c = decode_utf8(s, i);
    i += c.bytes;
    const char a = c.value < 0x80 ? static_cast<char>(c.value) : 'x';
    const std::string_view narrow = "ijltfr.,:;|!'()[]- ", wide = "mwMW@%";
    em += code_point_width(c.value) == 2             ? 1.05
          : code_point_width(c.value) == 0           ? 0.0
          : narrow.find(a) != std::string_view::npos ? 0.38
          : wide.find(a) != std::string_view::npos   ? 0.95
          : (a >= 'A' && a <= 'Z')                   ? 0.70
                                                     : 0.61;
  }
  return em * size;
}

/// Shortens `s` to `width` pixels.
inline std::string fitted(std::string_view s, double width, double size) {
  const std::string clean = one_line(s);
  if (text_width(clean, size) <= width) return clean;
  Index columns = display_width(clean);
  std::string out = clean;
  while (columns > 1 && text_width(out, size) > width) out = truncated(clean, --columns);
  return out;
}

constexpr int colors = 6;
constexpr int markers = 8;

/// The style sheet: classes qp-* only, so that it can stand in a page beside others. The colours start from Okabe and
/// Ito's ("Color universal design", 2008), moved until each has a contrast of at least 3 on its background and any two
/// lie 27 or more apart (CIE 1976 difference) in normal sight and in simulated protanopia, deuteranopia and tritanopia
/// (Machado, Oliveira, Fernandes 2009).
inline std::string style() {
  const std::array<const char*, colors> light{"#1844be", "#b23d23", "#009b78", "#885391", "#cc8300", "#33373d"};
  const std::array<const char*, colors> dark{"#4f95fb", "#e77b34", "#40e997", "#c281b9", "#ffe322", "#d6edf2"};
  std::string s =
      "<style>.qp{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px}"
      ".qp-bg{fill:#ffffff}.qp-t{fill:#1f2328}.qp-m{fill:#5b626b}.qp-h{font-size:15px;font-weight:600}"
      ".qp-g{stroke:#e1e4e8;fill:none}.qp-i{stroke-opacity:.5}.qp-a{stroke:#8b929b;fill:none}"
      ".qp-f{stroke:#5b626b;fill:none}"
      ".qp-o{paint-order:stroke;stroke:#ffffff;stroke-width:3px;stroke-linejoin:round}.qp-k{stroke:#ffffff}";
  const auto palette = [&](const auto& list) {
    for (std::size_t i = 0; i < list.size(); ++i) s += text(".qp-c", i, "{color:", list[i], '}');
  };
  palette(light);
  s += "@media(prefers-color-scheme:dark){.qp-bg{fill:#14171c}.qp-t{fill:#e6e8eb}.qp-m{fill:#a3abb5}"
       ".qp-g{stroke:#2c323a}.qp-a{stroke:#7d858f}.qp-f{stroke:#a3abb5}.qp-o{stroke:#14171c}.qp-k{stroke:#14171c}";
  palette(dark);
  return s + "}</style>\n";
}

/// Opens a picture with a background. `description` is what a screen reader says.
inline std::string open(double width, double height, std::string_view description) {
  const std::string box = px(width) + ' ' + px(height);
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"qp\" viewBox=\"0 0 " + box + "\" width=\"" + px(width) +
         "\" height=\"" + px(height) + "\" role=\"img\" aria-label=\"" + escape_xml(one_line(description)) + "\">\n" +
         style() + "<rect class=\"qp-bg\" width=\"" + px(width) + "\" height=\"" + px(height) + "\"/>\n";
}
inline std::string close() { return "</svg>\n"; }

enum class Anchor { start, middle, end };

/// Text with its baseline at (x, y). `css` names classes of style(), e.g. "qp-t".
inline std::string label(double x, double y, std::string_view s, std::string_view css = "qp-t",
                         Anchor anchor = Anchor::start) {
  std::string out = "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\" class=\"" + std::string(css) + '"';
  if (anchor != Anchor::start) out += anchor == Anchor::middle ? " text-anchor=\"middle\"" : " text-anchor=\"end\"";
  return out + '>' + escape_xml(one_line(s)) + "</text>\n";
}

inline std::string line(double x0, double y0, double x1, double y1, std::string_view css) {
  return "<line x1=\"" + px(x0) + "\" y1=\"" + px(y0) + "\" x2=\"" + px(x1) + "\" y2=\"" + px(y1) + "\" class=\"" +
         std::string(css) + "\"/>\n";
}

/// The class that sets colour number `i`.
inline std::string color_class(std::size_t i) { return text("qp-c", i % colors); }

/// The dash pattern of series `i` as an attribute; the first is solid.
inline std::string dash(std::size_t i) {
  const std::array<const char*, 4> patterns{"", "7 3", "2 3", "9 3 2 3"};
  const std::string p = patterns[i / 2 % patterns.size()];
  return p.empty() ? std::string() : " stroke-dasharray=\"" + p + '"';
}

/// Marker of shape number `i` around (x, y), `r` its radius in pixels, in colour number `color`; `tip` is shown when
/// the pointer rests on it. Odd rounds of the eight shapes would repeat: colours and shapes together give 24 pairs.
inline std::string marker(std::size_t i, double x, double y, double r, std::size_t color, std::string_view tip = {}) {
  const auto point = [&](double dx, double dy) { return px(x + dx * r) + ' ' + px(y + dy * r); };
  const auto polygon = [&](std::initializer_list<std::array<double, 2>> corners) {
    std::string d = "<path d=\"M";
    bool first = true;
    for (const auto& c : corners) {
      if (!first) d += 'L';
      d += point(c[0], c[1]);
      first = false;
    }
    return d + "Z\"";
  };
  std::string shape;
  bool filled = true;
  switch (i % markers) {
    case 0:
      shape = "<circle cx=\"" + px(x) + "\" cy=\"" + px(y) + "\" r=\"" + px(r) + '"';
      break;
    case 1:
      shape = polygon({{-.9, -.9}, {.9, -.9}, {.9, .9}, {-.9, .9}});
      break;
    case 2:
      shape = polygon({{0, -1.15}, {1.1, .85}, {-1.1, .85}});
      break;
    case 3:
      shape = polygon({{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}});
      break;
    case 4:
      shape = polygon({{0, 1.15}, {1.1, -.85}, {-1.1, -.85}});
      break;
    case 5:
      shape = "<path d=\"M" + point(-1.1, 0) + 'L' + point(1.1, 0) + 'M' + point(0, -1.1) + 'L' + point(0, 1.1) + '"';
      filled = false;
      break;
    case 6:
      shape = "<path d=\"M" + point(-.9, -.9) + 'L' + point(.9, .9) + 'M' + point(-.9, .9) + 'L' + point(.9, -.9) + '"';
      filled = false;
      break;
    default:
      shape = "<circle cx=\"" + px(x) + "\" cy=\"" + px(y) + "\" r=\"" + px(r - 0.5) + '"';
      filled = false;
  }
  shape += " class=\"" + color_class(color) + (filled ? " qp-k" : "") + '"';
  shape += filled ? " fill=\"currentColor\" stroke-width=\"1\""
                  : " fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"";
  if (tip.empty()) return shape + "/>\n";
  const std::string element = shape.substr(1, shape.find(' ') - 1);
  return shape + "><title>" + escape_xml(one_line(tip)) + "</title></" + element + ">\n";
}

}  // namespace svg
}  // namespace qdistill::inline QDISTILL_ABI::train
