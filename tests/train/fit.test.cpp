/// The training loop: learns, stops, resumes with the same bits, does not depend on threads, allocates nothing.
#include "qdistill/train/fit.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "error_of.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/distill/fit.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/optim/schedule_polino.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"
#include "stop_after.hpp"

namespace qdistill_test {

using namespace qdistill;
using Catch::Matchers::Contains;

namespace {

models::PolinoSpec tiny() {
  return {.name = "tiny",
          .kernel = 3,
          .convs = {4, 5},
          .pool_after = {0, 1},
          .linear = {12},
          .dropout = {{0, .2}, {2, .3}}};
}

struct Folder {
  std::string path;
  Folder() : path((std::filesystem::temp_directory_path() / "qdistill-fit-test").string()) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

/// One training run of three epochs over 96 digits: quantized distillation with dropout and augmentation.
struct Run {
  const data::ImageSet train_set = data::make_digits({.count = 96, .seed = 3});
  const data::ImageSet held_out = data::make_digits({.count = 40, .seed = 3, .split = data::Split::test});
  data::DataLoader loader{train_set, {.batch_size = 16, .shuffle = true, .augment = data::digits_augment, .seed = 9}};
  data::DataLoader validation{held_out, {.batch_size = 20}};
  models::PolinoCnn<float> teacher{[] {
    manual_seed(1);
    return tiny();
  }()};
  models::PolinoCnn<float> student{[] {
    manual_seed(2);
    return tiny();
  }()};
  optim::PolinoHalving schedule{optim::PolinoHalvingOptions{.lr = 0.02, .patience = 1, .pause = 0}};
  distill::Options options;
  explicit Run(Index epochs = 3) {
    manual_seed(77);
    quant::attach(student, quant::Uniform{.bits = 4, .bucket_size = 64});
    options.sgd.lr = 0.02;
    options.fit.stage = "test", options.fit.epochs = epochs, options.fit.schedule = &schedule;
  }
  train::FitResult go() { return distill::fit(student, {&teacher}, loader, validation, options); }
  std::vector<std::byte> packed() { return io::to_packed(quant::pack(student, {3, 32, 32})); }
};

}  // namespace

TEST_CASE("a run that is stopped anywhere goes on to the same bits", "[train]") {
  Folder folder;
  Run unbroken;
  train::EventLog unbroken_log(folder.path + "/unbroken.jsonl");
  unbroken.options.fit.log = &unbroken_log;
  const train::FitResult want = unbroken.go();
  REQUIRE(want.history.size() == 3);
  for (const int steps : {1, 6, 8, 15}) {  // inside an epoch, at its end, in the third
    INFO("stopped after " << steps << " steps");
    const std::string checkpoint = folder.path + "/checkpoint.safetensors", log_path = folder.path + "/log.jsonl";
    {
      StopAfter sink(steps);
      Run first;
      train::EventLog log(log_path);
      first.options.fit.checkpoint = checkpoint, first.options.fit.log = &log;
      first.options.fit.stop = &sink.stop, first.options.fit.progress = &sink;
      CHECK(first.go().interrupted);
    }
    const train::Checkpoint c = train::Checkpoint::load(checkpoint);
    Run second;
    train::EventLog log(log_path, c.numbers.at("log_bytes").get<std::uint64_t>());
    second.options.fit.resume = &c, second.options.fit.log = &log;
    const train::FitResult got = second.go();
    CHECK(!got.interrupted);
    CHECK(second.packed() == unbroken.packed());
    REQUIRE(got.history.size() == want.history.size());
    for (std::size_t i = 0; i < got.history.size(); ++i) {
      CHECK(got.history[i].train_loss == want.history[i].train_loss);
      CHECK(got.history[i].train_accuracy == want.history[i].train_accuracy);
      CHECK(got.history[i].validation_loss == want.history[i].validation_loss);
      CHECK(got.history[i].lr == want.history[i].lr);
    }
    log.sync();
    const auto a = train::read_events(log_path), b = train::read_events(folder.path + "/unbroken.jsonl");
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(train::without_time(a[i]) == train::without_time(b[i]));
  }
}

TEST_CASE("kill -9 at any moment leaves whole files and loses at most one epoch", "[train]") {
  Folder folder;
  const int before = num_threads();
  set_num_threads(1);  // a forked child must not use the parent's OpenMP threads
  Run unbroken;
  unbroken.go();
  const std::string checkpoint = folder.path + "/checkpoint.safetensors", log_path = folder.path + "/log.jsonl";
  int resumed = 0;
  for (int attempt = 0; attempt < 8; ++attempt) {
    std::filesystem::remove(checkpoint);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      Run run;
      train::EventLog log(log_path);
      run.options.fit.checkpoint = checkpoint, run.options.fit.log = &log;
      run.go();
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(15 + 23 * attempt));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    if (!std::filesystem::exists(checkpoint)) continue;  // killed in the first epoch: nothing to go on from
    const train::Checkpoint c = train::Checkpoint::load(checkpoint);
    train::EventLog log(log_path, c.numbers.at("log_bytes").get<std::uint64_t>());
    Run run;
    run.options.fit.resume = &c, run.options.fit.log = &log;
    CHECK(run.go().history.size() == 3);
    CHECK(run.packed() == unbroken.packed());
    ++resumed;
  }
  set_num_threads(before);
  CHECK(resumed > 0);
}

TEST_CASE("weights and packed file have the same bytes with 1, 2 and 4 threads", "[train]") {
  const int before = num_threads();
  std::vector<std::byte> one;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    Run run(1);
    run.go();
    if (one.empty()) one = run.packed();
    CHECK(run.packed() == one);
  }
  set_num_threads(before);
}

TEST_CASE("a checkpoint of another stage or model is refused", "[train]") {
  Folder folder;
  const std::string path = folder.path + "/checkpoint.safetensors";
  Run run(1);
  run.options.fit.checkpoint = path;
  run.go();
  const train::Checkpoint c = train::Checkpoint::load(path);
  Run other(1);
  other.options.fit.stage = "another", other.options.fit.resume = &c;
  CHECK_THROWS_AS(other.go(), FileError);
  train::Checkpoint broken = train::Checkpoint::load(path);
  broken.numbers.erase("history");
  Run third(1);
  third.options.fit.resume = &broken;
  CHECK_THROWS_AS(third.go(), FileError);
}

TEST_CASE("a loss that is not finite names the parameter and the activation", "[train]") {
  Run run(1);
  quant::detach(run.student);
  for (const auto& [name, p] : run.student.named_parameters())
    if (name == "conv_layers.1.weight") p->data().data()[3] = std::nanf("");
  CHECK_THAT(error_of<Error>([&] { run.go(); }),
             Contains("batch 0: the loss is NaN; ") && Contains("'conv_layers.1.weight'; the first activation that is "
                                                                "not is the input of 'linear_layers.0'"));

  // Nothing that is stored is wrong, but the sums overflow.
  nn::Sequential<float> net(nn::Flatten<float>(), nn::Linear<float>(3072, 4), nn::ReLU<float>(),
                            nn::Linear<float>(4, 10));
  net.named_parameters()[0].parameter->data().fill(3e38f);
  CHECK_THAT(error_of<Error>([&] { distill::fit(net, run.loader, run.validation, {}); }),
             Contains("all tensors of the model are finite; the first activation that is not is the input of '3'"));
}

TEST_CASE("a cache of teacher logits changes nothing, and is refused with augmentation", "[train]") {
  const auto result = [](bool cache) {
    Run run(2);
    data::DataLoader plain(run.train_set, {.batch_size = 16, .shuffle = true, .seed = 9});
    run.options.cache_teacher = cache;
    distill::fit(run.student, {&run.teacher}, plain, run.validation, run.options);
    return run.packed();
  };
  CHECK(result(true) == result(false));
  Run run(1);
  run.options.cache_teacher = true;
  CHECK_THROWS_AS(run.go(), ValueError);
}

TEST_CASE("training learns: a tiny student beats chance on easy digits", "[train]") {
  const data::ImageSet set = data::make_digits({.count = 600, .seed = 5, .difficulty = 0});
  const data::ImageSet held_out =
      data::make_digits({.count = 200, .seed = 5, .split = data::Split::test, .difficulty = 0});
  data::DataLoader loader(set, {.batch_size = 20, .shuffle = true, .seed = 1}),
      validation(held_out, {.batch_size = 50});
  manual_seed(4);
  models::PolinoSpec spec = tiny();
  spec.convs = {8, 8}, spec.linear = {32}, spec.dropout = {};
  models::PolinoCnn<float> net(spec);
  distill::Options options;
  options.sgd.lr = 0.02, options.fit.epochs = 4;
  const auto result = distill::fit(net, loader, validation, options);
  CHECK(result.best_accuracy > 0.3);
  CHECK(result.history.back().train_loss < result.history.front().train_loss);
  data::DataLoader again(held_out, {.batch_size = 50});
  CHECK(train::evaluate(net, again).accuracy() == result.best_accuracy);
}

}  // namespace qdistill_test
