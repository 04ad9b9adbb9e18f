/// One line of the table, and what is drawn from a run.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "qdistill/encoding/ledger.hpp"
#include "qdistill/train/fit.hpp"
#include "qdistill/train/table.hpp"
#include "settings.hpp"

namespace cifar10 {

struct Row {
  std::string name = {};  ///< "PM 2 bits, bucket 256"
  std::string kind = {};  ///< "full precision", "PM, bucket 256", or a method's label
  std::string file = {};  ///< packed file in the run's folder
  double accuracy = 0;    ///< on the test set
  Index bytes_plain = 0;
  Ledger ledger = {};          ///< of the Huffman-coded file
  double bits_per_weight = 0;  ///< of the Huffman-coded file
  double ratio = 0;            ///< teacher's plain bytes / Huffman bytes
  double paper_mb = 0;         ///< by the paper's formula, with Huffman
  double seconds = 0;          ///< of training
  std::string layers = {};     ///< SVG: bits of each tensor, where the method chose them

  Index bytes_huffman() const { return ledger.total(); }
  train::Json json() const;
  static Row from(const train::Json& json);
};

/// Each stage's name and history.
using Curves = std::vector<std::pair<std::string, train::FitResult>>;

train::Table results_table(const std::vector<Row>& rows);
/// Each file's bytes by what they hold.
train::Table ledger_table(const std::vector<Row>& rows);
std::string report_html(const Settings& s, const std::vector<Row>& rows, const Curves& curves,
                        const train::Json& manifest);

}  // namespace cifar10
