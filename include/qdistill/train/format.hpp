/// Text for people: numbers, durations and byte counts as words, display width of UTF-8, escaping for SVG and HTML.
/// Everything here is a pure function, independent of the locale.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// One code point of a UTF-8 text and the bytes that it takes.
struct CodePoint {
  std::uint32_t value = 0;
  std::size_t bytes = 1;
};

/// Decodes the code point at `i < s.size()`. A byte that starts no valid sequence (RFC 3629: overlong forms and
/// surrogates are invalid) reads as U+FFFD of one byte.
inline CodePoint decode_utf8(std::string_view s, std::size_t i) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(s[k]); };
  const std::uint32_t b0 = byte(i);
  if (b0 < 0x80) return {b0, 1};
  const std::size_t n = b0 >= 0xF0 && b0 < 0xF5 ? 4 : b0 >= 0xE0 && b0 < 0xF0 ? 3 : b0 >= 0xC2 && b0 < 0xE0 ? 2 : 0;
  if (n == 0 || s.size() - i < n) return {0xFFFD, 1};
  std::uint32_t c = b0 & (0xFFu >> (n + 1));
  for (std::size_t k = 1; k < n; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return {0xFFFD, 1};
    c = c << 6 | (byte(i + k) & 0x3Fu);
  }
  const bool overlong = (n == 3 && c < 0x800) || (n == 4 && c < 0x10000);
  if (overlong || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return {0xFFFD, 1};
  return {c, n};
}

/// Appends `c` as UTF-8.
inline void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

/// Columns that a code point takes on a terminal: 0 for combining marks and controls, 2 for wide East Asian letters and
/// emoji, else 1 (the main ranges of Unicode's EastAsianWidth).
inline int code_point_width(std::uint32_t c) noexcept {
  if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return 0;
  if ((c >= 0x300 && c < 0x370) || (c >= 0x200B && c <= 0x200F) || (c >= 0x20D0 && c < 0x2100) ||
      (c >= 0xFE00 && c <= 0xFE0F) || (c >= 0xFE20 && c <= 0xFE2F) || c == 0xFEFF)
    return 0;
  if ((c >= 0x1100 && c < 0x1160) || (c >= 0x2E80 && c < 0xA4D0 && c != 0x303F) || (c >= 0xAC00 && c < 0xD7A4) ||
      (c >= 0xF900 && c < 0xFB00) || (c >= 0xFE30 && c < 0xFE70) || (c >= 0xFF00 && c < 0xFF61) ||
      (c >= 0xFFE0 && c < 0xFFE7) || (c >= 0x1F300 && c < 0x1FB00) || (c >= 0x20000 && c < 0x3FFFE))
    return 2;
  return 1;
}

/// Columns that `s` takes on a terminal.
inline Index display_width(std::string_view s) {
  Index width = 0;
  for (std::size_t i = 0; i < s.size();) {
    const CodePoint c = decode_utf8(s, i);
    width += code_point_width(c.value);
    i += c.bytes;
  }
  return width;
}

/// `s` as one line of valid UTF-8: controls (which a terminal would obey) become spaces, bad bytes U+FFFD.
inline std::string one_line(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size();) {
    const CodePoint c = decode_utf8(s, i);
    append_utf8(out, c.value < 0x20 || (c.value >= 0x7F && c.value < 0xA0) ? ' ' : c.value);
    i += c.bytes;
  }
  return out;
}

/// `s`, or as many of its characters as fit `width` columns with an ellipsis at the end.
inline std::string truncated(std::string_view s, Index width) {
  if (display_width(s) <= width) return std::string(s);
  std::string out;
  Index used = 1;  // the ellipsis
  for (std::size_t i = 0; i < s.size();) {
    const CodePoint c = decode_utf8(s, i);
    used += code_point_width(c.value);
    if (used > width) break;
    append_utf8(out, c.value);
    i += c.bytes;
  }
  if (width > 0) append_utf8(out, 0x2026);
  return out;
}

/// `s` filled with spaces to `width` columns, on the left if `right_aligned`.
inline std::string padded(std::string_view s, Index width, bool right_aligned = false) {
  const Index missing = width - display_width(s);
  const std::string space(static_cast<std::size_t>(missing > 0 ? missing : 0), ' ');
  return right_aligned ? space + std::string(s) : std::string(s) + space;
}

/// Escapes for the text and the attribute values of XML and HTML. Characters that XML 1.0 forbids and bad UTF-8 become
/// U+FFFD, so the result is well formed whatever `s` holds.
inline std::string escape_xml(std::string_view s) {
  std::string out;
  out.reserve(s.size() + s.size() / 8);
  for (std::size_t i = 0; i < s.size();) {
    const CodePoint c = decode_utf8(s, i);
    i += c.bytes;
    switch (c.value) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default: {
        const bool control = c.value < 0x20 && c.value != '\t' && c.value != '\n' && c.value != '\r';
        const bool forbidden = control || (c.value >= 0x7F && c.value < 0xA0) || (c.value & 0xFFFE) == 0xFFFE;
        append_utf8(out, forbidden ? 0xFFFD : c.value);
      }
    }
  }
  return out;
}

namespace detail {

inline std::string to_chars_text(double value, std::chars_format format, int digits) {
  char buffer[512];  // the longest double in fixed notation: 309 digits before the point, up to 100 after it
  digits = digits < 0 ? 0 : digits > 100 ? 100 : digits;
  const auto r = std::to_chars(buffer, buffer + sizeof buffer, value, format, digits);
  return std::string(buffer, r.ptr);
}

}  // namespace detail

/// `value` with `digits` places after the point: "12.30"; "nan", "inf" and "-inf" for those. Never "-0.00".
inline std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string s = detail::to_chars_text(value, std::chars_format::fixed, digits);
  if (s[0] == '-' && s.find_first_of("123456789") == std::string::npos) s.erase(0, 1);
  return s;
}

/// `value` with about `digits` significant digits, in scientific notation outside [1e-4, 1e6): "0.0123", "3.2e-09".
inline std::string significant(double value, int digits = 4) {
  if (!std::isfinite(value)) return fixed(value, 0);
  if (value == 0) return "0";
  const double magnitude = std::abs(value);
  if (magnitude < 1e-4 || magnitude >= 1e6)
    return detail::to_chars_text(value, std::chars_format::scientific, digits - 1);
  return fixed(value, digits - 1 - static_cast<int>(std::floor(std::log10(magnitude))));
}

/// An integer with its thousands apart: "5,343,026".
inline std::string grouped(Index value) {
  std::string s = text(value);
  const std::size_t first = s[0] == '-' ? 1 : 0;
  for (std::size_t i = s.size(); i > first + 3;) {
    i -= 3;
    s.insert(i, 1, ',');
  }
  return s;
}

/// A count of bytes in decimal units with three digits: "532 B", "1.02 kB", "21.4 MB" (1 MB = 10^6 bytes).
inline std::string bytes_text(double bytes) {
  if (!std::isfinite(bytes)) return fixed(bytes, 0);
  const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int unit = 0;
  while (std::abs(bytes) >= 999.5 && unit < 5) {
    bytes /= 1000;
    ++unit;
  }
  const double magnitude = std::abs(bytes);
  const int digits = unit == 0 ? 0 : magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0;
  return fixed(bytes, digits) + ' ' + units[unit];
}

/// Seconds as "0.42 s", "12.3 s", "4:05" (minutes) or "2:04:05" (hours); "?" if unknown (NaN, negative, infinite).
inline std::string duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e12) return "?";
  if (seconds < 9.995) return fixed(seconds, 2) + " s";
  if (seconds < 59.95) return fixed(seconds, 1) + " s";
  const Index total = static_cast<Index>(seconds + 0.5);
  const auto two = [](Index v) { return (v < 10 ? "0" : "") + text(v); };
  if (total < 3600) return text(total / 60, ':', two(total % 60));
  return text(total / 3600, ':', two(total / 60 % 60), ':', two(total % 60));
}

}  // namespace qdistill::inline QDISTILL_ABI::train
