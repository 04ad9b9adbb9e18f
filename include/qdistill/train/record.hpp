/// The folder of a run, runs/NAME/: log.jsonl (one JSON object per event), manifest.json, result.json, report.html.
///
/// The log is written through line by line. A checkpoint stores the size that sync() returns; resuming from it cuts the
/// log back to that size, so that the log of a resumed run equals that of an unbroken one but for its time fields
/// (is_time_field()). The other files are replaced atomically: none is ever half-written.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>
#include <vector>

#include "qdistill/io/atomic_file.hpp"
#include "qdistill/io/file.hpp"
#include "qdistill/train/json.hpp"
#include "qdistill/train/manifest.hpp"
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace qdistill::inline QDISTILL_ABI::train {

/// Whether a field of an event depends on the clock: "time", "seconds", and names that end in "_seconds" or
/// "_per_second". Everything else that is logged must be the same bits in a resumed run.
inline bool is_time_field(std::string_view name) noexcept {
  const auto ends_with = [&](std::string_view e) {
    return name.size() >= e.size() && name.substr(name.size() - e.size()) == e;
  };
  return name == "time" || name == "seconds" || ends_with("_seconds") || ends_with("_per_second");
}

/// `event` without its time fields, at any depth.
inline Json without_time(const Json& event) {
  if (event.is_array()) {
    Json out = Json::array();
    for (const Json& e : event) out.push_back(without_time(e));
    return out;
  }
  if (!event.is_object()) return event;
  Json out = Json::object();
  for (const auto& item : event.items()) {
    if (!is_time_field(item.key())) out[item.key()] = without_time(item.value());
  }
  return out;
}

/// Appends events to a file of JSON lines.
class EventLog {
 public:
  /// Opens `path` and keeps its first `keep_bytes` bytes: 0 starts a new log. Throws FileError if the file cannot be
  /// opened, is shorter than that, or does not have the end of a line there.
  explicit EventLog(std::string path, std::uint64_t keep_bytes = 0) : path_(std::move(path)), bytes_(keep_bytes) {
    if (keep_bytes > 0) check_kept(keep_bytes);
    file_ = std::fopen(path_.c_str(), keep_bytes > 0 ? "ab" : "wb");
    check<FileError>(file_ != nullptr, "EventLog", path_, ": cannot be opened for writing: ", std::strerror(errno));
  }
  EventLog(EventLog&& other) noexcept
      : path_(std::move(other.path_)), bytes_(other.bytes_), file_(std::exchange(other.file_, nullptr)) {}
  EventLog& operator=(EventLog&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(bytes_, other.bytes_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~EventLog() {
    if (file_ != nullptr) std::fclose(file_);
  }

  /// Appends `event`, an object, with the field "time" (UTC) added, as one line, and hands it to the system: it
  /// survives the end of this process. Throws FileError, e.g. on a full disk, ValueError if it is not an object.
  void write(Json event) {
    check(event.is_object(), "EventLog", "got ", event.type_name(), ", expected an object");
    event["time"] = utc_time();
    const std::string line = json_line(event) + '\n';
    const bool written = std::fwrite(line.data(), 1, line.size(), file_) == line.size() && std::fflush(file_) == 0;
    check<FileError>(written, "EventLog", path_, ": cannot be written: ", std::strerror(errno));
    bytes_ += line.size();
  }

  /// Brings the log to the disk and returns its size in bytes. A checkpoint stores that size, and calls this before it
  /// is written itself.
  std::uint64_t sync() {
#if defined(__unix__) || defined(__APPLE__)
    // EINVAL: a pipe or a device, which has nothing to bring to a disk.
    check<FileError>(::fsync(::fileno(file_)) == 0 || errno == EINVAL, "EventLog", path_,
                     ": cannot be synchronised: ", std::strerror(errno));
#endif
    return bytes_;
  }

  std::uint64_t bytes() const noexcept { return bytes_; }
  const std::string& path() const noexcept { return path_; }

 private:
  void check_kept(std::uint64_t keep) {
    std::error_code error;
    const std::uint64_t size = std::filesystem::file_size(path_, error);
    check<FileError>(!error, "EventLog", path_, ": cannot be read: ", error.message());
    check<FileError>(size >= keep, "EventLog", path_, ": ", size, " bytes, expected at least the ", keep,
                     " of the checkpoint. HINT: resume from an earlier checkpoint, or start the run again");
    std::ifstream in(path_, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(keep - 1));
    check<FileError>(in.get() == '\n', "EventLog", path_, ": no line ends at byte ", keep,
                     ", where the checkpoint says: the log is of another run");
    in.close();
    std::filesystem::resize_file(path_, keep, error);
    check<FileError>(!error, "EventLog", path_, ": cannot be cut to ", keep, " bytes: ", error.message());
  }

  std::string path_;
  std::uint64_t bytes_ = 0;
  std::FILE* file_ = nullptr;
};

namespace detail {

inline std::string file_text(const std::string& path) {
  const std::vector<std::byte> bytes = io::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace detail

/// The events of a log. A last line without a newline, which a killed process leaves, is not an event. Throws FileError
/// with the line's number if another line is not a JSON object.
inline std::vector<Json> read_events(const std::string& path) {
  const std::string bytes = detail::file_text(path);
  std::vector<Json> events;
  std::size_t begin = 0, number = 1;
  for (std::size_t end = bytes.find('\n'); end != std::string::npos; end = bytes.find('\n', begin), ++number) {
    const std::string where = text(path, " line ", number);
    events.push_back(parse_json(std::string_view(bytes).substr(begin, end - begin), where));
    check<FileError>(events.back().is_object(), "read_events", where, ": ", events.back().type_name(),
                     ", expected an object");
    begin = end + 1;
  }
  return events;
}

/// The values of `field` and of `x` (e.g. "epoch") over the events that have both as numbers and whose other fields
/// equal those of `where`, e.g. {{"stage", "teacher"}, {"split", "validation"}}; ready to be drawn. A null is NaN.
inline std::pair<std::vector<double>, std::vector<double>> event_series(const std::vector<Json>& events,
                                                                        const std::string& x, const std::string& field,
                                                                        const Json& where = Json::object()) {
  std::pair<std::vector<double>, std::vector<double>> out;
  for (const Json& e : events) {
    const auto ex = e.find(x), ey = e.find(field);
    bool take = ex != e.end() && ex->is_number() && ey != e.end() && (ey->is_number() || ey->is_null());
    for (const auto& item : where.items()) {
      const auto found = e.find(item.key());
      take = take && found != e.end() && *found == item.value();
    }
    if (!take) continue;
    out.first.push_back(ex->get<double>());
    out.second.push_back(ey->is_null() ? std::numeric_limits<double>::quiet_NaN() : ey->get<double>());
  }
  return out;
}

/// A run's folder and its log.
class RunRecord {
 public:
  /// Starts a run in `folder`, which is made with its parents. Throws FileError if it holds a run already.
  static RunRecord create(const std::string& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    check<FileError>(!error, "RunRecord", folder, ": cannot be made: ", error.message());
    check<FileError>(!std::filesystem::exists(folder + "/log.jsonl", error), "RunRecord", folder,
                     ": holds a run already. HINT: resume it, remove it, or choose another name");
    return RunRecord(folder, false, 0);
  }
  /// Goes on with the run in `folder` from a checkpoint that stored `log_bytes`.
  static RunRecord resume(const std::string& folder, std::uint64_t log_bytes) {
    std::error_code error;
    check<FileError>(std::filesystem::is_directory(folder, error), "RunRecord", folder, ": no such run");
    return RunRecord(folder, true, log_bytes);
  }

  const std::string& folder() const noexcept { return folder_; }
  std::string path(std::string_view file) const { return folder_ + '/' + std::string(file); }
  EventLog& log() noexcept { return log_; }

  /// Writes manifest.json. A resumed run keeps the first manifest and appends this one to its list "resumed".
  void write_manifest(const Json& manifest) {
    Json whole = manifest;
    std::error_code error;
    if (resumed_ && std::filesystem::exists(path("manifest.json"), error)) {
      whole = parse_json(detail::file_text(path("manifest.json")), path("manifest.json"));
      if (whole.is_object()) {
        Json& list = whole["resumed"];
        if (!list.is_array()) list = Json::array();
        list.push_back(manifest);
      } else {
        whole = manifest;
      }
    }
    io::write_file(path("manifest.json"), json_pretty(whole));
  }
  /// Writes result.json: the run's figures, for programs.
  void write_result(const Json& result) { io::write_file(path("result.json"), json_pretty(result)); }
  /// Writes report.html, or another file of the run's folder.
  void write_text(std::string_view file, std::string_view bytes) { io::write_file(path(file), bytes); }

 private:
  RunRecord(const std::string& folder, bool resumed, std::uint64_t log_bytes)
      : folder_(folder), resumed_(resumed), log_(folder + "/log.jsonl", log_bytes) {}

  std::string folder_;
  bool resumed_ = false;
  EventLog log_;
};

/// `name`, or "NAME-2", "NAME-3", ... : the first for which `root` holds no run.
inline std::string fresh_run_name(const std::string& root, const std::string& name) {
  std::error_code error;
  std::string candidate = name;
  for (Index i = 2; std::filesystem::exists(text(root, '/', candidate, "/log.jsonl"), error); ++i)
    candidate = text(name, '-', i);
  return candidate;
}

}  // namespace qdistill::inline QDISTILL_ABI::train
