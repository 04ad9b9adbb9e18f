/// A table of results, written once and printed four ways: aligned text, Markdown, CSV and HTML.
///
///   Table table({{"network"}, {"accuracy", "%", 2}, {"bytes"}});
///   table.add({"teacher", 91.24, Index{21372104}});
///   std::fputs(table.text().c_str(), stdout);
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "qdistill/train/format.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// One value of a table: nothing, text, a whole number, or a real number with an optional spread.
struct Cell {
  enum class Kind { empty, text, integer, real };

  Kind kind = Kind::empty;
  std::string string;
  Index integer = 0;
  double value = 0;
  double spread = std::numeric_limits<double>::quiet_NaN();

  Cell() = default;
  Cell(std::string s) : kind(Kind::text), string(std::move(s)) {}
  Cell(const char* s) : kind(Kind::text), string(s) {}
  Cell(std::string_view s) : kind(Kind::text), string(s) {}
  Cell(Index n) : kind(Kind::integer), integer(n) {}
  Cell(int n) : kind(Kind::integer), integer(n) {}
  Cell(double v) : kind(Kind::real), value(v) {}
  /// A mean and its spread, printed "88.12 ± 0.31".
  Cell(double mean, double plus_minus) : kind(Kind::real), value(mean), spread(plus_minus) {}

  bool is_number() const noexcept { return kind == Kind::integer || kind == Kind::real; }
};

/// A column: its heading, the unit shown beside the heading, and the places after the point of its real numbers.
struct Column {
  std::string name;
  std::string unit = {};
  int digits = 2;

  std::string heading() const { return unit.empty() ? name : name + " (" + unit + ")"; }
};

/// Columns and rows. Columns whose filled cells are all numbers (or a dash, or "inf") are aligned right. A real number
/// that is not finite is printed as a dash and is empty in CSV.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {
    check(!columns_.empty(), "Table", "got no columns, expected at least 1");
  }

  /// Appends a row. Throws ShapeError if it has more cells than there are columns; missing cells are empty.
  Table& add(std::vector<Cell> row) {
    check<ShapeError>(row.size() <= columns_.size(), "Table", "got a row of ", row.size(), " cells, expected at most ",
                      columns_.size());
    row.resize(columns_.size());
    rows_.push_back(std::move(row));
    return *this;
  }
  /// Draws a line above the next row.
  Table& rule() {
    rules_.push_back(rows_.size());
    return *this;
  }

  std::size_t rows() const noexcept { return rows_.size(); }
  const std::vector<Column>& columns() const noexcept { return columns_; }
  const Cell& cell(std::size_t row, std::size_t column) const { return rows_.at(row).at(column); }

  /// The cell as it is shown.
  std::string shown(std::size_t row, std::size_t column) const {
    const Cell& c = cell(row, column);
    if (c.kind == Cell::Kind::text) return one_line(c.string);
    if (c.kind == Cell::Kind::integer) return grouped(c.integer);
    if (c.kind == Cell::Kind::empty) return {};
    if (!std::isfinite(c.value)) return "–";
    const int digits = columns_[column].digits;
    std::string s = fixed(c.value, digits);
    if (std::isfinite(c.spread)) s += " ± " + fixed(c.spread, digits);
    return s;
  }

  bool right_aligned(std::size_t column) const {
    bool any = false;
    for (const auto& row : rows_) {
      const Cell& c = row[column];
      const bool number = c.string.empty() || c.string == "-" || c.string == "–" || c.string == "—" ||
                          c.string == "inf" || c.string == "-inf";
      if (c.kind == Cell::Kind::text && !number) return false;
      any = any || row[column].is_number();
    }
    return any;
  }

  /// Aligned columns for a terminal, in UTF-8, one line per row, ending in a newline.
  std::string text() const {
    const std::vector<Index> width = widths();
    std::string out, line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      append_field(line, c, one_line(columns_[c].heading()), width[c]);
    }
    end_line(out, line);
    out += separator(width);
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (r > 0 && has_rule(r)) out += separator(width);
      for (std::size_t c = 0; c < columns_.size(); ++c) append_field(line, c, shown(r, c), width[c]);
      end_line(out, line);
    }
    return out;
  }

  /// A Markdown table (the pipe syntax of GitHub), its columns aligned in the source too.
  std::string markdown() const {
    const auto escaped = [](const std::string& s) {
      std::string e;
      for (const char c : one_line(s)) {
        if (c == '|' || c == '\\' || c == '<' || c == '`' || c == '*' || c == '_' || c == '[') e += '\\';
        e += c;
      }
      return e;
    };
    std::vector<Index> width(columns_.size());
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      width[c] = std::max<Index>(3, display_width(escaped(columns_[c].heading())));
      for (std::size_t r = 0; r < rows_.size(); ++r) width[c] = std::max(width[c], display_width(escaped(shown(r, c))));
    }
    std::string out = "|";
    for (std::size_t c = 0; c < columns_.size(); ++c)
      out += ' ' + padded(escaped(columns_[c].heading()), width[c], right_aligned(c)) + " |";
    out += "\n|";
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const bool right = right_aligned(c);
      out += ' ' + std::string(static_cast<std::size_t>(right ? width[c] - 1 : width[c]), '-') + (right ? ": |" : " |");
    }
    out += '\n';
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      out += '|';
      for (std::size_t c = 0; c < columns_.size(); ++c)
        out += ' ' + padded(escaped(shown(r, c)), width[c], right_aligned(c)) + " |";
      out += '\n';
    }
    return out;
  }

  /// Comma-separated values (RFC 4180 quoting, lines end in "\n"). Numbers are written in full, with the shortest
  /// digits that read back to the same value; a column with spreads is followed by "NAME spread".
  std::string csv() const {
    std::string out;
    std::vector<bool> spread(columns_.size());
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      for (const auto& row : rows_) spread[c] = spread[c] || std::isfinite(row[c].spread);
      if (c) out += ',';
      out += csv_quoted(columns_[c].heading());
      if (spread[c]) out += ',' + csv_quoted(columns_[c].heading() + " spread");
    }
    out += '\n';
    const auto number = [](double v) { return std::isfinite(v) ? qdistill::text(v) : std::string(); };
    for (const auto& row : rows_) {
      for (std::size_t c = 0; c < columns_.size(); ++c) {
        if (c) out += ',';
        const Cell& cell = row[c];
        if (cell.kind == Cell::Kind::text) out += csv_quoted(cell.string);
        if (cell.kind == Cell::Kind::integer) out += qdistill::text(cell.integer);
        if (cell.kind == Cell::Kind::real) out += number(cell.value);
        if (spread[c]) out += ',' + number(cell.spread);
      }
      out += '\n';
    }
    return out;
  }

  /// An HTML <table>; number columns have the class "n".
  std::string html() const {
    std::string out = "<table>\n<thead><tr>";
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      out += right_aligned(c) ? "<th class=\"n\" scope=\"col\">" : "<th scope=\"col\">";
      out += escape_xml(columns_[c].name);
      if (!columns_[c].unit.empty()) out += " <small>" + escape_xml(columns_[c].unit) + "</small>";
      out += "</th>";
    }
    out += "</tr></thead>\n<tbody>\n";
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      out += r > 0 && has_rule(r) ? "<tr class=\"rule\">" : "<tr>";
      for (std::size_t c = 0; c < columns_.size(); ++c)
        out += (right_aligned(c) ? "<td class=\"n\">" : "<td>") + escape_xml(shown(r, c)) + "</td>";
      out += "</tr>\n";
    }
    return out + "</tbody>\n</table>\n";
  }

 private:
  bool has_rule(std::size_t row) const {
    for (const std::size_t r : rules_) {
      if (r == row) return true;
    }
    return false;
  }

  std::vector<Index> widths() const {
    std::vector<Index> width(columns_.size());
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      width[c] = display_width(one_line(columns_[c].heading()));
      for (std::size_t r = 0; r < rows_.size(); ++r) width[c] = std::max(width[c], display_width(shown(r, c)));
    }
    return width;
  }

  void append_field(std::string& line, std::size_t column, const std::string& s, Index width) const {
    if (column) line += "  ";
    line += padded(s, width, right_aligned(column));
  }

  static void end_line(std::string& out, std::string& line) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
    out += line + '\n';
    line.clear();
  }

  static std::string separator(const std::vector<Index>& width) {
    std::string out;
    for (std::size_t c = 0; c < width.size(); ++c) {
      if (c) out += "  ";
      out.append(static_cast<std::size_t>(width[c]), '-');
    }
    return out + '\n';
  }

  static std::string csv_quoted(const std::string& s) {
    if (s.find_first_of(",\"\r\n") == std::string::npos) return s;
    std::string out = "\"";
    for (const char c : s) {
      if (c == '"') out += '"';
      out += c;
    }
    return out + '"';
  }

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
  std::vector<std::size_t> rules_;
};

}  // namespace qdistill::inline QDISTILL_ABI::train
