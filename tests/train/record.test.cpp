#include "qdistill/train/record.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <limits>

using namespace qdistill;
using namespace qdistill::train;

namespace {

/// A folder of its own that is removed at the end.
struct TemporaryFolder {
  TemporaryFolder() {
    static std::atomic<int> counter{0};
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    path = (std::filesystem::temp_directory_path() / text("qdistill-record-", now, '-', counter++)).string();
    std::filesystem::create_directories(path);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + '/' + name; }

  std::string path;
};

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Json event(int epoch, double loss) {
  return {{"event", "epoch"}, {"epoch", epoch}, {"loss", loss}, {"seconds", 0.1 * epoch}, {"images_per_second", 7.0}};
}

std::vector<Json> timeless(const std::string& path) {
  std::vector<Json> events = read_events(path);
  for (Json& e : events) e = without_time(e);
  return events;
}

}  // namespace

TEST_CASE("an event is one line, with a time, and NaN is null", "[train]") {
  TemporaryFolder folder;
  EventLog log(folder / "log.jsonl");
  log.write({{"loss", std::numeric_limits<double>::quiet_NaN()},
             {"limit", std::numeric_limits<double>::infinity()},
             {"name", "two\nlines \xFF"}});
  const std::string s = content(folder / "log.jsonl");  // while the log is open: each line is written through
  CHECK(s.rfind("{\"loss\":null,\"limit\":null,\"name\":\"two\\nlines \xEF\xBF\xBD\",\"time\":\"20", 0) == 0);
  CHECK(s.size() == log.bytes());
  CHECK(s.find('\n') == s.size() - 1);
  CHECK_THROWS_AS(log.write(Json::array()), ValueError);
  CHECK(log.sync() == s.size());
}

TEST_CASE("the log of a resumed run equals that of an unbroken one but for the time fields", "[train]") {
  TemporaryFolder folder;
  {
    RunRecord run = RunRecord::create(folder / "unbroken");
    for (int e = 1; e <= 6; ++e) run.log().write(event(e, 1.0 / e));
  }
  std::uint64_t checkpoint = 0;
  {
    RunRecord run = RunRecord::create(folder / "broken");
    for (int e = 1; e <= 5; ++e) {
      run.log().write(event(e, 1.0 / e));
      if (e == 3) checkpoint = run.log().sync();
    }
  }
  {
    std::ofstream out(folder / "broken/log.jsonl", std::ios::app | std::ios::binary);
    out << "{\"event\":\"epo";  // killed while writing
  }
  CHECK(read_events(folder / "broken/log.jsonl").size() == 5);
  {
    RunRecord run = RunRecord::resume(folder / "broken", checkpoint);
    CHECK(run.log().bytes() == checkpoint);
    for (int e = 4; e <= 6; ++e) run.log().write(event(e, 1.0 / e));
    CHECK(run.log().bytes() == std::filesystem::file_size(folder / "broken/log.jsonl"));
  }
  CHECK(timeless(folder / "broken/log.jsonl") == timeless(folder / "unbroken/log.jsonl"));
  CHECK(timeless(folder / "broken/log.jsonl").size() == 6);
}

TEST_CASE("resuming refuses a log that is not the checkpoint's", "[train]") {
  TemporaryFolder folder;
  std::uint64_t size = 0;
  {
    RunRecord run = RunRecord::create(folder / "run");
    run.log().write(event(1, 1));
    run.log().write(event(2, 1));
    size = run.log().sync();
  }
  const std::string before = content(folder / "run/log.jsonl");
  CHECK_THROWS_AS(RunRecord::resume(folder / "run", size + 1), FileError);
  CHECK_THROWS_AS(RunRecord::resume(folder / "run", size - 2), FileError);
  CHECK_THROWS_AS(RunRecord::resume(folder / "none", size), FileError);
  CHECK(content(folder / "run/log.jsonl") == before);
  CHECK_THROWS_WITH(RunRecord::create(folder / "run"),
                    Catch::Contains("holds a run already") && Catch::Contains("HINT"));
  CHECK(content(folder / "run/log.jsonl") == before);
  CHECK(fresh_run_name(folder.path, "run") == "run-2");
  CHECK(fresh_run_name(folder.path, "other") == "other");
}

TEST_CASE("a run resumed from before its first event starts an empty log", "[train]") {
  TemporaryFolder folder;
  RunRecord::create(folder / "run").log().write(event(1, 1));
  RunRecord run = RunRecord::resume(folder / "run", 0);
  CHECK(content(folder / "run/log.jsonl").empty());
}

TEST_CASE("a broken line in the middle of a log is named", "[train]") {
  TemporaryFolder folder;
  std::ofstream(folder / "log.jsonl") << "{\"a\":1}\n{\"a\":\n{\"a\":2}\n";
  CHECK_THROWS_WITH(read_events(folder / "log.jsonl"), Catch::Contains("log.jsonl line 2: not JSON at byte"));
  std::ofstream(folder / "list.jsonl") << "[1]\n";
  CHECK_THROWS_AS(read_events(folder / "list.jsonl"), FileError);
  CHECK_THROWS_AS(read_events(folder / "missing.jsonl"), FileError);
  CHECK_THROWS_AS(EventLog(folder / "no/such/folder/log.jsonl"), FileError);
}

TEST_CASE("a curve is read from the events that match", "[train]") {
  const std::vector<Json> events{{{"stage", "a"}, {"epoch", 1}, {"loss", 0.5}},
                                 {{"stage", "b"}, {"epoch", 1}, {"loss", 9}},
                                 {{"stage", "a"}, {"epoch", 2}, {"loss", nullptr}},
                                 {{"stage", "a"}, {"epoch", 3}},
                                 {{"stage", "a"}, {"epoch", 4}, {"loss", "x"}}};
  const auto [x, y] = event_series(events, "epoch", "loss", {{"stage", "a"}});
  REQUIRE(x.size() == 2);
  CHECK(x[1] == 2);
  CHECK(y[0] == 0.5);
  CHECK(std::isnan(y[1]));
}

TEST_CASE("time fields are known by name, at any depth", "[train]") {
  CHECK(without_time({{"time", "x"}, {"a", {{"step_seconds", 1}, {"b", 2}}}, {"seconds_hand", 3}}) ==
        Json{{"a", {{"b", 2}}}, {"seconds_hand", 3}});
}

TEST_CASE("the manifest says what made the results", "[train]") {
  RunInfo info;
  info.arguments = {"bin/cifar10", "--name", "it's here", ""};
  info.commit = "abc";
  info.seed = 18446744073709551615u;
  info.settings["epochs"] = 3;
  const Json m = manifest(info);
  CHECK(m["command"] == "bin/cifar10 --name 'it'\\''s here' ''");
  CHECK(m["argv"].size() == 4);
  CHECK(m["seed"] == 18446744073709551615u);
  CHECK(m["qdistill"]["version"] == QDISTILL_VERSION_STRING);
  CHECK(m["qdistill"]["commit"] == "abc");
  CHECK(m["build"]["flags"].is_null());
  CHECK(m["machine"]["threads"] == num_threads());
  CHECK(m["machine"]["instruction_set"] == name(active_isa()));
  CHECK(utc_time(std::chrono::system_clock::time_point(std::chrono::milliseconds(951782400123))) ==
        "2000-02-29T00:00:00.123Z");
  CHECK(utc_time(std::chrono::system_clock::time_point(std::chrono::milliseconds(-1))) == "1969-12-31T23:59:59.999Z");
}

TEST_CASE("a resumed run keeps the first manifest and appends its own", "[train]") {
  TemporaryFolder folder;
  {
    RunRecord run = RunRecord::create(folder / "run");
    run.write_manifest({{"seed", 1}});
    run.write_result({{"accuracy", std::numeric_limits<double>::quiet_NaN()}});
    run.write_text("report.html", "<html/>");
  }
  for (int i = 0; i < 2; ++i) RunRecord::resume(folder / "run", 0).write_manifest({{"seed", 1}, {"start", i}});
  const Json m = parse_json(content(folder / "run/manifest.json"), "manifest");
  CHECK(m["seed"] == 1);
  REQUIRE(m["resumed"].size() == 2);
  CHECK(m["resumed"][1]["start"] == 1);
  CHECK(content(folder / "run/result.json") == "{\n  \"accuracy\": null\n}\n");
  CHECK(content(folder / "run/report.html") == "<html/>");
}
