/// Differentiable quantization step by step against the authors' code (golden topic algorithms_polino), and the recipe.
#include "qdistill/distill/differentiable_quantization.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>

#include "golden.hpp"
#include "model_golden.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "stop_after.hpp"

namespace qdistill_test {

namespace {

const bool differentiable_quantization_golden = golden("differentiable_quantization", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const auto& p = g->params();
  models::PolinoCnn<T> model(polino_spec_of(p.at("spec"), 0.1)), teacher(polino_spec_of(p.at("spec"), 0.1));
  load_golden_state(*g, "model.", model);
  load_golden_state(*g, "model.", teacher);
  const Tensor<T> images = g.input("inputs");
  const Tensor<Index> labels = g.indices("labels");
  const auto batch = [&](Index step) { return contiguous(select(labels, 0, step)); };
  const Index estimates = p.at("batches_for_gradient_norms").template get<Index>();
  model.eval(), teacher.eval();
  for (Index b = 0; b < estimates; ++b) cross_entropy(model(select(images, 0, b)), batch(b)).backward();
  const auto tensors = quant::selected(model, quant::all_parameters());
  const std::vector<double> norms = quant::gradient_norms(tensors, estimates);
  model.zero_grad();
  quant::Points points{.bits = p.at("bits").template get<int>(),
                       .bucket_size = p.at("bucket_size").template get<Index>()};
  const std::vector<Index> counts =
      quant::redistribute(std::vector<Index>(norms.size(), points.points()), norms, quant::Redistribution::authors);
  g->compare_values("gradient_norms", norms);
  g->compare_values("num_points", counts);
  const auto compare_points = [&](const std::string& when) {
    for (const auto& [name, q] : tensors) {
      q->parametrization()->refresh();
      g.compare(when + '.' + name, q->parametrization()->stored()[1].tensor);
    }
  };
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    points.count = counts[t];
    tensors[t].parameter->set_parametrization(points.make<T>(*tensors[t].parameter));
  }
  compare_points("points_init");
  optim::SGD<T> sgd(model.parameters("points"), {.lr = p.at("lr").template get<double>(),
                                                 .momentum = p.at("momentum").template get<double>(),
                                                 .weight_decay = p.at("weight_decay").template get<double>(),
                                                 .nesterov = p.at("nesterov").template get<bool>()});
  const DistillationOptions loss{.temperature = p.at("temperature").template get<double>(),
                                 .teacher_weight = p.at("teacher_weight").template get<double>(),
                                 .reduction = DistillationReduction::batch_times_classes};
  model.train();
  std::vector<T> losses;
  for (Index step = 0; step < images.size(0); ++step) {
    const Tensor<T> x = select(images, 0, step);
    sgd.zero_grad();
    Tensor<T> targets;
    {
      const NoGrad no_grad;
      targets = teacher(x);
    }
    const Tensor<T> value = distillation_loss(model(x), targets, batch(step), loss);
    losses.push_back(value.item());
    value.backward();
    sgd.step();
    compare_points(text("points_step", step));
  }
  g->compare_values("losses", losses);
});

/// The recipe over 96 digits, on a network that was trained for a moment.
struct Study {
  const data::ImageSet train_set = data::make_digits({.count = 96, .seed = 3, .difficulty = 0});
  const data::ImageSet held_out =
      data::make_digits({.count = 40, .seed = 3, .split = data::Split::test, .difficulty = 0});
  data::DataLoader loader{train_set, {.batch_size = 16, .shuffle = true, .augment = data::digits_augment, .seed = 9}};
  data::DataLoader validation{held_out, {.batch_size = 20}};
  models::PolinoCnn<float> network{[] {
    manual_seed(1);
    return models::PolinoSpec{
        .name = "tiny", .kernel = 3, .convs = {4, 5}, .pool_after = {0, 1}, .linear = {12}, .dropout = {{2, .3}}};
  }()};
  distill::DifferentiableQuantization options;
  Study() {
    static std::vector<nn::StateEntry<float>> trained;  // once; without a graph
    auto state = nn::state_dict(network);
    if (trained.empty()) {
      distill::Options training;
      training.sgd.lr = 0.02, training.fit.epochs = 2;
      distill::fit(network, loader, validation, training);
      for (const auto& e : state) trained.push_back({e.name, e.values.clone(), e.count.clone()});
    }
    for (std::size_t i = 0; i < state.size(); ++i) {
      if (state[i].values.defined()) state[i].values.copy_from(trained[i].values);
      else state[i].count.copy_from(trained[i].count);
    }
    options.points.bits = 2, options.points.bucket_size = 64;
    options.training.sgd.lr = 1e-3, options.training.fit.epochs = 2, options.training.fit.stage = "points";
  }
  train::FitResult go(nn::Module<float>* teacher = nullptr) {
    manual_seed(5);
    return distill::differentiable_quantization(network, teacher, loader, validation, options);
  }
  std::vector<std::vector<float>> weights() const {
    std::vector<std::vector<float>> out;
    for (const auto& p : network.named_parameters()) out.push_back(p.parameter->data().to_vector());
    return out;
  }
  std::vector<Index> counts() const {
    std::vector<Index> out;
    for (const auto& p : network.named_parameters())
      out.push_back(p.parameter->parametrization()->stored()[1].tensor.numel());
    return out;
  }
  std::vector<std::vector<float>> state() const {
    std::vector<std::vector<float>> out;
    for (const auto& e : nn::state_dict(network))
      if (e.values.defined()) out.push_back(e.values.to_vector());
    return out;
  }
};

}  // namespace

TEST_CASE("differentiable quantization trains points and running statistics, not weights", "[distill]") {
  Study s;
  s.options.training.fit.keep_best = false;
  const auto weights = s.weights();
  const auto result = s.go();
  CHECK(result.history.size() == 2);
  CHECK(result.history[1].train_loss < result.history[0].train_loss);
  CHECK(s.weights() == weights);
  Study same_start;
  same_start.options.training.fit.epochs = 0;
  same_start.go();
  CHECK(s.counts() == same_start.counts());
  const auto before = nn::state_dict(same_start.network), after = nn::state_dict(s.network);
  REQUIRE(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (!before[i].values.defined()) continue;
    const bool moves = before[i].name.ends_with(".points") || before[i].name.find("running_") != std::string::npos;
    INFO(before[i].name);
    CHECK((before[i].values.to_vector() != after[i].values.to_vector()) == moves);
  }
  // The packed file holds what was validated.
  s.network.eval();
  for (const auto& [name, p] : s.network.named_parameters())
    CHECK(decode_ref(p->encode()) == p->effective(nn::Phase::eval).to_vector());
}

TEST_CASE("what is not selected is constant and comes back trainable", "[distill]") {
  Study s;
  const auto weights = s.weights();
  s.options.select = quant::weights_only();
  s.options.training.fit.clip_norm = 1;
  s.go();
  CHECK(s.weights() == weights);
  for (const auto& [name, p] : s.network.named_parameters()) {
    CHECK((p->parametrization() != nullptr) == (p->kind() == nn::Kind::weight));
    CHECK(!p->frozen());
    CHECK(!p->data().grad().defined());
  }
}

TEST_CASE("each heuristic of differentiable quantization can be switched", "[distill]") {
  const auto total = [](const std::vector<Index>& n) { return std::accumulate(n.begin(), n.end(), Index{0}); };
  Study authors, proportional, none, labels, other_teacher, evaluated;
  proportional.options.redistribution = quant::Redistribution::proportional;
  none.options.redistribution = quant::Redistribution::none;
  none.options.points.start = quant::PointStart::uniform;
  labels.options.distillation = false;
  evaluated.options.norm_phase = nn::Phase::eval;
  manual_seed(8);
  models::PolinoCnn<float> teacher(authors.network.spec());
  for (Study* s : {&authors, &proportional, &none, &labels, &evaluated}) s->go();
  other_teacher.go(&teacher);
  CHECK(none.counts() == std::vector<Index>(none.counts().size(), 4));
  CHECK(authors.counts() != none.counts());
  CHECK(proportional.counts() != authors.counts());
  CHECK(total(authors.counts()) == total(none.counts()));
  CHECK(total(proportional.counts()) == total(none.counts()));
  CHECK(labels.counts() == authors.counts());
  CHECK(labels.state() != authors.state());
  CHECK(other_teacher.state() != authors.state());
  CHECK(evaluated.state() != authors.state());  // no dropout, and the running statistics did not move
}

TEST_CASE("differentiable quantization that was stopped goes on to the same bits", "[distill]") {
  const std::string path = (std::filesystem::temp_directory_path() / "qdistill-dq-test.safetensors").string();
  Study unbroken;
  const auto want = unbroken.go();
  CHECK(train::evaluate(unbroken.network, unbroken.validation).accuracy() == want.best_accuracy);  // points restored
  for (const int steps : {1, 6, 9}) {  // inside an epoch, at its end, in the second
    INFO("stopped after " << steps << " steps");
    StopAfter sink(steps);
    Study first;
    first.options.training.fit.checkpoint = path, first.options.training.fit.stop = &sink.stop;
    first.options.training.fit.progress = &sink;
    CHECK(first.go().interrupted);
    const train::Checkpoint c = train::Checkpoint::load(path);
    Study second;
    second.options.training.fit.resume = &c;
    const auto got = second.go();
    CHECK(second.counts() == unbroken.counts());
    CHECK(second.state() == unbroken.state());
    REQUIRE(got.history.size() == want.history.size());
    for (std::size_t i = 0; i < got.history.size(); ++i) {
      CHECK(got.history[i].train_loss == want.history[i].train_loss);
      CHECK(got.history[i].validation_loss == want.history[i].validation_loss);
    }
    CHECK(io::to_packed(quant::pack(second.network, {3, 32, 32})) ==
          io::to_packed(quant::pack(unbroken.network, {3, 32, 32})));
  }
  // A checkpoint of another training has no counts.
  const train::Checkpoint other;
  Study s;
  s.options.training.fit.resume = &other;
  CHECK_THROWS_AS(s.go(), FileError);
  std::filesystem::remove(path);
}

TEST_CASE("differentiable quantization has the same bits with 1 and 3 threads", "[distill]") {
  const int before = num_threads();
  set_num_threads(1);
  Study one;
  one.go();
  set_num_threads(3);
  Study three;
  three.go();
  set_num_threads(before);
  CHECK(one.state() == three.state());
}

TEST_CASE("a network teaches what it becomes as it was", "[distill]") {
  Study s;
  const Tensor<float> x = Tensor<float>::uniform({4, 3, 32, 32}, {1, 1}, -1.0f, 1.0f);
  distill::SelfTeacher teacher(s.network);
  s.network.eval();
  const NoGrad no_grad;
  const auto was = s.network(x).to_vector();
  quant::attach(s.network, quant::Points{.bits = 1, .bucket_size = 0});
  s.network.train();
  s.network(x);  // moves the running statistics
  const auto state = s.state();
  CHECK(teacher(x).to_vector() == was);
  CHECK(s.network.training());
  CHECK(s.state() == state);
  s.network.eval();
  const auto becomes = s.network(x).to_vector();
  CHECK(becomes != was);
  CHECK_THROWS_AS(teacher(Tensor<float>::zeros({1, 2})), ShapeError);
  CHECK(s.network(x).to_vector() == becomes);  // put back where the forward threw, too
}

TEST_CASE("differentiable quantization refuses what makes no sense", "[distill]") {
  Study s;
  s.options.points.bits = 40;
  CHECK_THROWS_AS(s.go(), ValueError);
  s.options.points.bits = 2, s.options.points.train_weights = true;
  CHECK_THROWS_AS(s.go(), ValueError);
  s.options.points.train_weights = false, s.options.norm_batches = 0;
  CHECK_THROWS_AS(s.go(), ValueError);
  s.options.norm_batches = 5, s.options.select = quant::named("nothing");
  CHECK_THROWS_AS(s.go(), ValueError);
  s.options.select = quant::all_parameters();
  quant::attach(s.network, quant::Points{});
  CHECK_THROWS_AS(s.go(), ValueError);
}

}  // namespace qdistill_test
