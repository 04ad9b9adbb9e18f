/// What a run of the main job does: presets and what the command line changed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "../common/images.hpp"
#include "qdistill/distill/fit.hpp"
#include "qdistill/train/json.hpp"

namespace cifar10 {

using namespace qdistill;

/// One training budget: images shown = epochs x training images.
struct Budget {
  Index epochs = 1;
  double lr = 0.01;
};

struct Settings {
  std::string preset;
  std::string about;              ///< one sentence for the output
  std::string teacher, student;   ///< names of networks.hpp
  int activation_bits = 0;        ///< of the student, by PACT; 0: not quantized
  Index train_images = 0;         ///< 0: all; else a balanced choice by seed
  Index validation_images = 0;    ///< taken from the training images
  Index test_images = 0;          ///< 0: all
  examples::Generated generated;  ///< used without --data
  Index batch = 64;
  Budget teacher_budget, label_budget, student_budget, quantized_budget;  ///< student_budget: of the distilled student
  double momentum = 0.9, weight_decay = 2.2e-4;
  bool cosine = true;          ///< cosine schedule over the epochs; else the paper's validation-driven rule
  bool test_schedule = false;  ///< the published runs' schedule looks at the test set
  DistillationOptions loss;
  bool augment = true;
  bool cache_teacher = false;
  bool start_from_trained =
      false;  ///< quantized training starts at the student trained the same way, else from scratch
  std::vector<std::string> methods = {"pm", "qd"};  ///< names of methods.hpp
  std::vector<int> bits = {2, 4, 8};
  double lambda = 1;  ///< DiffQ's weight of a MB of the model's size in the loss
  std::uint64_t seed = 1;
  std::string data;  ///< folder of CIFAR-10 in its binary layout; "": generated digits

  /// True for the deeper student and wide ResNets in the preset `authors`: the published code keeps their dropout in
  /// distillation and does not quantize their first and last parameter tensor.
  bool as_published(const std::string& network) const;
  train::Json json() const;
};

/// Throws ValueError for an unknown name.
Settings preset(const std::string& name, bool real_data);

}  // namespace cifar10
