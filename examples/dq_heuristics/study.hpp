/// The study: one trained network, and a cell for each choice of heuristics. Finished cells are lines of log.jsonl.
#pragma once

#include <atomic>
#include <memory>

#include "qdistill/data/cifar.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/distill/differentiable_quantization.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/train/manifest.hpp"
#include "qdistill/train/record.hpp"
#include "qdistill/train/table.hpp"

namespace dq_heuristics {

using namespace qdistill;

struct Settings {
  std::string preset = {};
  models::PolinoSpec spec = {};
  std::string data = {};     ///< folder of CIFAR-10; "": generated digits
  std::string network = {};  ///< checkpoint of the trained network; "": trained here
  Index images = 0, test_images = 0;
  Index train_epochs = 0, epochs = 0;
  double train_lr = 0, lr = 0;
  Index batch = 25;
  bool augment = true;
  DistillationOptions loss = {};
  std::vector<int> bits = {2, 4};
  std::uint64_t seed = 1;

  train::Json json() const;
};

/// Throws ValueError for an unknown name.
Settings preset(const std::string& name);

/// One choice of heuristics.
struct Heuristics {
  int bits = 2;
  bool redistribute = true;
  bool quantiles = true;
  bool distillation = true;

  train::Json json() const;
};

class Study {
 public:
  Study(Settings settings, std::string folder, std::vector<std::string> arguments, train::ProgressSink& progress,
        const std::atomic<bool>& stop);
  /// Runs the cells that are not finished yet, then writes and prints the results. False if it was stopped.
  bool run();

 private:
  using Net = models::PolinoCnn<float>;
  /// Trains the network or takes it from its file. False if it was stopped.
  bool prepare(data::DataLoader& loader, data::DataLoader& validation);
  /// Undefined (null) if it was stopped.
  train::Json cell(const Heuristics& h, data::DataLoader& loader, data::DataLoader& validation);
  double test_accuracy(Net& net) const;
  void write_results();

  Settings s_;
  train::ProgressSink& progress_;
  const std::atomic<bool>& stop_;
  data::ImageSet train_set_, test_set_;
  std::unique_ptr<data::Subset> train_, validation_, test_;
  std::unique_ptr<train::RunRecord> record_;
  std::unique_ptr<Net> network_;  ///< trained, unquantized
  std::vector<train::Json> cells_;
};

/// Accuracy by bits and loss (rows) and by redistribution and start (columns): tables 29 and 30 side by side.
train::Table accuracy_table(const std::vector<train::Json>& cells);
/// Every cell with all its figures.
train::Table cells_table(const std::vector<train::Json>& cells);
std::string report_html(const std::vector<train::Json>& cells, const train::Json& manifest, double unquantized);

}  // namespace dq_heuristics
