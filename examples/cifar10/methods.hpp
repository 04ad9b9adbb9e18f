/// The methods of compression that the program compares, on one interface: --methods NAME,NAME.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "networks.hpp"
#include "qdistill/distill/fit.hpp"
#include "qdistill/quant/select.hpp"

namespace cifar10 {

/// What a method gets.
struct Compression {
  Net& net;           ///< in: the full-precision student; out: quantized, ready to be packed
  Net* teacher;       ///< null for training on labels
  Net& original;      ///< the full-precision student, which stays as it is
  int bits = 0;       ///< of methods that have them
  double lambda = 0;  ///< weight of a MB of the model's size in the loss, of methods that learn their bits
  quant::Select all;  ///< what methods take that quantize all parameters
  data::DataLoader& loader;
  data::DataLoader& validation;
  distill::Options options;  ///< the preset's, with the stage's name, schedule, checkpoint
};

/// The bits that a method takes.
struct BitRange {
  int fewest = 0, most = 0;
};

struct Method {
  std::string name;   ///< of --methods
  std::string label;  ///< of rows and in the picture
  std::string about;
  BitRange bits = {};          ///< none: the method chooses its bits itself
  bool from_labels = false;    ///< trained without the teacher, from the student trained without it
  bool needs_trained = false;  ///< starts at the trained student even where the preset starts anew
  bool shows_layers = false;   ///< its table by layer is printed and drawn
  bool keeps_weights = true;   ///< in full precision, beside what it stores
  double rate = 1;             ///< of the preset's learning rate
  std::function<train::FitResult(Compression&)> train = {};  ///< nothing: the student is quantized as it is (PM)
};

/// All of them, post-mortem quantization first.
const std::vector<Method>& methods();
/// Throws ValueError for an unknown name.
const Method& method(const std::string& name);

}  // namespace cifar10
