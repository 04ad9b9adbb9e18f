/// The main job: teacher, students, quantization, packed files, table and report. Every stage can be resumed.
#pragma once

#include <atomic>
#include <memory>

#include "qdistill/data/cifar.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/train/record.hpp"
#include "qdistill/train/table.hpp"
#include "settings.hpp"

namespace cifar10 {

/// Thrown where a stage was stopped by the user; its checkpoint is written.
struct Interrupted {};

/// One line of the table.
struct Row {
  std::string name = {};  ///< "student, distilled, PM 2 bits, bucket 256"
  std::string file = {};  ///< packed file in the run's folder
  std::string kind = {};  ///< "full precision", "PM, bucket 256", "PM, no buckets", "QD", "quantized, labels"
  double accuracy = 0;    ///< on the test set
  Index bytes_plain = 0, bytes_huffman = 0;
  double bits_per_weight = 0;  ///< of the Huffman-coded file
  double ratio = 0;            ///< teacher's plain bytes / Huffman bytes
  double paper_mb = 0;         ///< by the paper's formula, with Huffman
  double seconds = 0;          ///< of training
};

class Program {
 public:
  Program(Settings settings, std::string folder, bool resume, std::vector<std::string> arguments,
          train::ProgressSink& progress, const std::atomic<bool>& stop);
  /// Runs all stages, writes everything, prints the table to stdout. Throws Interrupted.
  void run();
  /// Evaluates each packed file of a finished run in `folder` by the runtime and compares it with the run's own
  /// figures. Returns how many differ.
  static int verify(const std::string& folder);

 private:
  using Net = models::PolinoCnn<float>;
  /// Trains one network, or takes it from the finished stage's file.
  std::unique_ptr<Net> stage(const std::string& name, const models::PolinoSpec& spec, const Budget& budget,
                             Net* teacher, const Net* start, const quant::Uniform* quantizer, double& seconds);
  void add_row(Net& net, Row row);
  void evaluate_post_mortem(Net& student);
  void write_results();

  Settings s_;
  std::vector<std::string> arguments_;
  train::ProgressSink& progress_;
  const std::atomic<bool>& stop_;
  data::ImageSet train_set_, test_set_;
  std::unique_ptr<data::Subset> train_, validation_, test_;
  std::unique_ptr<train::RunRecord> record_;
  std::vector<Row> rows_;
  std::vector<std::pair<std::string, train::FitResult>> curves_;
};

/// The images on which a run reports its accuracy.
data::Subset test_part(const Settings& s, const data::ImageSet& test);
/// The page and the table.
train::Table results_table(const std::vector<Row>& rows);
std::string report_html(const Settings& s, const std::vector<Row>& rows,
                        const std::vector<std::pair<std::string, train::FitResult>>& curves,
                        const train::Json& manifest);

}  // namespace cifar10
