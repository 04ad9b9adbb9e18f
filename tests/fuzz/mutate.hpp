/// Mutations of files, driven by one stream of random numbers: bytes and chunks anywhere, digits and punctuation of the
/// JSON header, values of the JSON in the metadata of a packed file, the length field.
#pragma once

#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "qdistill/core/random.hpp"

namespace fuzz {

using Bytes = std::vector<std::byte>;

struct Random {
  qdistill::RandomStream stream;
  std::uint64_t at = 0;
  std::uint32_t below(std::size_t n) { return stream.below(at++, static_cast<std::uint32_t>(n)); }
  bool chance(std::uint32_t percent) { return below(100) < percent; }
};

/// Length of the JSON header as the file says, cut to what is there.
inline std::size_t header_length(const Bytes& file) {
  if (file.size() < 8) return 0;
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  return static_cast<std::size_t>(std::min<std::uint64_t>(length, file.size() - 8));
}

inline Bytes with_header(const Bytes& file, const std::string& header) {
  const std::size_t old = header_length(file);
  Bytes out(8 + header.size());
  const std::uint64_t length = header.size();
  std::memcpy(out.data(), &length, 8);
  std::memcpy(out.data() + 8, header.data(), header.size());
  out.insert(out.end(), file.begin() + static_cast<std::ptrdiff_t>(8 + old), file.end());
  return out;
}

inline void change_bytes(Bytes& file, Random& random, const Bytes& other) {
  const auto position = [&](std::size_t size) { return static_cast<std::ptrdiff_t>(random.below(size)); };
  if (file.empty()) file.push_back(std::byte{0});
  switch (random.below(7)) {
    case 0:
      file[static_cast<std::size_t>(position(file.size()))] ^= static_cast<std::byte>(1u << random.below(8));
      break;
    case 1:
      file[static_cast<std::size_t>(position(file.size()))] = static_cast<std::byte>(random.below(256));
      break;
    case 2:  // the length field
      for (int i = 0; i < 2; ++i) file[random.below(std::min<std::size_t>(8, file.size()))] ^= std::byte{0x81};
      break;
    case 3:
      file.resize(static_cast<std::size_t>(position(file.size())));
      break;
    case 4: {  // remove a chunk
      const auto begin = position(file.size());
      const auto length = std::min<std::ptrdiff_t>(1 + position(64), std::ssize(file) - begin);
      file.erase(file.begin() + begin, file.begin() + begin + length);
      break;
    }
    case 5: {  // repeat a chunk elsewhere
      const auto begin = position(file.size());
      const auto length = std::min<std::ptrdiff_t>(1 + position(64), std::ssize(file) - begin);
      const Bytes chunk(file.begin() + begin, file.begin() + begin + length);
      file.insert(file.begin() + position(file.size() + 1), chunk.begin(), chunk.end());
      break;
    }
    default:  // the end of another file
      if (!other.empty()) {
        file.resize(static_cast<std::size_t>(position(file.size())));
        file.insert(file.end(), other.begin() + std::min<std::ptrdiff_t>(std::ssize(file), std::ssize(other)),
                    other.end());
      }
  }
}

inline const char* hostile_number(Random& random) {
  constexpr const char* numbers[] = {"0",          "1",     "-1",  "2",
                                     "7",          "40",    "255", "4294967296",
                                     "2147483647", "1e9",   "0.5", "9223372036854775807",
                                     "1e999",      "65536", "-0",  "18446744073709551616"};
  return numbers[random.below(std::size(numbers))];
}

/// Changes a number, a character or a chunk of JSON text.
inline void change_text(std::string& text, Random& random) {
  if (text.empty()) return;
  const std::size_t at = random.below(text.size());
  constexpr const char* pieces[] = {"{", "}", "[", "]", ",", ":", "\"", "\\u0000", "null", "true", "{}", "[[[[", " "};
  switch (random.below(5)) {
    case 0:
    case 1: {  // the next number
      const std::size_t begin = text.find_first_of("0123456789", at);
      if (begin == std::string::npos) return;
      const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
      text.replace(begin, end - begin, hostile_number(random));
      break;
    }
    case 2:
      text.insert(at, pieces[random.below(std::size(pieces))]);
      break;
    case 3:
      text.erase(at, 1 + random.below(20));
      break;
    default:
      text.insert(random.below(text.size()), text.substr(at, 1 + random.below(60)));
  }
}

/// Replaces, removes or copies one value somewhere in `value`.
inline void change_json(nlohmann::json& value, Random& random) {
  nlohmann::json* node = &value;
  while (node->is_structured() && !node->empty() && !random.chance(15))
    node = &*std::next(node->begin(), static_cast<std::ptrdiff_t>(random.below(node->size())));
  switch (random.below(8)) {
    case 0:
    case 1:
      *node = nlohmann::json::parse(hostile_number(random), nullptr, false);
      if (node->is_discarded()) *node = nullptr;
      break;
    case 2:
      *node = nlohmann::json::array();
      break;
    case 3:
      *node = nlohmann::json::object();
      break;
    case 4: {
      constexpr const char* words[] = {"huffman", "plain", "dense", "uniform", "table", "grouped", "product"};
      *node = words[random.below(std::size(words))];
      break;
    }
    case 5:
      if (node->is_structured() && !node->empty())
        node->erase(std::next(node->begin(), static_cast<std::ptrdiff_t>(random.below(node->size()))));
      break;
    case 6:
      if (node->is_array() && !node->empty()) node->push_back(node->front());
      break;
    default:
      if (node->is_number_integer()) *node = node->get<std::int64_t>() / 2 + random.below(5);
  }
}

/// Changes the header's text, or the JSON inside its metadata, and sets the length field to fit.
inline void change_header(Bytes& file, Random& random) {
  const std::size_t length = header_length(file);
  if (length == 0) return;
  std::string header(reinterpret_cast<const char*>(file.data()) + 8, length);
  nlohmann::json parsed = nlohmann::json::parse(header, nullptr, false);
  if (parsed.is_object() && parsed.contains("__metadata__") && random.chance(60)) {
    auto& metadata = parsed["__metadata__"];
    if (metadata.is_object() && metadata.contains("qdistill") && metadata["qdistill"].is_string()) {
      nlohmann::json inner = nlohmann::json::parse(metadata["qdistill"].get<std::string>(), nullptr, false);
      if (!inner.is_discarded()) {
        if (random.chance(80)) {
          change_json(inner, random);
          metadata["qdistill"] = inner.dump();
        } else {
          std::string text = inner.dump();
          change_text(text, random);
          metadata["qdistill"] = text;
        }
        try {
          header = parsed.dump();
        } catch (const nlohmann::json::exception&) {
          return;  // no longer UTF-8
        }
        file = with_header(file, header);
        return;
      }
    }
  }
  change_text(header, random);
  file = with_header(file, header);
}

inline Bytes mutate(Bytes file, const Bytes& other, bool has_header, Random& random) {
  const std::uint32_t changes = 1 + random.below(3);
  for (std::uint32_t i = 0; i < changes; ++i) {
    if (has_header && random.chance(65)) change_header(file, random);
    else change_bytes(file, random, other);
  }
  return file;
}

}  // namespace fuzz
