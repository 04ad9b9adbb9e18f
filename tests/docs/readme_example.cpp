/// The example of README.md: a program of its own, run by CTest. It fails if the packed network does not classify as
/// the trained one does.

// [snippet readme]
#include <cstdio>
#include <qdistill/qdistill.hpp>

using namespace qdistill;

int main() {
  const data::ImageSet digits = data::make_digits({.count = 1200, .difficulty = 0});  // drawn, no file needed
  const data::TrainValidation parts = data::split_validation(digits, 200, 1);
  data::DataLoader batches(parts.train, {.batch_size = 20, .shuffle = true, .seed = 1});
  data::DataLoader held_out(parts.validation);

  auto teacher = models::polino_cnn<float>({.convs = {8, 16}, .pool_after = {0, 1}, .linear = {256}});
  auto student = models::polino_cnn<float>({.convs = {4, 8}, .pool_after = {0, 1}, .linear = {128}});
  distill::Options options{.sgd = {.lr = 0.02, .momentum = 0.9, .nesterov = true}, .fit = {.epochs = 3}};
  distill::fit(teacher, batches, held_out, options);  // on the labels

  quant::attach(student, quant::Uniform{.bits = 4, .bucket_size = 256});  // 16 levels, each bucket its own scale
  distill::fit(student, {&teacher}, batches, held_out, options);          // quantized distillation

  const Ledger bytes = quant::save_packed(student, "student.safetensors", {3, 32, 32});
  const runtime::Model packed = runtime::load("student.safetensors");  // needs no class, no autograd
  const double trained = train::evaluate(student, held_out).accuracy();
  const double loaded = train::tally(packed, held_out).accuracy();
  std::printf("%lld parameters, %lld bytes on disk, accuracy %.3f trained, %.3f from the file\n",
              static_cast<long long>(student.parameter_count()), static_cast<long long>(bytes.total()), trained,
              loaded);
  return trained == loaded ? 0 : 1;
}
// [end]
