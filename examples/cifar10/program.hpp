/// The main job: teacher, students, methods of compression, packed files, table and report. Every stage can be resumed.
#pragma once

#include <atomic>
#include <memory>

#include "methods.hpp"
#include "qdistill/data/cifar.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/train/record.hpp"
#include "row.hpp"
#include "settings.hpp"

namespace cifar10 {

/// Thrown where a stage was stopped by the user; its checkpoint is written.
struct Interrupted {};

class Program {
 public:
  /// `teacher_folder`: where the trained teacher is kept for other runs of the same seed; "": with this run.
  Program(Settings settings, std::string folder, bool resume, std::vector<std::string> arguments,
          train::ProgressSink& progress, const std::atomic<bool>& stop, const std::string& teacher_folder = "");
  /// Runs all stages, writes everything, prints the table to stdout. Throws Interrupted.
  void run();
  /// Evaluates each packed file of a finished run in `folder` by the runtime and compares it with the run's own
  /// figures. Returns how many differ.
  static int verify(const std::string& folder);

 private:
  struct Training;
  /// Trains a full-precision network, or takes it from the finished stage's file.
  std::unique_ptr<Net> trained(const std::string& name, const Network& network, bool dropout, const Budget& budget,
                               Net* teacher, double& seconds);
  /// One row: the student compressed by one method, or the row of the finished stage.
  void compressed(const Method& method, int bits, Net* teacher, Net& original);
  void post_mortem(int bits, Net& student);
  /// Packs and measures.
  Row evaluated(Net& net, Row row) const;
  /// The figures of its tensors, in layers/. `original`: where the network does not keep its full-precision weights.
  void describe_layers(Net& net, const Net* original, bool show, Row& row) const;
  void add(Row row);
  void announce() const;
  /// Rows of methods that the run had been finished with before it was resumed with others.
  void keep_earlier_rows();
  void write_results();
  std::string state_file(const std::string& name) const { return record_->path("state/" + name + ".safetensors"); }

  Settings s_;
  train::ProgressSink& progress_;
  const std::atomic<bool>& stop_;
  data::ImageSet train_set_, test_set_;
  std::unique_ptr<data::Subset> train_, validation_, test_;
  quant::Select all_ = quant::all_parameters();  ///< what methods take that quantize all parameters
  std::unique_ptr<train::RunRecord> record_;
  std::string teacher_file_;
  std::vector<Row> rows_;
  Curves curves_;
};

}  // namespace cifar10
