/// JSON of the run records: the type, and how it is written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "qdistill/core/error.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// Keeps its keys in the order of insertion, so that a record reads as it was written.
using Json = nlohmann::ordered_json;

/// One line without a newline. NaN and infinities, which JSON does not have, become null; bad UTF-8 becomes U+FFFD.
inline std::string json_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// Indented by two spaces, ending in a newline; else as json_line().
inline std::string json_pretty(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

/// Parses `text`. Throws FileError naming `where` and the byte at which it is not JSON.
inline Json parse_json(std::string_view text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& e) {
    fail<FileError>("json", where, ": not JSON at byte ", e.byte, ": ", e.what());
  }
}

}  // namespace qdistill::inline QDISTILL_ABI::train
