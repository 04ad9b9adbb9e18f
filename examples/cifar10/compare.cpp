#include "compare.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "qdistill/io/atomic_file.hpp"
#include "qdistill/runtime/model.hpp"
#include "qdistill/train/plot_scatter.hpp"
#include "qdistill/train/report.hpp"
#include "row.hpp"

namespace cifar10 {

namespace {

/// One row over its seeds.
struct Entry {
  std::string student, name, kind, file;
  std::vector<std::uint64_t> seeds = {};
  std::vector<double> accuracy = {}, bytes = {};  ///< a seed each
  double milliseconds = 0;                        ///< of one image
};

struct Spread {
  double mean = 0, low = 0, high = 0;
  double deviation = 0;  ///< of the sample, 0 for one seed
};

Spread spread(const std::vector<double>& v) {
  Spread s;
  const auto n = static_cast<double>(v.size());
  for (const double x : v) s.mean += x / n;
  for (const double x : v) s.deviation += (x - s.mean) * (x - s.mean);
  s.deviation = v.size() > 1 ? std::sqrt(s.deviation / (n - 1)) : 0;
  s.low = *std::min_element(v.begin(), v.end()), s.high = *std::max_element(v.begin(), v.end());
  return s;
}

/// The median time of one image through the packed file, after a warm-up.
double milliseconds_of(const std::string& file) {
  const runtime::Model model = runtime::load(file, {.fold_batch_norm = true});
  Shape shape = model.input_shape();
  const Tensor<float> x = Tensor<float>::normal({1, shape[0], shape[1], shape[2]}, {1, 1});
  std::vector<double> times;
  for (int i = 0; i < 35; ++i) {
    const auto start = std::chrono::steady_clock::now();
    model.run(x);
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (i >= 5) times.push_back(ms);
  }
  std::nth_element(times.begin(), times.begin() + 15, times.end());
  return times[15];
}

/// What has to be equal for runs to be comparable.
train::Json common_settings(train::Json settings) {
  for (const char* const free : {"seed", "student", "methods", "bits"}) settings.erase(free);
  return settings;
}

std::vector<Entry> read_runs(const std::vector<std::string>& folders) {
  std::vector<Entry> entries;
  train::Json first;
  for (const std::string& folder : folders) {
    const train::Json result = train::parse_json(train::detail::file_text(folder + "/result.json"), folder);
    const train::Json& settings = result.at("settings");
    const auto seed = settings.at("seed").get<std::uint64_t>();
    if (first.is_null()) first = common_settings(settings);
    check(common_settings(settings) == first, "compare", folder, " was run with other settings than ", folders[0], ": ",
          train::json_line(common_settings(settings)), ", expected ", train::json_line(first));
    for (const train::Json& j : result.at("rows")) {
      const Row row = Row::from(j);
      const std::string student = row.name == "teacher" ? "" : settings.at("student").get<std::string>();
      auto at = std::find_if(entries.begin(), entries.end(),
                             [&](const Entry& e) { return e.student == student && e.name == row.name; });
      if (at == entries.end()) {
        entries.push_back({student, row.name, row.kind, folder + '/' + row.file});
        at = entries.end() - 1;
      }
      // The teacher of a seed stands in the run of every student.
      if (std::find(at->seeds.begin(), at->seeds.end(), seed) != at->seeds.end()) continue;
      at->seeds.push_back(seed);
      at->accuracy.push_back(100 * row.accuracy), at->bytes.push_back(static_cast<double>(row.bytes_huffman()));
    }
  }
  return entries;
}

}  // namespace

void compare(const std::vector<std::string>& folders, const std::string& out, train::ProgressSink& progress) {
  check(!folders.empty(), "compare", "got no runs, expected at least one folder");
  std::vector<Entry> entries = read_runs(folders);
  progress.begin("latency", static_cast<Index>(entries.size()), "files");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    entries[i].milliseconds = milliseconds_of(entries[i].file);
    progress.step(static_cast<Index>(i) + 1, {});
  }
  progress.end({});

  std::set<std::string> students;
  for (const Entry& e : entries) students.insert(e.student);
  students.erase("");  // the teacher
  train::Table table({{"student"},
                      {"network"},
                      {"seeds"},
                      {"accuracy", "%", 2},
                      {"deviation", "", 2},
                      {"least", "%", 2},
                      {"most", "%", 2},
                      {"bytes on disk"},
                      {"one image", "ms", 3}});
  train::ScatterChart bytes, latency;
  bytes.title = "Accuracy against bytes on disk", latency.title = "Accuracy against the time of one image";
  bytes.subtitle = latency.subtitle =
      "the bars reach from the least to the most of the seeds; the line joins what "
      "nothing beats in both";
  bytes.x = {.label = "bytes on disk", .log = true, .bytes = true};
  latency.x = {.label = "time of one image, batch norm folded (ms)", .log = true};
  bytes.y.label = latency.y.label = "test accuracy (%)";
  for (const Entry& e : entries) {
    const Spread a = spread(e.accuracy), b = spread(e.bytes);
    table.add({e.student, e.name, static_cast<Index>(e.accuracy.size()), a.mean,
               e.accuracy.size() > 1 ? train::Cell(a.deviation) : train::Cell(), a.low, a.high,
               static_cast<Index>(std::llround(b.mean)), e.milliseconds});
    train::ScatterPoint point{.label = students.size() > 1 && !e.student.empty() ? e.student + ", " + e.name : e.name,
                              .x = b.mean,
                              .y = a.mean,
                              .group = e.kind};
    if (e.accuracy.size() > 1) point.y_low = a.low, point.y_high = a.high;
    bytes.points.push_back(point);
    point.x = e.milliseconds;
    latency.points.push_back(std::move(point));
  }

  train::Report report("Methods compared");
  report.paragraph(text("Runs: ", folders.size(),
                        ". Accuracy on the test set, mean of the seeds; bytes of Huffman-coded packed files, mean of "
                        "the seeds; time of one image: median of 30 on this machine with ",
                        num_threads(),
                        " threads, weights decoded beforehand, so that methods differ in it by noise alone where the "
                        "network is the same."));
  report.heading("Pareto picture").figure(train::scatter_chart(bytes)).figure(train::scatter_chart(latency));
  report.heading("Table").table(table);
  std::filesystem::create_directories(out);
  io::write_file(out + "/compare.html", report.html());
  io::write_file(out + "/compare.csv", table.csv());
  io::write_file(out + "/compare.md", table.markdown());
  std::printf("\n%s\ncomparison: %s/compare.html\n", table.text().c_str(), out.c_str());
  std::fflush(stdout);
}

}  // namespace cifar10
