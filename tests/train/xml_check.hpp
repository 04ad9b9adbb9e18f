/// A small check that a text is well-formed XML: tags nest, attributes are quoted and unique, every ampersand starts
/// one of the five named entities or a number, and only legal characters occur. Enough for SVG and for our HTML.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "qdistill/train/format.hpp"

namespace xml_check {

/// Empty if `s` is one well-formed element (after an optional <!DOCTYPE>), else what is wrong, with its offset.
inline std::string problem(std::string_view s) {
  using qdistill::text;
  const auto space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
  const auto name_char = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == ':' ||
           c == '_';
  };
  const auto entity_ok = [&](std::size_t i) {
    const std::string_view rest = s.substr(i, 10);
    for (const std::string_view e : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}) {
      if (rest.substr(0, e.size()) == e) return true;
    }
    return false;
  };
  for (std::size_t i = 0; i < s.size();) {
    const auto c = qdistill::train::decode_utf8(s, i);
    if (c.value == 0xFFFD && c.bytes == 1) return text("bad UTF-8 at ", i);
    if (c.value < 0x20 && !space(static_cast<char>(c.value))) return text("control character at ", i);
    i += c.bytes;
  }
  std::vector<std::string> open;
  bool had_root = false;
  std::size_t i = 0;
  if (s.substr(0, 9) == "<!DOCTYPE") i = s.find('>') + 1;
  while (i < s.size()) {
    if (s[i] == '&' && !entity_ok(i)) return text("bare & at ", i);
    if (s[i] != '<') {
      if (open.empty() && !space(s[i])) return text("text outside the root at ", i);
      ++i;
      continue;
    }
    const std::size_t start = i++;
    const bool closing = i < s.size() && s[i] == '/';
    if (closing) ++i;
    std::string name;
    while (i < s.size() && name_char(s[i])) name += s[i++];
    if (name.empty()) return text("tag without a name at ", start);
    std::vector<std::string> attributes;
    bool empty_element = false;
    while (true) {
      while (i < s.size() && space(s[i])) ++i;
      if (i >= s.size()) return text("open tag at ", start);
      if (s[i] == '>') break;
      if (s[i] == '/' && i + 1 < s.size() && s[i + 1] == '>') {
        empty_element = true;
        ++i;
        break;
      }
      std::string attribute;
      while (i < s.size() && name_char(s[i])) attribute += s[i++];
      if (closing || attribute.empty() || i + 1 >= s.size() || s[i] != '=' || s[i + 1] != '"')
        return text("bad attribute in <", name, "> at ", i);
      if (std::find(attributes.begin(), attributes.end(), attribute) != attributes.end())
        return text("attribute ", attribute, " twice in <", name, "> at ", i);
      attributes.push_back(attribute);
      for (i += 2; i < s.size() && s[i] != '"'; ++i) {
        if (s[i] == '<') return text("< in an attribute at ", i);
        if (s[i] == '&' && !entity_ok(i)) return text("bare & in an attribute at ", i);
      }
      ++i;
    }
    ++i;
    if (closing) {
      if (open.empty() || open.back() != name) return text("</", name, "> closes nothing at ", start);
      open.pop_back();
    } else {
      if (open.empty() && had_root) return text("second root at ", start);
      had_root = true;
      if (!empty_element) open.push_back(name);
    }
  }
  if (!open.empty()) return "<" + open.back() + "> is not closed";
  return had_root ? "" : "no element";
}

inline std::size_t count(std::string_view s, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t i = s.find(part); i != std::string_view::npos; i = s.find(part, i + part.size())) ++n;
  return n;
}

}  // namespace xml_check
