/// Quantized distillation step by step against the authors' code (golden topic algorithms_polino), and the recipe.
#include <catch2/catch.hpp>

#include "golden.hpp"
#include "model_golden.hpp"
#include "qdistill/distill/fit.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/uniform.hpp"

namespace qdistill_test {

namespace {

const bool quantized_distillation_golden = golden("quantized_distillation", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const auto& p = g->params();
  models::PolinoCnn<T> student(polino_spec_of(p.at("spec"), 0.1)), teacher(polino_spec_of(p.at("spec"), 0.1));
  load_golden_state(*g, "student.", student);
  load_golden_state(*g, "teacher.", teacher);
  teacher.eval();
  const bool all = p.at("quantize_first_and_last_tensor").template get<bool>();
  quant::attach(student,
                quant::Uniform{.bits = p.at("bits").template get<int>(),
                               .bucket_size = p.at("bucket_size").template get<Index>()},
                all ? quant::all_parameters() : quant::not_first_last());
  optim::SGD<T> sgd(student.parameters(), {.lr = p.at("lr").template get<double>(),
                                           .momentum = p.at("momentum").template get<double>(),
                                           .weight_decay = p.at("weight_decay").template get<double>(),
                                           .nesterov = p.at("nesterov").template get<bool>()});
  const DistillationOptions loss{.temperature = p.at("temperature").template get<double>(),
                                 .teacher_weight = p.at("teacher_weight").template get<double>(),
                                 .reduction = DistillationReduction::batch_times_classes};
  const Tensor<T> inputs = g.input("inputs");
  const Tensor<Index> labels = g.indices("labels");
  std::vector<T> losses;
  for (Index step = 0; step < inputs.size(0); ++step) {
    const Tensor<T> x = select(inputs, 0, step);
    const Tensor<Index> y = contiguous(select(labels, 0, step));
    sgd.zero_grad();
    Tensor<T> targets;
    {
      const NoGrad no_grad;
      targets = teacher(x);
    }
    const Tensor<T> value = distillation_loss(student(x), targets, y, loss);
    losses.push_back(value.item());
    value.backward();
    sgd.step();
    for (const auto& [name, parameter] : student.named_parameters())
      if (g->has(text("step", step, '.', name))) g.compare(text("step", step, '.', name), parameter->data());
  }
  if (g->has("losses")) g->compare_values("losses", losses);
  // What is left is the state after the last quantization.
  for (const auto& [name, parameter] : student.named_parameters())
    if (g->has("final." + name)) g.compare("final." + name, parameter->effective(nn::Phase::eval).detach());
  for (const auto& b : student.named_buffers())
    if (b.values && g->has("final." + b.name)) g.compare("final." + b.name, *b.values);
});

}  // namespace

TEST_CASE("several teachers count as the mean of their softened probabilities", "[distill]") {
  const double temperature = 3;
  struct Constant : nn::Module<float> {
    std::vector<float> logits;
    explicit Constant(std::vector<float> l) : logits(std::move(l)) {}
    Tensor<float> forward(const Tensor<float>& x) override {
      std::vector<float> all;
      for (Index i = 0; i < x.size(0); ++i) all.insert(all.end(), logits.begin(), logits.end());
      return Tensor<float>::from(all, {x.size(0), static_cast<Index>(logits.size())});
    }
    const char* type() const noexcept override { return "Constant"; }
  } a({1, 2, -1}), b({0, -2, 4});
  distill::Teacher both({&a, &b}, temperature);
  const Tensor<float> x = Tensor<float>::zeros({2, 1});
  const Index ids[] = {0, 1};
  Tensor<float> said = both(x, ids);
  for (float& v : said.span()) v /= static_cast<float>(temperature);
  const auto mean = softmax(said, -1).to_vector();
  const auto soft = [&](Constant& m) {
    Tensor<float> t = m(x);
    for (float& v : t.span()) v /= static_cast<float>(temperature);
    return softmax(t, -1).to_vector();
  };
  const auto pa = soft(a), pb = soft(b);
  for (std::size_t i = 0; i < mean.size(); ++i) CHECK(mean[i] == Approx((pa[i] + pb[i]) / 2).margin(1e-6));
  CHECK_THROWS_AS(distill::Teacher({}, 1.0), ValueError);
  CHECK_THROWS_AS(distill::Teacher({nullptr}, 1.0), ValueError);
  CHECK_THROWS_AS(distill::Teacher({&a}, 0.0), ValueError);
}

}  // namespace qdistill_test
