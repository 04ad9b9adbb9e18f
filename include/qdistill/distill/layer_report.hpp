/// The figures of quant/layer_table.hpp, with the sensitivities of distill/sensitivity.hpp where they were measured, as
/// a table (text, Markdown, CSV, HTML), as JSON and as bars.
///
///   const auto layers = quant::layer_table(student);
///   const auto costs = distill::sensitivity(student, validation);
///   record.write_text("layers.csv", distill::to_table(layers, costs).csv());
///   report.table(distill::to_table(layers, costs)).figure(distill::bits_chart(layers));
#pragma once

#include "qdistill/distill/sensitivity.hpp"
#include "qdistill/train/json.hpp"
#include "qdistill/train/plot_bars.hpp"
#include "qdistill/train/table.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

namespace detail {

inline train::Cell decibels(double v) {
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  return v;
}
inline train::Cell cell_if(bool known, double v) { return known ? train::Cell(v) : train::Cell(); }

}  // namespace detail

/// One line a tensor, then the bytes of all others, so that the last line is the packed file without header and
/// padding. Bits are those of the codes, per weight; "stored bits" count scales and tables too, without Huffman codes.
/// Columns that say nothing are left out: least and most bits where no tensor's codes differ in width, bits of a code
/// and weights that it stands for where that is one, what was not measured.
inline train::Table to_table(const quant::LayerTable& table, const Sensitivity& sensitivity = {}) {
  bool mixed = false, blocks = false;
  const bool measured = sensitivity.full.images > 0;
  for (const auto& l : table.layers) mixed = mixed || l.least_bits < l.most_bits, blocks = blocks || l.block > 1;
  std::vector<train::Column> columns{{"tensor"}, {"kind"}, {"shape"}, {"weights"}, {"encoding"}, {"bits"}};
  if (mixed) columns.push_back({"least"}), columns.push_back({"most"});
  if (blocks) columns.push_back({"code bits"}), columns.push_back({"weights a code"});
  for (const train::Column& c : std::initializer_list<train::Column>{{"stored bits"},
                                                                     {"bytes"},
                                                                     {"Huffman", "bytes"},
                                                                     {"SQNR", "dB", 1},
                                                                     {"levels"},
                                                                     {"used"},
                                                                     {"largest", "%", 1}})
    columns.push_back(c);
  if (measured) columns.push_back({"loss rise", "", 4}), columns.push_back({"accuracy fall", "%", 2});
  train::Table out(std::move(columns));

  const auto costs = [&](std::vector<train::Cell>& row, const train::Tally* t) {
    if (!measured) return;
    const bool known = t && t->images > 0;
    row.push_back(detail::cell_if(known, known ? sensitivity.loss_rise(*t) : 0));
    row.push_back(detail::cell_if(known, known ? 100 * sensitivity.accuracy_fall(*t) : 0));
  };
  Index weights = 0, plain = 0, coded = 0;
  double code_bits = 0;
  for (const auto& l : table.layers) {
    const bool codes = l.usage.points > 0;
    std::vector<train::Cell> row{l.name, nn::name(l.kind), text(l.shape), l.weights, l.encoding, l.bits()};
    const bool range = l.least_bits < l.most_bits;
    for (const int bits : {l.least_bits, l.most_bits})
      if (mixed) row.push_back(range ? train::Cell(bits) : train::Cell());
    if (blocks) row.push_back(l.code_bits), row.push_back(l.block);
    row.push_back(detail::cell_if(l.weights > 0, l.stored_bits()));
    row.push_back(l.plain.total()), row.push_back(l.coded.total());
    row.push_back(detail::decibels(l.sqnr_db));
    row.push_back(codes ? train::Cell(l.usage.points) : train::Cell());
    row.push_back(codes ? train::Cell(l.usage.used) : train::Cell());
    row.push_back(detail::cell_if(codes, 100 * l.usage.largest_share()));
    costs(row, sensitivity.find(l.name));
    out.add(std::move(row));
    weights += l.weights, plain += l.plain.total(), coded += l.coded.total();
    code_bits += l.bits() * static_cast<double>(l.weights);
  }
  // name, weights and bits where they mean something, bytes
  const auto sum = [&](const char* name, Index plain_bytes, Index coded_bytes, bool of_weights, const train::Tally* t) {
    const bool known = of_weights && weights > 0;
    const double n = static_cast<double>(weights);
    std::vector<train::Cell> row{name, {}, {}, known ? train::Cell(weights) : train::Cell(), {}};
    row.push_back(detail::cell_if(known, code_bits / n));
    row.resize(row.size() + (mixed ? 2 : 0) + (blocks ? 2 : 0));
    row.push_back(detail::cell_if(known, 8 * static_cast<double>(plain) / n));
    row.push_back(plain_bytes), row.push_back(coded_bytes);
    row.resize(row.size() + 4);
    costs(row, t);
    out.add(std::move(row));
  };
  out.rule();
  sum("these tensors", plain, coded, true, nullptr);
  if (table.other_plain > 0) sum("other tensors", table.other_plain, table.other_coded, false, nullptr);
  if (table.huffman_tables > 0) sum("Huffman tables", 0, table.huffman_tables, false, nullptr);
  sum("all", table.plain_bytes(), table.coded_bytes(), false, &sensitivity.quantized);
  return out;
}

/// The same figures by name, none left out: bytes, bits, decibels ("inf" where nothing is lost, null where
/// full precision is not known), loss and accuracy (0.01: one percentage point).
inline train::Json to_json(const quant::LayerTable& table, const Sensitivity& sensitivity = {}) {
  const auto tally = [&](const train::Tally& t) {
    return train::Json{{"loss", t.loss()},
                       {"accuracy", t.accuracy()},
                       {"loss_rise", sensitivity.loss_rise(t)},
                       {"accuracy_fall", sensitivity.accuracy_fall(t)}};
  };
  train::Json layers = train::Json::array();
  for (const auto& l : table.layers) {
    train::Json j{{"tensor", l.name},
                  {"kind", nn::name(l.kind)},
                  {"shape", std::vector<Index>(l.shape.begin(), l.shape.end())},
                  {"weights", l.weights},
                  {"quantizer", l.quantizer},
                  {"encoding", l.encoding},
                  {"bits", l.bits()},
                  {"code_bits", l.code_bits},
                  {"least_code_bits", l.least_bits},
                  {"most_code_bits", l.most_bits},
                  {"weights_per_code", l.block},
                  {"stored_bits", l.stored_bits()},
                  {"plain_bytes", l.plain.total()},
                  {"huffman_bytes", l.coded.total()}};
    j["sqnr_db"] = std::isinf(l.sqnr_db) ? train::Json(l.sqnr_db > 0 ? "inf" : "-inf") : train::Json(l.sqnr_db);
    j["levels"] = {{"all", l.usage.points}, {"used", l.usage.used}, {"largest_share", l.usage.largest_share()}};
    if (const train::Tally* alone = sensitivity.find(l.name)) j["sensitivity"] = tally(*alone);
    layers.push_back(std::move(j));
  }
  train::Json out{{"layers", std::move(layers)},
                  {"other_tensors", {{"plain_bytes", table.other_plain}, {"huffman_bytes", table.other_coded}}},
                  {"huffman_tables_bytes", table.huffman_tables},
                  {"all_tensors", {{"plain_bytes", table.plain_bytes()}, {"huffman_bytes", table.coded_bytes()}}}};
  if (sensitivity.full.images > 0) {
    out["sensitivity"] = {{"images", sensitivity.full.images},
                          {"full_precision", tally(sensitivity.full)},
                          {"interrupted", sensitivity.interrupted}};
    if (sensitivity.quantized.images > 0) out["sensitivity"]["quantized"] = tally(sensitivity.quantized);
  }
  return out;
}

/// A bar for each tensor that has codes (float32 and float16 have none): their bits per weight, with the range of their
/// widths.
inline train::Svg bits_chart(const quant::LayerTable& table, std::string title = "Bits per weight") {
  train::BarChart chart{.title = std::move(title), .x = {.label = "bits per weight, scales and tables not counted"}};
  Index weights = 0, left_out = 0;
  double bits = 0;
  for (const auto& l : table.layers) {
    if (l.usage.points == 0) {
      left_out += l.weights;
      continue;
    }
    train::Bar bar{.label = l.name, .value = l.bits(), .group = l.encoding};
    if (l.least_bits < l.most_bits) bar.low = l.least_bits, bar.high = l.most_bits;
    chart.bars.push_back(std::move(bar));
    weights += l.weights, bits += l.bits() * static_cast<double>(l.weights);
  }
  if (weights > 0)
    chart.subtitle = "mean over " + train::grouped(weights) +
                     " weights: " + train::significant(bits / static_cast<double>(weights), 3) + " bits";
  if (left_out > 0) chart.subtitle += (weights > 0 ? "; " : "") + train::grouped(left_out) + " without codes";
  return train::bar_chart(chart);
}

/// A bar for each tensor that was measured: the rise of the loss when it alone is quantized.
inline train::Svg sensitivity_chart(const Sensitivity& sensitivity,
                                    std::string title = "Sensitivity: one tensor quantized at a time") {
  train::BarChart chart{.title = std::move(title), .x = {.label = "rise of the loss"}};
  for (const TensorSensitivity& t : sensitivity.tensors)
    chart.bars.push_back({.label = t.name, .value = sensitivity.loss_rise(t.alone)});
  chart.subtitle = text("loss at full precision ", train::significant(sensitivity.full.loss(), 4), ", over ",
                        train::grouped(sensitivity.full.images), " images");
  if (sensitivity.quantized.images > 0)
    chart.subtitle += "; all quantized " + train::significant(sensitivity.quantized.loss(), 4);
  return train::bar_chart(chart);
}

}  // namespace qdistill::inline QDISTILL_ABI::distill
