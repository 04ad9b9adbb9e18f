/// Progress of a long run. The library reports to a ProgressSink, whose base class is silent; a program that wants to
/// be watched hands in a TerminalProgress, which writes to stderr (stdout is for results).
///
///   train::TerminalProgress progress;                        // a bar on a terminal, a line every 10 s elsewhere
///   progress.begin("teacher, epoch 3/20", 40000, "images");
///   progress.step(128, metrics);                             // once a step
///   progress.end(metrics);
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <span>
#include <utility>

#include "qdistill/train/format.hpp"
#if defined(__unix__) || defined(__APPLE__)
#include <sys/ioctl.h>
#include <unistd.h>
#endif

namespace qdistill::inline QDISTILL_ABI::train {

/// A named figure shown beside the bar, e.g. {"loss", 0.412}.
struct Metric {
  std::string_view name;
  double value = 0;
};

/// What a run reports to. Called at most once a step, from one thread; this base class ignores everything.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  /// A stage of `total` units starts; a total of 0 means that it is not known. Ends a stage that is still open.
  virtual void begin(std::string_view /*title*/, Index /*total*/, std::string_view /*unit*/) {}
  /// `done` units of the stage have been done since begin().
  virtual void step(Index /*done*/, std::span<const Metric> /*metrics*/) {}
  /// The stage is over.
  virtual void end(std::span<const Metric> /*metrics*/) {}
  /// A line of its own, between stages or above the bar.
  virtual void message(std::string_view /*line*/) {}
};

/// The sink that ignores everything; the default wherever a sink is taken.
inline ProgressSink& silent_progress() noexcept {
  static ProgressSink sink;
  return sink;
}

enum class ColorMode { automatic, always, never };

/// Whether to colour, by the conventions of no-color.org and bixense.com/clicolors. `never` and `always` (a program's
/// --color option) decide alone. Else NO_COLOR set and not empty forbids it, and beats CLICOLOR_FORCE (set, not empty,
/// not "0"), which asks for it; else colour needs a terminal whose TERM is neither unset nor "dumb". Null: not set.
inline bool use_color(ColorMode mode, const char* no_color, const char* clicolor_force, const char* term,
                      bool is_terminal) noexcept {
  const auto set = [](const char* s) { return s != nullptr && *s != '\0'; };
  if (mode != ColorMode::automatic) return mode == ColorMode::always;
  if (set(no_color)) return false;
  if (set(clicolor_force) && std::string_view(clicolor_force) != "0") return true;
  return is_terminal && set(term) && std::string_view(term) != "dumb";
}

/// Whether a line can be redrawn in place: a terminal that is not "dumb".
inline bool can_redraw(const char* term, bool is_terminal) noexcept {
  return is_terminal && term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

/// Whether the locale's variables (LC_ALL before LC_CTYPE before LANG, the first that is set and not empty) name UTF-8.
inline bool utf8_locale(const char* lc_all, const char* lc_ctype, const char* lang) {
  for (const char* s : {lc_all, lc_ctype, lang}) {
    if (s == nullptr || *s == '\0') continue;
    const std::string_view v(s);
    for (const std::string_view name : {"UTF-8", "utf-8", "UTF8", "utf8"}) {
      if (v.find(name) != std::string_view::npos) return true;
    }
    return false;
  }
  return false;
}

/// What is shown of a stage at one moment.
struct ProgressState {
  std::string_view title;
  std::string_view unit;  ///< plural, e.g. "images"
  Index done = 0;
  Index total = 0;     ///< 0: not known
  double seconds = 0;  ///< since the stage began
  std::span<const Metric> metrics;
};

namespace detail {

inline double progress_fraction(const ProgressState& s) noexcept {
  if (s.total <= 0) return 0;
  const double f = static_cast<double>(s.done) / static_cast<double>(s.total);
  return f < 0 ? 0 : f > 1 ? 1 : f;
}

/// "1,234 images/s"; empty before anything was done.
inline std::string progress_rate(const ProgressState& s) {
  if (!(s.seconds > 0) || s.done <= 0) return {};
  const double rate = static_cast<double>(s.done) / s.seconds;
  const std::string number = rate >= 1e15  ? significant(rate, 3)
                             : rate >= 100 ? grouped(static_cast<Index>(rate + 0.5))
                                           : significant(rate, 3);
  return number + ' ' + one_line(s.unit) + "/s";
}

inline std::string progress_metrics(std::span<const Metric> metrics) {
  std::string out;
  for (const Metric& m : metrics) {
    if (!out.empty()) out += "  ";
    out += one_line(m.name) + ' ' + significant(m.value, 4);
  }
  return out;
}

}  // namespace detail

/// One plain line: "teacher: 5,120/40,000 images (13 %), 1,020 images/s, 0:34 left, loss 1.2".
inline std::string progress_line(const ProgressState& s) {
  std::string out = one_line(s.title) + ": " + grouped(s.done);
  if (s.total > 0) out += '/' + grouped(s.total);
  out += ' ' + one_line(s.unit);
  if (s.total > 0) out += " (" + fixed(100 * detail::progress_fraction(s), 0) + " %)";
  if (const std::string rate = detail::progress_rate(s); !rate.empty()) out += ", " + rate;
  if (s.total > 0 && s.done > 0 && s.done < s.total && s.seconds > 0)
    out += ", " + duration(s.seconds * (1 / detail::progress_fraction(s) - 1)) + " left";
  if (!s.metrics.empty()) out += ", " + detail::progress_metrics(s.metrics);
  return out;
}

/// One line of at most `columns` columns with a bar in it. Without `utf8` the bar is drawn in ASCII; colour escapes are
/// added with `color` and take no columns.
inline std::string progress_bar(const ProgressState& s, Index columns, bool color, bool utf8) {
  std::string tail = s.total > 0 ? ' ' + padded(fixed(100 * detail::progress_fraction(s), 0), 3, true) + " %"
                                 : ' ' + grouped(s.done) + ' ' + one_line(s.unit);
  if (const std::string rate = detail::progress_rate(s); !rate.empty()) tail += "  " + rate;
  if (s.total > 0 && s.done > 0 && s.done < s.total && s.seconds > 0)
    tail += "  " + duration(s.seconds * (1 / detail::progress_fraction(s) - 1)) + " left";
  if (!s.metrics.empty()) tail += "  " + detail::progress_metrics(s.metrics);

  const std::string title = truncated(one_line(s.title), std::max<Index>(columns / 2, 1));
  const Index room = columns - display_width(title) - display_width(tail) - 1;
  const Index bar = s.total > 0 && room >= 6 ? std::min<Index>(room, 30) : 0;
  std::string out = title;
  if (bar > 0) {
    const Index full = static_cast<Index>(detail::progress_fraction(s) * static_cast<double>(bar));
    out += ' ';
    if (color) out += "\x1b[32m";
    for (Index i = 0; i < full; ++i) out += utf8 ? "━" : "#";
    if (color) out += "\x1b[2;39m";
    for (Index i = full; i < bar; ++i) out += color && utf8 ? "━" : utf8 ? "╌" : "-";
    if (color) out += "\x1b[0m";
    return out + tail;
  }
  return truncated(out + tail, columns);
}

struct ProgressOptions {
  enum class Style { automatic, bar, lines };

  Style style = Style::automatic;  ///< automatic: a bar where can_redraw()
  ColorMode color = ColorMode::automatic;
  double seconds_between_lines = 10;     ///< of plain lines
  double seconds_between_redraws = 0.1;  ///< of the bar
  std::function<double()> clock = {};    ///< seconds; empty: the steady clock
};

/// Writes to a stream (not owned), by default stderr.
class TerminalProgress final : public ProgressSink {
 public:
  explicit TerminalProgress(ProgressOptions options = {}, std::FILE* stream = stderr)
      : stream_(stream), options_(std::move(options)) {
    const bool terminal = is_terminal(stream_);
    const char* const term = std::getenv("TERM");
    bar_ = options_.style == ProgressOptions::Style::bar ||
           (options_.style == ProgressOptions::Style::automatic && can_redraw(term, terminal));
    color_ = use_color(options_.color, std::getenv("NO_COLOR"), std::getenv("CLICOLOR_FORCE"), term, terminal);
    utf8_ = utf8_locale(std::getenv("LC_ALL"), std::getenv("LC_CTYPE"), std::getenv("LANG"));
  }
  TerminalProgress(const TerminalProgress&) = delete;
  TerminalProgress& operator=(const TerminalProgress&) = delete;
  /// Leaves the cursor on a line of its own.
  ~TerminalProgress() override {
    if (drawn_) std::fputc('\n', stream_);
    std::fflush(stream_);
  }

  void begin(std::string_view title, Index total, std::string_view unit) override {
    finish_line();
    title_ = title;
    unit_ = unit;
    total_ = total;
    done_ = 0;
    open_ = true;
    start_ = shown_at_ = now();
    if (bar_) draw({});
  }

  void step(Index done, std::span<const Metric> metrics) override {
    if (!open_) return;
    done_ = done;
    const double t = now();
    if (t - shown_at_ < (bar_ ? options_.seconds_between_redraws : options_.seconds_between_lines)) return;
    shown_at_ = t;
    if (bar_) {
      draw(metrics);
    } else {
      write(progress_line(state(metrics)) + '\n');
    }
  }

  void end(std::span<const Metric> metrics) override {
    if (!open_) return;
    open_ = false;
    const double seconds = now() - start_;
    ProgressState s = state(metrics);
    s.seconds = seconds;
    std::string line = one_line(s.title) + ": " + grouped(s.done) + ' ' + one_line(s.unit) + " in " + duration(seconds);
    if (const std::string rate = detail::progress_rate(s); !rate.empty()) line += ", " + rate;
    if (!metrics.empty()) line += ", " + detail::progress_metrics(metrics);
    erase();
    write(line + '\n');
  }

  void message(std::string_view line) override {
    erase();
    write(one_line(line) + '\n');
    if (bar_ && open_) draw({});
  }

 private:
  static bool is_terminal(std::FILE* stream) noexcept {
#if defined(__unix__) || defined(__APPLE__)
    return ::isatty(::fileno(stream)) == 1;
#else
    (void)stream;
    return false;
#endif
  }

  Index columns() const noexcept {
#if defined(__unix__) || defined(__APPLE__)
    struct winsize size = {};
    if (::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
#endif
    return 80;
  }

  double now() const {
    if (options_.clock) return options_.clock();
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  ProgressState state(std::span<const Metric> metrics) const {
    return {title_, unit_, done_, total_, shown_at_ - start_, metrics};
  }

  void draw(std::span<const Metric> metrics) {
    // One column is kept free: writing into the last one makes some terminals wrap.
    write('\r' + progress_bar(state(metrics), columns() - 1, color_, utf8_) + "\x1b[K");
    drawn_ = true;
  }

  /// Removes a drawn bar, so that a line can take its place.
  void erase() {
    if (drawn_) write("\r\x1b[K");
    drawn_ = false;
  }

  void finish_line() {
    if (drawn_) write("\n");
    drawn_ = false;
  }

  void write(const std::string& s) {
    std::fwrite(s.data(), 1, s.size(), stream_);
    std::fflush(stream_);
  }

  std::FILE* stream_;
  ProgressOptions options_;
  std::string title_, unit_;
  Index total_ = 0, done_ = 0;
  double start_ = 0, shown_at_ = 0;
  bool bar_ = false, color_ = false, utf8_ = false, open_ = false, drawn_ = false;
};

}  // namespace qdistill::inline QDISTILL_ABI::train
