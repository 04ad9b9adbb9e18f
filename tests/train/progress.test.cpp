#include "qdistill/train/progress.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

using namespace qdistill;
using namespace qdistill::train;

namespace {

/// A sink that writes to a temporary file, at a time that the test sets.
struct Watched {
  explicit Watched(ProgressOptions::Style style) {
    ProgressOptions options;
    options.style = style;
    options.color = ColorMode::never;
    options.clock = [this] { return time; };
    sink = std::make_unique<TerminalProgress>(options, file);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  ~Watched() {
    sink.reset();
    std::fclose(file);
  }
  std::string output() const {
    std::string s(static_cast<std::size_t>(std::ftell(file)), '\0');
    std::rewind(file);
    s.resize(std::fread(s.data(), 1, s.size(), file));
    return s;
  }

  double time = 0;
  std::FILE* file = std::tmpfile();
  std::unique_ptr<TerminalProgress> sink;
};

}  // namespace

TEST_CASE("when to use colour", "[train]") {
  const auto automatic = ColorMode::automatic;
  CHECK(use_color(automatic, nullptr, nullptr, "xterm", true));
  CHECK(use_color(automatic, "", nullptr, "xterm", true));  // set but empty: no wish
  CHECK_FALSE(use_color(automatic, "1", nullptr, "xterm", true));
  CHECK_FALSE(use_color(automatic, "0", nullptr, "xterm", true));  // any value counts
  CHECK_FALSE(use_color(automatic, nullptr, nullptr, "dumb", true));
  CHECK_FALSE(use_color(automatic, nullptr, nullptr, nullptr, true));
  CHECK_FALSE(use_color(automatic, nullptr, nullptr, "xterm", false));
  CHECK(use_color(automatic, nullptr, "1", "dumb", false));
  CHECK(use_color(automatic, "", "1", nullptr, false));
  CHECK_FALSE(use_color(automatic, nullptr, "0", "xterm", false));
  CHECK_FALSE(use_color(automatic, nullptr, "", "xterm", false));
  CHECK_FALSE(use_color(automatic, "1", "1", "xterm", true));  // NO_COLOR wins
  CHECK(use_color(ColorMode::always, "1", nullptr, "dumb", false));
  CHECK_FALSE(use_color(ColorMode::never, nullptr, "1", "xterm", true));
}

TEST_CASE("when to draw a bar, and in which letters", "[train]") {
  CHECK(can_redraw("xterm", true));
  CHECK_FALSE(can_redraw("dumb", true));
  CHECK_FALSE(can_redraw(nullptr, true));
  CHECK_FALSE(can_redraw("xterm", false));
  CHECK(utf8_locale(nullptr, nullptr, "de_DE.UTF-8"));
  CHECK(utf8_locale("", "C.utf8", "C"));
  CHECK_FALSE(utf8_locale("C", nullptr, "de_DE.UTF-8"));
  CHECK_FALSE(utf8_locale(nullptr, nullptr, nullptr));
}

TEST_CASE("a plain progress line", "[train]") {
  const Metric metrics[] = {{"loss", 1.25}, {"accuracy", 41.5}};
  CHECK(progress_line({"teacher", "images", 5120, 40960, 4, metrics}) ==
        "teacher: 5,120/40,960 images (12 %), 1,280 images/s, 28.0 s left, loss 1.250  accuracy 41.50");
  CHECK(progress_line({"x", "steps", 0, 0, 0, {}}) == "x: 0 steps");
  CHECK(progress_line({"x\n\x1b[2J", "steps", 7, 5, 0, {}}) == "x  [2J: 7/5 steps (100 %)");
}

TEST_CASE("a bar never exceeds its columns", "[train]") {
  const Metric metrics[] = {{"loss", 1.25}};
  const ProgressState s{"a rather long title of a stage, größer", "images", 20000, 40000, 10, metrics};
  for (Index columns = 1; columns < 160; ++columns)
    CHECK(display_width(progress_bar(s, columns, false, true)) <= columns);
  CHECK(progress_bar({"t", "steps", 5, 10, 0, {}}, 30, false, false) == "t ###########-----------  50 %");
  const std::string colored = progress_bar(s, 120, true, false);
  CHECK(colored.find("\x1b[32m") != std::string::npos);
  CHECK(colored.find("\x1b[0m") != std::string::npos);
  CHECK(progress_bar(s, 120, false, false).find('\x1b') == std::string::npos);
}

TEST_CASE("away from a terminal a line is written every ten seconds and at the end", "[train]") {
  Watched w(ProgressOptions::Style::lines);
  const Metric metrics[] = {{"loss", 0.5}};
  w.sink->begin("epoch 1", 100, "steps");
  for (int i = 1; i <= 100; ++i) {
    w.time += 0.25;
    w.sink->step(i, metrics);
  }
  w.sink->end(metrics);
  w.sink->message("saved");
  CHECK(w.output() ==
        "epoch 1: 40/100 steps (40 %), 4.00 steps/s, 15.0 s left, loss 0.5000\n"
        "epoch 1: 80/100 steps (80 %), 4.00 steps/s, 5.00 s left, loss 0.5000\n"
        "epoch 1: 100 steps in 25.0 s, 4.00 steps/s, loss 0.5000\n"
        "saved\n");
}

TEST_CASE("a bar is redrawn at most ten times a second and replaced by its summary", "[train]") {
  Watched w(ProgressOptions::Style::bar);
  w.sink->begin("epoch 1", 1000, "steps");
  for (int i = 1; i <= 1000; ++i) {
    w.time += 1.0 / 1024;
    w.sink->step(i, {});
  }
  w.sink->end({});
  const std::string s = w.output();
  const auto redraws = std::count(s.begin(), s.end(), '\r');
  CHECK(redraws >= 9);
  CHECK(redraws <= 12);
  CHECK(s.find("\r\x1b[Kepoch 1: 1,000 steps in 0.98 s, 1,024 steps/s\n") != std::string::npos);
  CHECK(std::count(s.begin(), s.end(), '\n') == 1);
}

TEST_CASE("a bar that is dropped leaves the cursor on a new line", "[train]") {
  Watched w(ProgressOptions::Style::bar);
  w.sink->begin("epoch 1", 10, "steps");
  w.sink.reset();
  CHECK(w.output().back() == '\n');
}

TEST_CASE("the default sink takes everything in silence", "[train]") {
  ProgressSink& sink = silent_progress();
  const Metric metrics[] = {{"loss", 1}};
  sink.begin("x", 1, "steps");
  sink.step(1, metrics);
  sink.end(metrics);
  sink.message("x");
  CHECK(&sink == &silent_progress());
}
