/// Training with DiffQ: the size falls as lambda rises, a run that was stopped goes on to the same bits.
#include "qdistill/quant/diffq.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "qdistill/data/digits.hpp"
#include "qdistill/distill/fit.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/optim/schedule_polino.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/lsq.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/ternary.hpp"
#include "qdistill/quant/weight_sharing.hpp"
#include "qdistill/runtime/model.hpp"
#include "stop_after.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Two epochs over 64 digits.
struct DiffqRun {
  static models::PolinoSpec spec() {
    return {.name = "tiny", .kernel = 3, .convs = {4, 8}, .pool_after = {0, 1}, .linear = {12}, .dropout = {{0, .2}}};
  }
  const data::ImageSet train_set = data::make_digits({.count = 64, .seed = 3});
  const data::ImageSet held_out = data::make_digits({.count = 20, .seed = 3, .split = data::Split::test});
  data::DataLoader loader{train_set, {.batch_size = 16, .shuffle = true, .seed = 9}};
  data::DataLoader validation{held_out, {.batch_size = 20}};
  models::PolinoCnn<float> student{[] {
    manual_seed(2);
    return spec();
  }()};
  optim::PolinoHalving schedule{optim::PolinoHalvingOptions{.lr = 0.02, .patience = 1, .pause = 0}};
  distill::Options options;
  explicit DiffqRun(double lambda = 5) {
    manual_seed(77);
    options.sgd.lr = 0.02, options.penalty_weight = lambda, options.bits_lr = 0.05;
    options.fit.epochs = 2, options.fit.schedule = &schedule, options.fit.keep_best = false;
  }
  template <class... Q>
  train::FitResult go(const Q&... quantizers) {
    (put(quantizers), ...);
    return distill::fit(student, loader, validation, options);
  }
  /// On every parameter that has none yet and that its groups divide.
  template <class Q>
  void put(const Q& quantizer) {
    Index group = 1;
    if constexpr (requires { quantizer.group_size; }) group = quantizer.group_size;
    quant::attach(student, quantizer, quant::divisible_by(group, quant::not_quantized()));
  }
  /// All tensors of the state, and what is stored in the end.
  std::vector<std::vector<float>> state() const {
    std::vector<std::vector<float>> out;
    for (const auto& e : nn::state_dict(student))
      if (e.values.defined()) out.push_back(e.values.to_vector());
    for (const auto& [name, p] : student.named_parameters()) out.push_back(decode_ref(p->encode()));
    return out;
  }
};

template <class... Q>
void check_resume(const Q&... quantizers) {
  DiffqRun unbroken;
  unbroken.go(quantizers...);
  const std::string path = (std::filesystem::temp_directory_path() / "qdistill-diffq-test.safetensors").string();
  for (const int steps : {1, 4, 6}) {  // inside an epoch, at its end, in the second
    INFO("stopped after " << steps << " steps");
    {
      StopAfter sink(steps);
      DiffqRun first;
      first.options.fit.checkpoint = path, first.options.fit.stop = &sink.stop, first.options.fit.progress = &sink;
      CHECK(first.go(quantizers...).interrupted);
    }
    const train::Checkpoint c = train::Checkpoint::load(path);
    DiffqRun second;
    second.options.fit.resume = &c;
    CHECK(!second.go(quantizers...).interrupted);
    CHECK(second.state() == unbroken.state());
  }
  std::filesystem::remove(path);
}

}  // namespace

TEST_CASE("a stopped run goes on to the same bits with every kind of stored tensor", "[distill]") {
  check_resume(quant::DiffQ{.group_size = 4}, quant::Half{});
  check_resume(quant::Lsq{.bits = 3});
  check_resume(quant::Ternary{});
  check_resume(quant::WeightSharing{.bits = 3});
}

TEST_CASE("what was trained runs from its file with the same bits", "[distill]") {
  const std::string path = (std::filesystem::temp_directory_path() / "qdistill-diffq-packed.safetensors").string();
  const auto check_file = [&](const auto&... quantizers) {
    DiffqRun run;
    run.go(quantizers...);
    run.student.eval();
    const Ledger bytes = quant::save_packed(run.student, path, {3, 32, 32});
    CHECK(bytes.total() < 4 * run.student.parameter_count());
    const Tensor<float> x = Tensor<float>::uniform({5, 3, 32, 32}, {1, 1}, -1.0f, 1.0f);
    const NoGrad no_grad;
    CHECK(runtime::load(path).run(x).to_vector() == run.student(x).to_vector());
  };
  check_file(quant::DiffQ{.group_size = 4}, quant::Half{});
  check_file(quant::Lsq{.bits = 3});
  check_file(quant::Ternary{});
  check_file(quant::WeightSharing{.bits = 3});
  std::filesystem::remove(path);
}

TEST_CASE("the weight of the size makes the model smaller, without a penalty it hardly changes", "[distill]") {
  const auto size_after = [](double lambda) {
    DiffqRun run(lambda);
    const auto result = run.go(quant::DiffQ{.group_size = 4});
    CHECK(result.history.size() == 2);
    CHECK(std::isfinite(result.history.back().train_loss));
    return quant::size_mb(run.student);
  };
  const double light = size_after(0), heavy = size_after(1000);
  CHECK(heavy < 0.95 * light);
  CHECK_THROWS_AS(size_after(-1), ValueError);
  CHECK_THROWS_AS(size_after(std::nan("")), ValueError);
}

TEST_CASE("the loss holds the penalty, with and without a teacher", "[distill]") {
  const auto first_loss = [](double lambda, bool teach) {
    DiffqRun run(lambda);
    quant::attach(run.student, quant::DiffQ{.group_size = 4}, quant::divisible_by(4));
    const double size = static_cast<double>(quant::SizePenalty<float>(run.student)().item());
    models::PolinoCnn<float> teacher{DiffqRun::spec()};
    run.options.fit.epochs = 1, run.options.bits_lr = 0, run.options.sgd.lr = 0, run.options.fit.schedule = nullptr;
    manual_seed(8);
    std::vector<nn::Module<float>*> teachers;
    if (teach) teachers.push_back(&teacher);
    const auto result = distill::fit(run.student, teachers, run.loader, run.validation, run.options);
    return result.history[0].train_loss - lambda * size;
  };
  for (const bool teach : {false, true}) CHECK(first_loss(500, teach) == Approx(first_loss(0, teach)).epsilon(1e-5));
}

TEST_CASE("fit ends with the last weights if told so", "[distill]") {
  const auto weights_of = [](bool best, Index epochs) {
    DiffqRun run(0);
    run.options.fit.keep_best = best, run.options.fit.epochs = epochs;
    const auto result = run.go(quant::DiffQ{.group_size = 4});
    return std::pair(run.state(), result.best_epoch);
  };
  // However many epochs: the last ones' weights differ from the best ones' exactly if the best was not the last.
  bool differed = false;
  for (const Index epochs : {2, 3, 4}) {
    const auto [last, unused] = weights_of(false, epochs);
    const auto [best, epoch] = weights_of(true, epochs);
    CHECK((last == best) == (epoch == epochs - 1));
    differed = differed || last != best;
  }
  CHECK(differed);
}

}  // namespace qdistill_test
