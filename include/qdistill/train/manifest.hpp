/// The manifest of a run: what is needed to know, and to repeat, what made the results beside it.
#pragma once

#include <chrono>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "qdistill/core/isa.hpp"
#include "qdistill/core/parallel.hpp"
#include "qdistill/train/json.hpp"

namespace qdistill::inline QDISTILL_ABI::train {

/// UTC as "2026-01-31T12:34:56.789Z".
inline std::string utc_time(std::chrono::system_clock::time_point t = std::chrono::system_clock::now()) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
  const std::int64_t day_ms = 86400000;
  std::int64_t days = ms / day_ms, rest = ms % day_ms;
  if (rest < 0) {
    rest += day_ms;
    --days;
  }
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  const auto digits = [](std::int64_t v, int n) {
    std::string s(static_cast<std::size_t>(n), '0');
    for (int i = n - 1; i >= 0; --i, v /= 10) s[static_cast<std::size_t>(i)] = static_cast<char>('0' + v % 10);
    return s;
  };
  return digits(static_cast<int>(date.year()), 4) + '-' + digits(static_cast<unsigned>(date.month()), 2) + '-' +
         digits(static_cast<unsigned>(date.day()), 2) + 'T' + digits(rest / 3600000, 2) + ':' +
         digits(rest / 60000 % 60, 2) + ':' + digits(rest / 1000 % 60, 2) + '.' + digits(rest % 1000, 3) + 'Z';
}

/// The processor's model by /proc/cpuinfo; "unknown" where there is none.
inline std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return "unknown";
}

/// The compiler and its version, as the compiler names itself.
inline std::string compiler_name() {
#if defined(__clang__)
  return text("clang ", __clang_major__, '.', __clang_minor__, '.', __clang_patchlevel__);
#elif defined(__GNUC__)
  return text("g++ ", __GNUC__, '.', __GNUC_MINOR__, '.', __GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

/// One word of a command, quoted for a POSIX shell where it needs to be.
inline std::string shell_quoted(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./=:,+%@").find(c) != std::string_view::npos;
  };
  bool quote = word.empty();
  for (const char c : word) quote = quote || !plain(c);
  if (!quote) return word;
  std::string out = "'";
  for (const char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + '\'';
}

/// A command that a user can paste.
inline std::string shell_command(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) out += (out.empty() ? "" : " ") + shell_quoted(w);
  return out;
}

/// What a program knows about itself and its run; the rest of the manifest is found out.
struct RunInfo {
  std::vector<std::string> arguments = {};  ///< argv, the program's name first
  std::string commit = {};                  ///< git commit; empty: not known. Programs get it from their build.
  std::string flags = {};                   ///< compiler flags; empty: not known
  std::uint64_t seed = 0;
  std::string data = {};           ///< what the data are, e.g. "CIFAR-10" or "generated digits"
  std::string data_checksum = {};  ///< e.g. "sha256:..."; empty: none
  Json settings = Json::object();  ///< everything that was chosen, by name
};

/// The manifest as JSON. A field that is not known is null.
inline Json manifest(const RunInfo& run) {
  const auto known = [](const std::string& s) { return s.empty() ? Json(nullptr) : Json(s); };
  Json m;
  m["command"] = shell_command(run.arguments);
  m["argv"] = run.arguments;
  m["date"] = utc_time();
  m["seed"] = run.seed;
  m["data"] = {{"name", known(run.data)}, {"checksum", known(run.data_checksum)}};
  m["settings"] = run.settings;
  m["qdistill"] = {{"version", QDISTILL_VERSION_STRING}, {"commit", known(run.commit)}};
  m["build"] = {{"compiler", compiler_name()}, {"flags", known(run.flags)}, {"openmp", QDISTILL_OPENMP == 1}};
  m["machine"] = {{"cpu", cpu_model()},
                  {"instruction_set", name(active_isa())},
                  {"threads", num_threads()},
                  {"hardware_threads", static_cast<int>(std::thread::hardware_concurrency())}};
  return m;
}

}  // namespace qdistill::inline QDISTILL_ABI::train
