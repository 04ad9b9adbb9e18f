/// Learning-rate schedules against recorded lists, saved and restored on the way.
#include <catch2/catch.hpp>

#include "error_of.hpp"
#include "golden.hpp"
#include "qdistill/optim/schedule_polino.hpp"

namespace qdistill_test {

namespace {

using namespace qdistill::optim;

std::unique_ptr<Schedule> make(GoldenCase& c) {
  const std::string kind = c.params().at("kind").get<std::string>();
  const auto num = [&](const char* key) { return c.params().at(key).get<double>(); };
  const auto whole = [&](const char* key) { return c.params().at(key).get<Index>(); };
  const double lr = num("lr");
  if (kind == "StepLR") return make_schedule(StepLR{lr, whole("step_size"), num("gamma")});
  if (kind == "MultiStepLR")
    return make_schedule(MultiStepLR{lr, c.params().at("milestones").get<std::vector<Index>>(), num("gamma")});
  if (kind == "ExponentialLR") return make_schedule(ExponentialLR{lr, num("gamma")});
  if (kind == "CosineAnnealingLR") return make_schedule(CosineAnnealingLR{lr, whole("T_max"), num("eta_min")});
  if (kind == "CosineAnnealingWarmRestarts")
    return make_schedule(CosineAnnealingWarmRestarts{lr, whole("T_0"), whole("T_mult"), num("eta_min")});
  if (kind == "LinearLR")
    return make_schedule(LinearLR{lr, num("start_factor"), num("end_factor"), whole("total_iters")});
  if (kind == "OneCycleLR")
    return make_schedule(OneCycleLR{num("max_lr"), whole("total_steps"), num("pct_start"), num("div_factor"),
                                    num("final_div_factor"), c.params().at("anneal") == "linear"});
  if (kind == "noam") return make_schedule(NoamLR{lr, whole("d_model"), whole("warmup")});
  if (kind == "ReduceLROnPlateau") {
    PlateauOptions o;
    o.lr = lr, o.factor = num("factor"), o.patience = whole("patience"), o.threshold = num("threshold");
    o.relative = c.params().at("threshold_mode") == "rel", o.maximize = c.params().at("mode") == "max";
    return std::make_unique<PlateauSchedule>(o);
  }
  if (kind == "generic" || kind == "quant_points_cifar100") {
    PolinoHalvingOptions o = kind == "generic" ? PolinoHalvingOptions{} : PolinoHalving::quantization_points();
    CHECK(o.lr == lr);
    return std::make_unique<PolinoHalving>(o);
  }
  if (kind == "cifar100") return make_schedule(PolinoCifar100LR{lr});
  if (kind == "imagenet") return make_schedule(PolinoImagenetLR{lr});
  if (kind == "onmt") {
    PolinoTranslationOptions o;
    o.lr = lr, o.decay = num("decay"), o.start_decay_at = whole("start_decay_at");
    return std::make_unique<PolinoTranslation>(o);
  }
  throw Error("unknown schedule " + kind);
}

/// step(), on a fresh schedule that took over the state.
double step(GoldenCase& c, std::unique_ptr<Schedule>& schedule, double metric) {
  auto next = make(c);
  next->load_state(schedule->state());
  schedule = std::move(next);
  return schedule->step(metric);
}

const bool schedule_golden = golden("lr_schedule", [](auto g) {
  auto schedule = make(*g);
  const Index n = g->shape("lr")[0];
  const std::vector<double> metric =
      g->has("metric") ? g->template tensor<double>("metric").to_vector() : std::vector<double>();
  std::vector<double> lr{schedule->lr()};
  for (std::size_t t = 0; static_cast<Index>(lr.size()) < n; ++t)
    lr.push_back(step(*g, schedule, metric.empty() ? 0 : metric.at(t)));
  g->compare_values("lr", lr);
});

const bool rule_golden = golden("lr_rule", [](auto g) {
  auto schedule = make(*g);
  std::vector<double> lr;
  std::vector<Index> stop;
  for (const double v :
       g->template tensor<double>(g->has("perplexity") ? "perplexity" : "validation_error").to_vector()) {
    lr.push_back(step(*g, schedule, v));
    stop.push_back(schedule->stop() ? 1 : 0);
  }
  g->compare_values("lr", lr);
  if (g->has("stop")) g->compare_values("stop", stop);
});

}  // namespace

TEST_CASE("warm-up and cosine", "[optim]") {
  const WarmupCosineLR rule{.lr = 1, .warmup = 4, .total = 12, .eta_min = 0.1};
  CHECK(rule.at(0) == 0.25);
  CHECK(rule.at(3) == 1);
  CHECK(rule.at(4) == 1);
  CHECK(rule.at(8) == Approx(0.55));
  CHECK(rule.at(12) == Approx(0.1));
  CHECK(rule.at(100) == Approx(0.1));
  const auto s = make_schedule(rule);
  CHECK(s->lr() == 0.25);
  CHECK(s->step() == 0.5);
  CHECK(s->steps() == 1);
  CHECK(!s->stop());
}

TEST_CASE("a plateau of a metric to maximise", "[optim]") {
  PlateauOptions o;
  o.lr = 1, o.factor = 0.5, o.patience = 1, o.maximize = true, o.relative = false, o.threshold = 0.01, o.min_lr = 0.3;
  PlateauSchedule s(o);
  CHECK(s.step(0.5) == 1);
  CHECK(s.step(0.505) == 1);  // not enough: one bad step
  CHECK(s.step(0.4) == 0.5);  // two
  CHECK(s.step(0.6) == 0.5);
  CHECK(s.step(std::nan("")) == 0.5);
  CHECK(s.step(0.6) == 0.3);
}

TEST_CASE("schedules refuse values that make no sense", "[optim]") {
  CHECK(error_of([] { make_schedule(StepLR{0.1, 0}); }) == "[StepLR] got step_size 0, expected above 0");
  CHECK(error_of([] { make_schedule(ConstantLR{-1}); }) == "[schedule] got lr -1, expected at least 0");
  CHECK(error_of([] { make_schedule(CosineAnnealingLR{0.1, 0}); }).find("[CosineAnnealingLR] got t_max 0") == 0);
  CHECK(error_of([] { make_schedule(CosineAnnealingWarmRestarts{0.1, 0}); }).find("got t_0 0") != std::string::npos);
  CHECK(error_of([] { make_schedule(LinearLR{0.1, 0.1, 1, 0}); }).find("[LinearLR] got total_iters 0") == 0);
  CHECK(error_of([] { make_schedule(WarmupCosineLR{0.1, 5, 5}); }).find("[WarmupCosineLR] got warmup 5") == 0);
  CHECK(error_of([] { make_schedule(OneCycleLR{0.1, 0}); }).find("[OneCycleLR] got total_steps 0") == 0);
  CHECK(error_of([] { make_schedule(NoamLR{1, 0}); }).find("[NoamLR] got d_model 0") == 0);
  PlateauOptions o;
  o.factor = 1;
  CHECK(error_of([&] { PlateauSchedule s(o); }) == "[PlateauSchedule] got factor 1, expected it in (0, 1)");
}

}  // namespace qdistill_test
