#include "settings.hpp"

#include "qdistill/core/error.hpp"

namespace cifar10 {

Settings preset(const std::string& name, bool real_data) {
  Settings s;
  s.preset = name;
  s.teacher = "teacher", s.student = "student-1";
  if (name == "tiny") {
    s.about = "seconds, to see the program work; its figures mean nothing";
    s.teacher = "thin-teacher", s.student = "thin-student";
    s.train_images = real_data ? 400 : 0, s.validation_images = 80, s.test_images = real_data ? 200 : 0;
    s.generated = {400, 200, 0.0};
    s.batch = 20;
    s.teacher_budget = s.label_budget = s.student_budget = s.quantized_budget = {2, 0.02};
    s.loss = {.temperature = 5, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_mean};
    s.start_from_trained = true, s.bits = {2, 4};
  } else if (name == "quick") {
    s.about = "narrow members of the paper's family, a few epochs";
    s.teacher = "thin-teacher", s.student = "thin-student";
    s.train_images = real_data ? 10000 : 0, s.validation_images = 1000, s.test_images = 0;
    s.batch = 50;
    s.teacher_budget = {12, 0.015}, s.label_budget = {8, 0.02}, s.student_budget = {8, 0.04};
    s.quantized_budget = {5, 0.01}, s.weight_decay = 6e-3, s.lambda = 40;
    s.loss = {.temperature = 5, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_mean};
    s.augment = false, s.cache_teacher = true, s.start_from_trained = true;
  } else if (name == "standard") {
    s.about = "a subset of the training images, a tenth of the paper's epochs";
    s.train_images = 20000, s.validation_images = 2000;
    s.batch = 50;
    s.teacher_budget = {18, 0.005}, s.label_budget = {12, 0.01}, s.student_budget = {12, 0.03};
    s.quantized_budget = {8, 0.01}, s.weight_decay = 5e-3, s.lambda = 5;
    s.loss = {.temperature = 5, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_mean};
    s.start_from_trained = true;
    s.methods = {"pm", "labels", "qd"};
  } else if (name == "paper") {
    s.about = "the first paper's text: T = 5, equal weights, 200 epochs";
    s.validation_images = 5000;
    s.batch = 25, s.cosine = false;
    s.teacher_budget = s.label_budget = s.student_budget = s.quantized_budget = {200, 0.001};
    s.loss = {.temperature = 5, .teacher_weight = 0.5, .reduction = DistillationReduction::batch_mean};
    s.methods = {"pm", "labels", "qd"};
  } else if (name == "authors") {
    s.about = "the published code: T = 2, weight 0.7, KL averaged over batch and classes, schedule on the test set";
    s.batch = 25, s.cosine = false, s.test_schedule = true;
    s.teacher_budget = s.label_budget = s.student_budget = s.quantized_budget = {200, 0.001};
    s.loss = {.temperature = 2, .teacher_weight = 0.7, .reduction = DistillationReduction::batch_times_classes};
    s.methods = {"pm", "labels", "qd"};
  } else {
    fail("cifar10", "got preset '", name, "', expected tiny, quick, standard, paper or authors");
  }
  if (!real_data && name != "quick" && name != "tiny") s.train_images = 0;
  return s;
}

bool Settings::as_published(const std::string& network) const {
  return preset == "authors" && (network == "deeper-student" || network.rfind("wrn-", 0) == 0);
}

train::Json Settings::json() const {
  const auto budget = [](const Budget& b) { return train::Json{{"epochs", b.epochs}, {"lr", b.lr}}; };
  return {{"preset", preset},
          {"about", about},
          {"data", data},
          {"seed", seed},
          {"teacher", teacher},
          {"student", student},
          {"activation_bits", activation_bits},
          {"train_images", train_images},
          {"validation_images", validation_images},
          {"test_images", test_images},
          {"generated", {{"train", generated.train}, {"test", generated.test}, {"difficulty", generated.difficulty}}},
          {"batch", batch},
          {"budget",
           {{"teacher", budget(teacher_budget)},
            {"student, labels", budget(label_budget)},
            {"student, distilled", budget(student_budget)},
            {"quantized", budget(quantized_budget)}}},
          {"momentum", momentum},
          {"weight_decay", weight_decay},
          {"schedule", cosine          ? "cosine"
                       : test_schedule ? "paper's rule, on the test set"
                                       : "paper's rule"},
          {"temperature", loss.temperature},
          {"teacher_weight", loss.teacher_weight},
          {"kl_average", loss.reduction == DistillationReduction::batch_mean ? "batch" : "batch times classes"},
          {"augment", augment},
          {"cache_teacher", cache_teacher},
          {"start_from_trained", start_from_trained},
          {"methods", methods},
          {"bits", bits},
          {"lambda", lambda}};
}

}  // namespace cifar10
