/// The methods of compression that the program compares, on one interface: --methods NAME,NAME.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "networks.hpp"
#include "qdistill/distill/fit.hpp"

namespace cifar10 {

/// What a method gets.
struct Compression {
  Net& net;           ///< in: the full-precision student; out: quantized, ready to be packed
  Net* teacher;       ///< null for training on labels
  Net& original;      ///< the full-precision student, which stays as it is
  int bits = 0;       ///< of methods that have them
  double lambda = 0;  ///< weight of a MB of the model's size in the loss, of methods that learn their bits
  data::DataLoader& loader;
  data::DataLoader& validation;
  distill::Options options;  ///< the preset's, with the stage's name, schedule, checkpoint
};

struct Method {
  std::string name;   ///< of --methods
  std::string label;  ///< of rows and in the picture
  std::string about;
  int fewest_bits = 0, most_bits = 0;  ///< 0: the method chooses its bits itself
  bool from_labels = false;            ///< trained without the teacher, from the student trained without it
  bool needs_trained = false;          ///< starts at the trained student even where the preset starts anew
  bool chooses_bits = false;           ///< of each layer: its table is printed and drawn
  bool keeps_weights = true;           ///< in full precision, beside what it stores
  double rate = 1;                     ///< of the preset's learning rate
  std::function<train::FitResult(Compression&)> train = {};  ///< nothing: the student is quantized as it is (PM)

  bool has_bits() const noexcept { return most_bits > 0; }
};

/// All of them, post-mortem quantization first.
const std::vector<Method>& methods();
/// Throws ValueError for an unknown name.
const Method& method(const std::string& name);

}  // namespace cifar10
