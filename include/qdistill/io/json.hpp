/// Strict parsing of foreign JSON. The JSON library by itself keeps the last of duplicate keys, parses any depth, and
/// would overflow the stack when writing what it parsed, and takes a zero byte for the end; so depth is limited,
/// duplicates are refused, and foreign JSON is never written into a message.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::io {

/// Parses `content`. Throws FileError ("[op] source: ...") if it is not JSON, nests deeper than `max_depth`, or repeats
/// a key in an object.
inline nlohmann::json parse_json(std::string_view content, int max_depth, std::string_view op,
                                 const std::string& source) {
  using nlohmann::json;
  check<FileError>(content.find('\0') == std::string_view::npos, op, source, ": JSON with a zero byte");
  std::vector<std::set<std::string, std::less<>>> keys;
  const auto callback = [&](int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        check<FileError>(depth < max_depth, op, source, ": JSON nested deeper than ", max_depth);
        keys.emplace_back();
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        keys.pop_back();
        break;
      case json::parse_event_t::key:
        check<FileError>(keys.back().insert(parsed.get<std::string>()).second, op, source,
                         ": JSON with a repeated key");
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return json::parse(content.begin(), content.end(), callback);
  } catch (const json::parse_error& e) {
    fail<FileError>(op, source, ": not valid JSON at byte ", e.byte);
  } catch (const json::exception&) {
    fail<FileError>(op, source, ": JSON with a number out of range");
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::io
