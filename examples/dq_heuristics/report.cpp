/// The tables and the page of a study.
#include "qdistill/train/report.hpp"

#include "study.hpp"

namespace dq_heuristics {

train::Table accuracy_table(const std::vector<train::Json>& cells) {
  train::Table table({{"bits"},
                      {"loss"},
                      {"redistributed, quantiles"},
                      {"redistributed, uniform"},
                      {"equal counts, quantiles"},
                      {"equal counts, uniform"}});
  std::vector<std::pair<Index, std::string>> rows;
  for (const auto& c : cells) {
    const std::pair<Index, std::string> row{c.at("bits").get<Index>(), c.at("loss").get<std::string>()};
    if (std::find(rows.begin(), rows.end(), row) == rows.end()) rows.push_back(row);
  }
  Index before = 0;
  for (const auto& [bits, loss] : rows) {
    std::vector<train::Cell> line{bits, loss};
    for (const bool redistributed : {true, false}) {
      for (const char* const start : {"quantiles", "uniform"}) {
        train::Cell accuracy;
        for (const auto& c : cells)
          if (c.at("bits") == bits && c.at("loss") == loss && c.at("redistribution") == redistributed &&
              c.at("start") == start)
            accuracy = 100 * c.at("accuracy").get<double>();
        line.push_back(accuracy);
      }
    }
    if (before != 0 && before != bits) table.rule();
    before = bits;
    table.add(std::move(line));
  }
  return table;
}

train::Table cells_table(const std::vector<train::Json>& cells) {
  train::Table table({{"bits"},
                      {"redistribution"},
                      {"start"},
                      {"loss"},
                      {"accuracy", "%"},
                      {"bits per weight"},
                      {"points"},
                      {"points in use"},
                      {"seconds", "", 1}});
  for (const auto& c : cells)
    table.add({c.at("bits").get<Index>(), c.at("redistribution").get<bool>() ? "yes" : "no",
               c.at("start").get<std::string>(), c.at("loss").get<std::string>(), 100 * c.at("accuracy").get<double>(),
               c.at("bits_per_weight").get<double>(), c.at("points").get<Index>(), c.at("used").get<Index>(),
               c.at("seconds").get<double>()});
  return table;
}

std::string report_html(const std::vector<train::Json>& cells, const train::Json& manifest, double unquantized) {
  train::Report report("Heuristics of differentiable quantization");
  report.paragraph(
      "One trained network is quantized by training the points of each tensor, its weights fixed. Varied: whether "
      "points are redistributed between tensors by gradient norm, where they start, and whether the unquantized "
      "network is the teacher. Of Polino, Pascanu and Alistarh 2018, tables 29 and 30.");
  report.heading("Accuracy")
      .table(accuracy_table(cells),
             text("Test accuracy in %; the unquantized network has ", train::fixed(100 * unquantized, 2), "."));
  report.heading("Every cell").table(cells_table(cells), "Bits per weight: of the Huffman-coded file on disk.");
  report.heading("Points in use")
      .paragraph("Points that no weight chose are wasted; points with few weights are precision that they pay for.");
  for (const auto& c : cells) {
    if (c.at("start") != "quantiles" || c.at("loss") != "distillation") continue;
    train::Table layers(
        {{"tensor"}, {"weights"}, {"points"}, {"in use"}, {"weights per point", "", 1}, {"most on one"}});
    for (const auto& l : c.at("layers"))
      layers.add({l.at("name").get<std::string>(), l.at("weights").get<Index>(), l.at("points").get<Index>(),
                  l.at("used").get<Index>(), l.at("weights_per_point").get<double>(), l.at("largest").get<Index>()});
    report.table(layers, text(c.at("bits").get<Index>(), " bits, ",
                              c.at("redistribution").get<bool>() ? "redistributed" : "equal counts",
                              ", quantile start, distillation loss"));
  }
  report.heading("Where these figures come from").settings(manifest);
  return report.html();
}

}  // namespace dq_heuristics
