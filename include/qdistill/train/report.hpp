/// report.html: one self-contained page (no script, no font, no picture outside it), light or dark as the reader's
/// system is.
///
///   train::Report report("CIFAR-10, preset quick");
///   report.paragraph("...").settings(settings).heading("Results").table(results).figure(accuracy_against_bytes,
///   "..."); record.write_text("report.html", report.html());
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "qdistill/train/json.hpp"
#include "qdistill/train/svg.hpp"
#include "qdistill/train/table.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// Builds the page from top to bottom. All text is escaped.
class Report {
 public:
  explicit Report(std::string title) : title_(std::move(title)) {}

  Report& heading(std::string_view s) {
    body_ += "<h2>" + escape_xml(s) + "</h2>\n";
    return *this;
  }
  Report& paragraph(std::string_view s) {
    body_ += "<p>" + escape_xml(s) + "</p>\n";
    return *this;
  }
  /// A command or other text whose lines are kept.
  Report& preformatted(std::string_view s) {
    body_ += "<pre>" + escape_xml(s) + "</pre>\n";
    return *this;
  }
  Report& table(const Table& t, std::string_view caption = {}) {
    body_ += "<figure class=\"wide\">\n" + t.html() + figure_caption(caption) + "</figure>\n";
    return *this;
  }
  Report& figure(const Svg& picture, std::string_view caption = {}) {
    body_ += "<figure>\n" + picture.text + figure_caption(caption) + "</figure>\n";
    return *this;
  }
  /// An object as names and values; objects inside it have names like "build.compiler". Arrays are shown as JSON.
  Report& settings(const Json& values) {
    body_ += "<div class=\"wide\"><table class=\"kv\">\n<tbody>\n";
    append_values(values, "", 0);
    body_ += "</tbody>\n</table></div>\n";
    return *this;
  }

  /// The whole page.
  std::string html() const {
    const std::string title = escape_xml(one_line(title_));
    return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
           "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>" +
           title + "</title>\n" + style() + "</head>\n<body>\n<main>\n<h1>" + title + "</h1>\n" + body_ +
           "</main>\n</body>\n</html>\n";
  }

 private:
  static std::string figure_caption(std::string_view s) {
    return s.empty() ? std::string() : "<figcaption>" + escape_xml(s) + "</figcaption>\n";
  }

  void append_values(const Json& values, const std::string& prefix, int depth) {
    for (const auto& item : values.items()) {
      const std::string name = prefix.empty() ? item.key() : prefix + '.' + item.key();
      const Json& v = item.value();
      if (v.is_object() && !v.empty() && depth < 8) {
        append_values(v, name, depth + 1);
        continue;
      }
      const std::string shown = v.is_string() ? v.get<std::string>() : v.is_null() ? "–" : json_line(v);
      body_ += "<tr><th scope=\"row\">" + escape_xml(name) + "</th><td>" + escape_xml(shown) + "</td></tr>\n";
    }
  }

  static std::string style() {
    return "<style>\n"
           ":root{color-scheme:light dark;--bg:#fff;--text:#1f2328;--muted:#5b626b;--line:#d9dde2;--soft:#f4f5f7}\n"
           "@media(prefers-color-scheme:dark){:root{--bg:#14171c;--text:#e6e8eb;--muted:#a3abb5;--line:#363d46;"
           "--soft:#1d2127}}\n"
           "body{margin:0;background:var(--bg);color:var(--text);font:16px/1.5 system-ui,-apple-system,'Segoe UI',"
           "Roboto,'DejaVu Sans',sans-serif}\n"
           "main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}\n"
           "h1{font-size:1.7rem;line-height:1.25;margin:.5rem 0 1rem}h2{font-size:1.2rem;margin:2.2rem 0 .6rem}\n"
           "p{max-width:44rem}figure{margin:1rem 0}figure svg{max-width:100%;height:auto;display:block}\n"
           "figcaption{color:var(--muted);font-size:.875rem;margin-top:.4rem;max-width:44rem}\n"
           ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
           "th,td{padding:.3rem .75rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}\n"
           "thead th{border-bottom:2px solid var(--muted);white-space:nowrap;vertical-align:bottom}\n"
           "th small{font-weight:400;color:var(--muted)}figure td{white-space:nowrap}.n{text-align:right}\n"
           "tr.rule td{border-top:2px solid var(--muted)}tbody tr:hover{background:var(--soft)}\n"
           ".kv th{font-weight:400;color:var(--muted);white-space:nowrap}.kv td{overflow-wrap:anywhere}\n"
           "pre{background:var(--soft);padding:.75rem 1rem;overflow-x:auto;font-size:.85rem;border-radius:4px}\n"
           "</style>\n";
  }

  std::string title_;
  std::string body_;
};

}  // namespace qdistill::inline QDISTILL_ABI::train
