/// The table and the page of a run.
#include "qdistill/train/report.hpp"

#include "methods.hpp"
#include "qdistill/train/plot.hpp"
#include "qdistill/train/plot_scatter.hpp"
#include "row.hpp"

namespace cifar10 {

train::Json Row::json() const {
  train::Json bytes = train::Json::object();
  for (const LedgerItem& item : ledger_items) bytes[item.name] = ledger.*item.bytes;
  return {{"name", name},
          {"kind", kind},
          {"file", file},
          {"accuracy", accuracy},
          {"bytes_plain", bytes_plain},
          {"bytes_huffman", bytes_huffman()},
          {"ledger", bytes},
          {"bits_per_weight", bits_per_weight},
          {"ratio", ratio},
          {"paper_mb", paper_mb},
          {"seconds", seconds},
          {"layers", layers}};
}

Row Row::from(const train::Json& json) {
  Row r;
  json.at("name").get_to(r.name), json.at("kind").get_to(r.kind), json.at("file").get_to(r.file);
  json.at("accuracy").get_to(r.accuracy), json.at("bytes_plain").get_to(r.bytes_plain);
  json.at("bits_per_weight").get_to(r.bits_per_weight);
  json.at("ratio").get_to(r.ratio), json.at("paper_mb").get_to(r.paper_mb), json.at("seconds").get_to(r.seconds);
  r.layers = json.value("layers", "");
  for (const LedgerItem& item : ledger_items) r.ledger.*item.bytes = json.at("ledger").at(item.name).get<Index>();
  return r;
}

train::Table ledger_table(const std::vector<Row>& rows) {
  std::vector<train::Column> columns = {{"network"}};
  for (const LedgerItem& item : ledger_items) columns.push_back({item.name});
  columns.push_back({"total"});
  train::Table table(columns);
  for (const Row& r : rows) {
    std::vector<train::Cell> cells = {r.name};
    for (const LedgerItem& item : ledger_items) cells.push_back(r.ledger.*item.bytes);
    cells.push_back(r.ledger.total());
    table.add(cells);
  }
  return table;
}

train::Table results_table(const std::vector<Row>& rows) {
  train::Table table({{"network"},
                      {"accuracy", "%", 2},
                      {"bytes, plain"},
                      {"bytes, Huffman"},
                      {"bits per weight", "", 2},
                      {"ratio to teacher", "", 1},
                      {"paper's size", "MB", 3},
                      {"seconds", "", 1}});
  std::string kind;
  for (const Row& r : rows) {
    if (!kind.empty() && (r.kind == "full precision") != (kind == "full precision")) table.rule();
    kind = r.kind;
    table.add({r.name, 100 * r.accuracy, r.bytes_plain, r.bytes_huffman(), r.bits_per_weight, r.ratio, r.paper_mb,
               r.seconds > 0 ? train::Cell(r.seconds) : train::Cell()});
  }
  return table;
}

std::string report_html(const Settings& s, const std::vector<Row>& rows, const Curves& curves,
                        const train::Json& manifest) {
  train::Report report(text(s.data.empty() ? "Generated digits" : "CIFAR-10", ", preset ", s.preset));
  std::string methods;
  for (const std::string& m : s.methods)
    methods += (methods.empty() ? "" : "; ") + text(method(m).label, ": ", method(m).about);
  report.paragraph(
      text("A teacher is trained; a smaller student is trained on the labels and by distillation, and "
           "compressed by each method (",
           methods,
           "). Each file was packed with Huffman-coded codes; its size is that on disk, the network's "
           "description included."));
  report.paragraph(text("This preset: ", s.about, '.'));
  report.heading("Results").table(results_table(rows), s.test_schedule
                                                           ? "Accuracy on the test set, which this preset's schedule "
                                                             "and choice of the best model look at too."
                                                           : "Accuracy on the test set, which nothing in this run "
                                                             "was chosen by.");
  train::ScatterChart scatter;
  scatter.title = "Accuracy against bytes on disk";
  scatter.subtitle = "Huffman-coded packed files; the line joins the files that nothing beats in both";
  scatter.x = {.label = "bytes on disk", .log = true, .bytes = true};
  scatter.y = {.label = "test accuracy (%)"};
  for (const Row& r : rows)
    scatter.points.push_back(
        {.label = r.name, .x = static_cast<double>(r.bytes_huffman()), .y = 100 * r.accuracy, .group = r.kind});
  report.figure(train::scatter_chart(scatter));

  report.heading("Where the bytes go")
      .table(ledger_table(rows), "Bytes of each Huffman-coded file by what they hold; the total is the file's size.");

  bool any = false;
  for (const Row& r : rows) {
    if (r.layers.empty()) continue;
    if (!any) report.heading("Bits per layer");
    any = true;
    report.figure({r.layers});
  }

  report.paragraph(
      "Bits, bytes, signal to noise and sensitivity of each network's layers are in layers/, as CSV and JSON.");

  train::LineChart accuracy, loss;
  accuracy.title = "Validation accuracy while training", accuracy.x.label = loss.x.label = "epoch";
  accuracy.y.label = "accuracy (%)";
  loss.title = "Training loss",
  loss.subtitle = "cross entropy, or the distillation loss, which is not comparable to it";
  loss.y = {.label = "loss", .log = true};
  for (const auto& [name, fit] : curves) {
    train::Series a{name, {}, {}}, l{name, {}, {}};
    for (const auto& e : fit.history) {
      a.x.push_back(static_cast<double>(e.epoch + 1)), a.y.push_back(100 * e.validation_accuracy);
      l.x.push_back(static_cast<double>(e.epoch + 1)), l.y.push_back(e.train_loss);
    }
    accuracy.series.push_back(std::move(a)), loss.series.push_back(std::move(l));
  }
  report.heading("Training").figure(train::line_chart(accuracy)).figure(train::line_chart(loss));
  report.heading("Where these figures come from").settings(manifest);
  return report.html();
}

}  // namespace cifar10
