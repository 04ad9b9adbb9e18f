/// The recipe of product quantization: what it quantizes and trains, what it leaves alone, stopping and going on.
#include "qdistill/distill/product_quantization.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

#include "qdistill/data/digits.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/runtime/model.hpp"
#include "stop_after.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Every tensor of a model by name, as numbers.
std::map<std::string, std::vector<float>> state_of(const nn::Module<float>& model) {
  std::map<std::string, std::vector<float>> out;
  for (const auto& e : nn::state_dict(model))
    if (e.values.defined()) out[e.name] = e.values.to_vector();
  return out;
}

/// The recipe on a small network that was trained for two epochs.
struct ProductRun {
  static models::PolinoSpec spec() {
    return {.name = "tiny", .kernel = 3, .convs = {4, 6}, .pool_after = {0, 1}, .linear = {12}};
  }
  const data::ImageSet train_set = data::make_digits({.count = 96, .seed = 3});
  const data::ImageSet held_out = data::make_digits({.count = 40, .seed = 3, .split = data::Split::test});
  data::DataLoader loader{train_set, {.batch_size = 16, .shuffle = true, .augment = data::digits_augment, .seed = 9}};
  data::DataLoader validation{held_out, {.batch_size = 20}};
  models::PolinoCnn<float> teacher{[] {
    manual_seed(1);
    return spec();
  }()};
  models::PolinoCnn<float> student{spec()};
  distill::ProductOptions options;
  ProductRun() {
    optim::SGD<float> sgd(teacher.parameters(), {.lr = 0.02, .momentum = 0.9});
    for (int epoch = 0; epoch < 2; ++epoch)
      for (const data::Batch& batch : loader) {
        const auto [x, labels] = data::to_tensors(batch);
        sgd.zero_grad();
        cross_entropy(teacher(x), labels).backward();
        sgd.step();
      }
    nn::copy_state(teacher, student);
    manual_seed(77);
    options.images = 40, options.steps = 12;
    options.layers = [](const distill::ProductLayer& layer) {
      auto o = distill::small_blocks(layer);
      if (o) o->product.codewords = 8, o->product.iterations = 10, o->samples = 60;
      return o;
    };
    options.fit.epochs = 2;
  }
  distill::ProductResult go() { return distill::product_quantization(student, teacher, loader, validation, options); }
};

struct Titles : train::ProgressSink {
  std::vector<std::string> titles;
  void begin(std::string_view title, Index, std::string_view) override { titles.emplace_back(title); }
};

struct File {
  std::string path;
  explicit File(const char* name) : path((std::filesystem::temp_directory_path() / name).string()) {}
  ~File() { std::filesystem::remove(path); }
};

}  // namespace

TEST_CASE("layers in forward order but the first convolution; only codewords are trained", "[distill]") {
  ProductRun run;
  run.options.fit.epochs = 0;
  const auto before = state_of(run.teacher);
  Titles sink;
  run.options.fit.progress = &sink;
  const auto result = run.go();
  CHECK(!result.interrupted);
  REQUIRE(result.layers.size() == 3);
  CHECK(sink.titles ==
        std::vector<std::string>{"layer 1/3: conv_layers.1", "layer 2/3: linear_layers.0", "layer 3/3: out_layer"});
  const std::set<std::string> quantized{"conv_layers.1.weight", "linear_layers.0.weight", "out_layer.weight"};
  for (const auto& [name, p] : run.student.named_parameters()) {
    CHECK((p->parametrization() != nullptr) == (quantized.count(name) == 1));
    CHECK(!p->frozen());
    if (p->parametrization()) CHECK(decode_ref(p->encode()) == p->effective(nn::Phase::eval).to_vector());
  }
  CHECK(result.layers[0].block_size == 9);
  CHECK(result.layers[1].block_size == 4);
  CHECK(result.layers[0].codewords == 4);  // 24 blocks
  CHECK(result.layers[1].codewords == 8);
  for (const auto& layer : result.layers) {
    INFO(layer.name);
    CHECK(layer.objective > 0);
    CHECK(layer.first_loss > 0);
  }
  // Everything but codewords and codes is the teacher's, running statistics included.
  for (const auto& [name, values] : state_of(run.student))
    if (before.count(name)) CHECK(values == before.at(name));
  CHECK(state_of(run.teacher) == before);
  CHECK(run.student.training());
  // Packed and run from the file's data: the same logits, bit for bit.
  run.student.eval();
  const NoGrad no_grad;
  const Tensor<float> x = Tensor<float>::uniform({4, 3, 32, 32}, {1, 1}, -1.0f, 1.0f);
  CHECK(runtime::Model::from(quant::pack(run.student, {3, 32, 32})).run(x).to_vector() == run.student(x).to_vector());
}

TEST_CASE("codewords fitted to a layer's inputs and trained are nearer to the teacher", "[distill]") {
  const auto loss = [](ProductRun& run) {
    const NoGrad no_grad;
    run.student.eval(), run.teacher.eval();
    double sum = 0;
    run.validation.seek({0, 0});
    for (const data::Batch& batch : run.validation) {
      const Tensor<float> x = data::to_tensors(batch).images;
      sum += static_cast<double>(
          distillation_loss(run.student(x), run.teacher(x), {}, {.temperature = 1, .teacher_weight = 1}).item());
    }
    return sum / static_cast<double>(run.validation.batches_per_epoch());
  };
  std::map<std::string, double> got;
  for (const char* what : {"inputs", "trained", "global"}) {
    ProductRun run;
    run.options.steps = what == std::string("inputs") ? 0 : 120;
    run.options.fit.epochs = what == std::string("global") ? 4 : 0;
    const auto result = run.go();
    got[what] = loss(run);
    double first = 0, last = 0;
    for (const auto& layer : result.layers) first += layer.first_loss, last += layer.loss;
    if (run.options.steps > 0) CHECK(last < first);
    if (run.options.fit.epochs > 0) CHECK(result.global.history.size() == 4);
  }
  ProductRun plain;
  quant::attach(plain.student, quant::Product{.codewords = 8}, quant::named("conv_layers.1.weight"));
  quant::attach(plain.student, quant::Product{.codewords = 8}, quant::named("linear_layers.0.weight"));
  quant::attach(plain.student, quant::Product{.codewords = 8}, quant::named("out_layer.weight"));
  got["plain"] = loss(plain);
  INFO("plain " << got["plain"] << ", inputs " << got["inputs"] << ", trained " << got["trained"] << ", global "
                << got["global"]);
  CHECK(got["inputs"] < got["plain"]);
  CHECK(got["trained"] < 0.7 * got["inputs"]);
  CHECK(got["trained"] < 0.7 * got["plain"]);
  CHECK(got["global"] < got["inputs"]);
}

TEST_CASE("the global stage adapts the statistics of batch norm, not its scale and shift", "[distill]") {
  ProductRun run;
  const auto before = state_of(run.teacher);
  const auto result = run.go();
  CHECK(result.global.history.size() == 2);
  bool statistics = false;
  for (const auto& [name, values] : state_of(run.student)) {
    if (!before.count(name)) continue;
    if (name.find("running_") != std::string::npos) statistics = statistics || values != before.at(name);
    else CHECK(values == before.at(name));
  }
  CHECK(statistics);
}

TEST_CASE("a recipe that is stopped anywhere goes on to the same bits, on any number of threads", "[distill]") {
  ProductRun unbroken;
  StopAfter count(1 << 30);
  unbroken.options.fit.progress = &count;
  const auto want = unbroken.go();
  const auto want_state = state_of(unbroken.student);
  const int all = (1 << 30) - count.left;
  CHECK(all == 3 * 12 + 2 * 6);
  const int before = num_threads();
  const File checkpoint("qdistill-product-test.safetensors");
  for (const int steps : {5, 17, 12 + 12, 36 + 3, 36 + 6}) {  // in a layer, at a layer's end, in the global stage
    INFO("stopped after " << steps << " steps");
    std::filesystem::remove(checkpoint.path);
    {
      StopAfter sink(steps);
      ProductRun first;
      first.options.fit.checkpoint = checkpoint.path, first.options.fit.context = {{"program", 7}};
      first.options.fit.stop = &sink.stop, first.options.fit.progress = &sink;
      CHECK(first.go().interrupted);
    }
    set_num_threads(before == 1 ? 2 : 1);
    ProductRun second;
    std::optional<train::Checkpoint> c;
    if (std::filesystem::exists(checkpoint.path)) {
      c = train::Checkpoint::load(checkpoint.path);
      CHECK(c->numbers.at("context").at("program").at("program") == 7);
      second.options.fit.resume = &*c;
    }
    CHECK((steps >= 12) == c.has_value());
    const auto got = second.go();
    set_num_threads(before);
    CHECK(!got.interrupted);
    CHECK(state_of(second.student) == want_state);
    REQUIRE(got.layers.size() == want.layers.size());
    for (std::size_t i = 0; i < got.layers.size(); ++i) {
      CHECK(got.layers[i].objective == want.layers[i].objective);
      CHECK(got.layers[i].loss == want.layers[i].loss);
    }
    REQUIRE(got.global.history.size() == want.global.history.size());
    for (std::size_t i = 0; i < got.global.history.size(); ++i)
      CHECK(got.global.history[i].train_loss == want.global.history[i].train_loss);
  }
  // A checkpoint of other settings, and one of something else.
  train::Checkpoint c = train::Checkpoint::load(checkpoint.path);
  ProductRun other;
  other.options.layers = distill::large_blocks;
  other.options.fit.resume = &c;
  CHECK_THROWS_AS(other.go(), FileError);
  c.numbers = {{"stage", "train"}};
  ProductRun third;
  third.options.fit.resume = &c;
  CHECK_THROWS_AS(third.go(), FileError);
}

TEST_CASE("settings of the recipe that make no sense are refused", "[distill]") {
  ProductRun run;
  CHECK_THROWS_AS(distill::product_quantization(run.student, run.student, run.loader, run.validation), ValueError);
  run.options.images = 0;
  CHECK_THROWS_AS(run.go(), ValueError);
  run.options.images = 16, run.options.steps = -1;
  CHECK_THROWS_AS(run.go(), ValueError);
  run.options.steps = 0;
  run.options.layers = [](const distill::ProductLayer&) { return std::optional<distill::ProductLayerOptions>{}; };
  CHECK_THROWS_AS(run.go(), ValueError);
  run.options.layers = [](const distill::ProductLayer&) {
    return std::optional<distill::ProductLayerOptions>({{.block_size = 7}});
  };
  CHECK_THROWS_AS(run.go(), ShapeError);
  CHECK(run.student.named_parameters().front().parameter->frozen() == false);
}

}  // namespace qdistill_test
