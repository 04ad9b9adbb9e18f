/// Errors are exceptions whose text reads "[op] what was got, what was expected", with a HINT where a command repairs
/// it.
#pragma once

#include <charconv>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "qdistill/core/abi.hpp"

namespace qdistill::inline QDISTILL_ABI {

/// Base of everything that the library throws on purpose.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Shapes that do not fit together.
struct ShapeError : Error {
  using Error::Error;
};
/// A value outside its range: a probability of 2, 40 bits, a label of 10 among 10 classes.
struct ValueError : Error {
  using Error::Error;
};
/// Misuse of the graph: backward on a non-scalar, twice through a freed graph, a saved tensor changed in place.
struct GraphError : Error {
  using Error::Error;
};
/// A device that is not there or not linked.
struct DeviceError : Error {
  using Error::Error;
};
/// A file that is missing, truncated, corrupt or of another kind.
struct FileError : Error {
  using Error::Error;
};

namespace detail {

inline void append(std::string& out, std::string_view s) { out += s; }
inline void append(std::string& out, const char* s) { out += s; }
inline void append(std::string& out, const std::string& s) { out += s; }
inline void append(std::string& out, char c) { out += c; }
inline void append(std::string& out, bool b) { out += b ? "true" : "false"; }
template <class N>
requires(std::is_arithmetic_v<N> && !std::is_same_v<N, char> && !std::is_same_v<N, bool>) void append(std::string& out,
                                                                                                      N value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  out.append(buffer, end);
}
/// A list as "[4, 3, 8]".
inline void append(std::string& out, std::span<const Index> values) {
  out += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i) out += ", ";
    append(out, values[i]);
  }
  out += ']';
}

}  // namespace detail

/// Concatenates strings, numbers and lists of Index.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

/// Throws E with the text "[op] parts...".
template <class E = ValueError, class... Parts>
[[noreturn]] void fail(std::string_view op, const Parts&... parts) {
  throw E(text('[', op, "] ", parts...));
}

/// Throws E with the text "[op] parts..." unless `condition` holds. The text is built only on failure.
template <class E = ValueError, class... Parts>
void check(bool condition, std::string_view op, const Parts&... parts) {
  if (!condition) [[unlikely]]
    fail<E>(op, parts...);
}

}  // namespace qdistill::inline QDISTILL_ABI
