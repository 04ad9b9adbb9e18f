/// DiffQ: goldens of the authors' code, exact gradients, noise, encoding, size, selection.
#include "qdistill/quant/diffq.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "golden.hpp"
#include "one_weight.hpp"
#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/ops/linear.hpp"
#include "qdistill/ops/view.hpp"
#include "qdistill/optim/adam.hpp"
#include "qdistill/optim/joint.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/lsq.hpp"
#include "qdistill/quant/size.hpp"
#include "qdistill/quant/uniform.hpp"

namespace qdistill_test {

namespace {

using quant::DiffQ, quant::DiffQParametrization;

template <class G>
DiffQ settings_of(const G& g) {
  return {.group_size = g->template param<Index>("group_size", 8),
          .min_bits = g->template param<double>("min_bits", 2),
          .max_bits = g->template param<double>("max_bits", 15),
          .init_bits = g->template param<double>("init_bits", 8),
          .noise = g->template param<std::string>("noise", "gaussian") == "uniform" ? quant::Noise::uniform
                                                                                    : quant::Noise::gaussian,
          .interpolate = g->template param<std::string>("param", "bits") == "noise" ? quant::Interpolate::noise
                                                                                    : quant::Interpolate::bits};
}
template <class T>
kernels::BitsRule<T> rule_of(const DiffQ& s) {
  return kernels::BitsRule<T>::from(s.min_bits, s.max_bits, s.interpolate == quant::Interpolate::noise);
}

template <class T>
T unit_of(const kernels::BitsRule<T>& rule, T l) {
  return rule.choose([&](auto by_noise) { return rule.template unit<by_noise()>(l); });
}
template <class T>
T unit_gradient_of(const kernels::BitsRule<T>& rule, T l) {
  return rule.choose([&](auto by_noise) { return rule.template unit_gradient<by_noise()>(l); });
}
template <class T, class Code>
std::vector<Index> as_index(const std::vector<Code>& codes) {
  return {codes.begin(), codes.end()};
}
constexpr double bits_of_mb = 8 * 0x1p20;

const bool diffq_golden = golden("diffq", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const DiffQ settings = settings_of(g);
  const Tensor<T> w = g.leaf("weight"), noise = g.input("noise");
  g.compare("initial_logit", DiffQParametrization<T>(settings, w).stored()[1].tensor.detach());
  DiffQParametrization<T> p(settings, w, requires_grad(g.input("logit")));
  const Tensor<T> logit = p.stored()[1].tensor;
  g->compare_values("bits", p.bits());
  std::vector<T> scale = logit.to_vector();
  for (T& l : scale) l = unit_of(rule_of<T>(settings), l);
  g->compare_values("noise_scale", scale);
  const Tensor<T> noisy = p.noisy({.gaussian = settings.noise == quant::Noise::gaussian, .given = noise.data()});
  g.check(noisy, {{"weight", w}, {"logit", logit}}, "noisy");
  logit.zero_grad();
  const Tensor<T> size = p.penalty();
  g.compare("model_size_mb", size.detach());
  size.backward();
  g.compare("grad_logit_of_model_size", logit.grad());
  g->compare_value("true_model_size_mb", p.size_bits() / bits_of_mb);
  g->compare_values("eval_bits", as_index<T>(p.widths()));
  g.compare("dequantized", p.effective(nn::Phase::eval).detach());
  const Encoding e = p.encode();
  const auto& grouped = std::get<GroupedEncoding>(e.data);
  g->compare_values("levels", as_index<T>(grouped.codes));
  g->compare_values("min_max", std::vector<T>{T(grouped.offset), T(grouped.offset) + T(grouped.scale)});
});

const bool per_group_golden = golden("uniform_minmax_per_group", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.input("weight");
  std::vector<std::uint8_t> widths;
  for (const Index b : g.indices("bits").to_vector()) widths.push_back(static_cast<std::uint8_t>(b));
  T lo = 0, hi = 0;
  kernels::value_range(Cpu{}, w.data(), w.numel(), lo, hi);
  Tensor<T> q = Tensor<T>::empty(w.shape());
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(w.numel()));
  kernels::grouped_quantize(Cpu{}, w.numel(), w.numel() / static_cast<Index>(widths.size()), w.data(), widths.data(),
                            hi - lo, lo, q.data(), codes.data());
  g.compare("dequantized", q);
  g->compare_values("levels", as_index<T>(codes));
  g->compare_values("min_max", std::vector<T>{lo, hi});
});

/// The network of topic diffq_model_size: conv 3->64 5x5, batch norm 64, two linear 64->64, perhaps with one weight.
template <class T>
struct Sized : nn::Module<T> {
  nn::Conv2d<T>& conv = this->add("conv", nn::Conv2d<T>(3, 64, 5));
  nn::BatchNorm2d<T>& bn = this->add("bn", nn::BatchNorm2d<T>(64));
  nn::Linear<T>& fc1 = this->add("fc1", nn::Linear<T>(64, 64));
  nn::Linear<T>& fc2;
  explicit Sized(bool tied) : fc2(this->add("fc2", second(tied))) {}
  nn::Linear<T> second(bool tied) {
    if (!tied) return nn::Linear<T>(64, 64);
    nn::Linear<T> shared(fc1.weight, std::make_shared<nn::Parameter<T>>(Tensor<T>::zeros({64}), nn::Kind::bias));
    return shared;
  }
  Tensor<T> forward(const Tensor<T>& x) override { return x; }
  const char* type() const noexcept override { return "Sized"; }
};

template <class G>
quant::Select selection_of(const G& g) {
  return quant::excluding(g->template param<std::vector<std::string>>("exclude", {}),
                          quant::larger_than_mb(g->template param<double>("min_size", 0.01)));
}
/// Without detect_bound the authors count a weight of two layers twice, as two weights.
template <class G>
bool tied(const G& g) {
  return g->template param<bool>("tied_fc", false) && g->template param<bool>("detect_bound", true);
}

const bool model_size_golden = golden("diffq_model_size", [](auto g) {
  using T = typename decltype(g)::Scalar;
  Sized<T> model(tied(g));
  const bool half = g->template param<bool>("float16", false);
  quant::attach(model, settings_of(g), selection_of(g));
  std::vector<std::string> quantized, others;
  for (const auto& [name, p] : model.named_parameters()) {
    if (!p->parametrization()) {
      others.push_back(name);
      continue;
    }
    quantized.push_back(name);
    Tensor<T> logit = p->parametrization()->stored()[1].tensor;
    logit.copy_from(g.input("logit." + name));
  }
  const auto listed = [&](const char* key) { return g->params().at(key).template get<std::vector<std::string>>(); };
  CHECK(quantized == listed("quantized_parameters"));
  CHECK(others == listed(half ? "float16_parameters" : "float32_parameters"));
  if (half) quant::attach(model, quant::Half{}, quant::not_quantized());
  g.compare("model_size_mb", quant::SizePenalty<T>(model)().detach());
  g->compare_value("true_model_size_mb", quant::size_mb(model));
});

const bool uniform_size_golden = golden("uniform_model_size", [](auto g) {
  const int bits = g->template param<int>("bits", 0);
  for (const bool lsq : {false, true}) {
    Sized<float> model(tied(g));
    if (lsq) quant::attach(model, quant::Lsq{.bits = bits}, selection_of(g));
    else quant::attach(model, quant::Uniform{.bits = bits, .bucket_size = 0}, selection_of(g));
    if (g->template param<bool>("float16", false)) quant::attach(model, quant::Half{}, quant::not_quantized());
    g->compare_value(lsq ? "lsq_mb" : "uniform_mb", quant::size_mb(model));
  }
});

const bool training_golden = golden("diffq_training", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const DiffQ settings = settings_of(g);
  const Tensor<T> w = g.leaf("weight"), logit = requires_grad(g.input("logit")), inputs = g.input("inputs"),
                  noise = g.input("noise");
  const Tensor<Index> labels = g.indices("labels");
  DiffQParametrization<T> p(settings, w, logit);
  const auto& sgd = g->params().at("sgd");
  const auto& adam = g->params().at("adam");
  std::vector<std::unique_ptr<optim::Optimizer<T>>> parts;
  parts.push_back(std::make_unique<optim::SGD<T>>(
      std::vector<Tensor<T>>{w}, optim::SgdOptions{.lr = sgd.at("lr").template get<double>(),
                                                   .momentum = sgd.at("momentum").template get<double>(),
                                                   .weight_decay = sgd.at("weight_decay").template get<double>(),
                                                   .nesterov = sgd.at("nesterov").template get<bool>()}));
  parts.push_back(std::make_unique<optim::Adam<T>>(
      std::vector<Tensor<T>>{logit}, optim::AdamOptions{.lr = adam.at("lr").template get<double>(),
                                                        .beta1 = adam.at("betas")[0].template get<double>(),
                                                        .beta2 = adam.at("betas")[1].template get<double>(),
                                                        .eps = adam.at("eps").template get<double>()}));
  optim::Joint<T> joint(std::move(parts));
  std::vector<T> losses, weights, logits;
  for (Index step = 0; step < inputs.size(0); ++step) {
    joint.zero_grad();
    const Tensor<T> noisy =
        p.noisy({.gaussian = settings.noise == quant::Noise::gaussian, .given = noise.data() + step * w.numel()});
    const Tensor<T> y = linear(contiguous(select(inputs, 0, step)), noisy, Tensor<T>{});
    const Tensor<T> loss = add(cross_entropy(y, contiguous(select(labels, 0, step))),
                               mul(p.penalty(), g->template param<double>("penalty", 0)));
    losses.push_back(loss.item());
    loss.backward();
    joint.step();
    const auto wv = w.to_vector(), lv = logit.to_vector();
    weights.insert(weights.end(), wv.begin(), wv.end());
    logits.insert(logits.end(), lv.begin(), lv.end());
  }
  g->compare_values("losses", losses);
  g->compare_values("weights", weights);
  g->compare_values("logits", logits);
  const NoGrad no_grad;
  g.compare("eval_logits", linear(contiguous(select(inputs, 0, 0)), p.effective(nn::Phase::eval), Tensor<T>{}));
  g->compare_value("true_model_size_mb", p.size_bits() / bits_of_mb);
});

DiffQParametrization<float>& diffq_of(OneWeight<>& m) {
  return dynamic_cast<DiffQParametrization<float>&>(*m.w->parametrization());
}

}  // namespace

TEST_CASE("DiffQ's gradients are exact: weights with max and min, logits, size", "[quant]") {
  for (const Index group : {1, 3, 4, 0})
    for (const auto interpolate : {quant::Interpolate::bits, quant::Interpolate::noise})
      for (const auto noise : {quant::Noise::gaussian, quant::Noise::uniform}) {
        const DiffQ settings{.group_size = group, .noise = noise, .interpolate = interpolate};
        INFO(settings.description());
        const Tensor<double> w = Tensor<double>::normal({4, 6}, {3, 4}),
                             l = Tensor<double>::normal({group ? 24 / group : 1}, {3, 5}, -1.0, 1.0);
        const kernels::PseudoNoise<double> fixed{noise == quant::Noise::gaussian, {5, 6}};
        const auto noisy = gradcheck(
            [&](const std::vector<Tensor<double>>& a) {
              return DiffQParametrization<double>(settings, a[0], a[1]).noisy(fixed);
            },
            {w, l});
        CHECK(noisy.ok);
        INFO(noisy.message());
        // Added to gradients that are there.
        const auto twice = gradcheck(
            [&](const std::vector<Tensor<double>>& a) {
              DiffQParametrization<double> p(settings, a[0], a[1]);
              return add(p.noisy(fixed), p.noisy({true, {7, 8}}));
            },
            {w, l});
        CHECK(twice.ok);
        const auto size = gradcheck(
            [&](const std::vector<Tensor<double>>& a) {
              return mul(DiffQParametrization<double>(settings, w, a[0]).penalty(), bits_of_mb);
            },
            {l});
        CHECK(size.ok);
      }
  CHECK(live_nodes() == 0);
}

TEST_CASE("backward recomputes the noise that forward drew, for every way of cutting", "[quant]") {
  struct Cut {
    Index n, group;
  };
  for (const Cut c : {Cut{1, 1}, Cut{7, 1}, Cut{777, 3}, Cut{1000, 8}, Cut{640, 16}, Cut{960, 4}, Cut{960, 12},
                      Cut{900, 300}, Cut{5120, 512}, Cut{70001, 0}, Cut{80000, 1}}) {
    INFO(c.n << " elements in groups of " << c.group);
    const Tensor<double> w = requires_grad(Tensor<double>::normal({c.n}, {1, 2})),
                         g = Tensor<double>::normal({c.n}, {1, 3});
    const Index groups = c.group ? c.n / c.group : 1, size = c.n / groups;
    const DiffQ settings{.group_size = c.group};
    DiffQParametrization<double> p(settings, w, requires_grad(Tensor<double>::normal({groups}, {1, 4})));
    const Tensor<double> l = p.stored()[1].tensor, y = p.effective(nn::Phase::train);
    y.backward(g);
    Index highest = 0, lowest = 0;
    const double* const v = std::as_const(w).data();
    for (Index i = 0; i < c.n; ++i) {
      if (v[i] > v[highest]) highest = i;
      if (v[i] < v[lowest]) lowest = i;
    }
    const double range = v[highest] - v[lowest];
    const auto rule = rule_of<double>(settings);
    // What forward added, divided by range u, is the noise.
    std::vector<double> dl(static_cast<std::size_t>(groups)), dw = g.to_vector();
    double all = 0;
    for (Index i = 0; i < c.n; ++i) {
      const Index j = i / size;
      const double u = unit_of(rule, l.data()[j]), un = range > 0 ? (y.data()[i] - v[i]) / range : 0;
      dl[static_cast<std::size_t>(j)] += range * unit_gradient_of(rule, l.data()[j]) * un / u * g.data()[i];
      all += un * g.data()[i];
    }
    if (range > 0) dw[static_cast<std::size_t>(highest)] += all, dw[static_cast<std::size_t>(lowest)] -= all;
    for (Index i = 0; i < c.n; ++i)
      REQUIRE(w.grad().data()[i] == Approx(dw[static_cast<std::size_t>(i)]).epsilon(1e-9).margin(1e-9));
    for (Index j = 0; j < groups; ++j)
      REQUIRE(l.grad().data()[j] == Approx(dl[static_cast<std::size_t>(j)]).epsilon(1e-7).margin(1e-9));
  }
}

TEST_CASE("noise is a function of the element's number, with the moments it should have", "[quant]") {
  const Index n = 200000;
  for (const bool gaussian : {true, false}) {
    std::vector<float> z(static_cast<std::size_t>(n)), buffer(static_cast<std::size_t>(kernels::noise_room(256)));
    for (Index i = 0; i < n; i += 250) {  // not a multiple of what is made at a time
      const float* const block =
          kernels::noise_block<float>({gaussian, {11, 12}, nullptr}, i, std::min<Index>(250, n - i), buffer.data());
      std::copy(block, block + std::min<Index>(250, n - i), z.begin() + i);
    }
    for (const Index begin : {Index{0}, Index{63}, Index{64}, Index{127}, Index{128}, Index{300}}) {
      const float* const block = kernels::noise_block<float>({gaussian, {11, 12}, nullptr}, begin, 256, buffer.data());
      for (Index i = 0; i < 256; ++i) REQUIRE(block[i] == z[static_cast<std::size_t>(begin + i)]);
    }
    double mean = 0, square = 0, fourth = 0, neighbour = 0, half = 0, largest = 0;
    for (Index i = 0; i < n; ++i) {
      const auto at = [&](Index k) { return static_cast<double>(z[static_cast<std::size_t>(k)]); };
      const double x = at(i);
      mean += x / n, square += x * x / n, fourth += x * x * x * x / n, largest = std::max(largest, std::fabs(x));
      if (i + 1 < n) neighbour += x * at(i + 1) / n;
      if (i + 64 < n) half += x * at(i + 64) / n;  // the other of a pair
    }
    const double variance = gaussian ? 0.25 : 1.0 / 12, four = gaussian ? 3.0 / 16 : 1.0 / 80;
    // Standard deviations of these means are below variance / 150 and four / 100; 5 of them.
    CHECK(std::fabs(mean) < 5 * std::sqrt(variance / n));
    CHECK(std::fabs(square - variance) < variance / 30);
    CHECK(std::fabs(fourth - four) < four / 20);
    CHECK(std::fabs(neighbour) < 5 * variance / std::sqrt(static_cast<double>(n)));
    CHECK(std::fabs(half) < 5 * variance / std::sqrt(static_cast<double>(n)));
    CHECK((gaussian ? largest > 2 && largest < 3 : largest > 0.4999 && largest <= 0.5));
  }
}

TEST_CASE("a step has one noise, the next another, evaluation none", "[quant]") {
  manual_seed(5);
  OneWeight m(Tensor<float>::normal({16, 16}, {2, 3}));
  quant::attach(m, DiffQ{.group_size = 16, .init_bits = 3});
  const auto first = m.w->effective(nn::Phase::train).to_vector();
  CHECK(first == m.w->effective(nn::Phase::train).to_vector());
  CHECK(first != m.w->data().to_vector());
  m.w->data().mark_changed();
  CHECK(first != m.w->effective(nn::Phase::train).to_vector());
  const auto evaluated = m.w->effective(nn::Phase::eval).to_vector();
  m.w->data().mark_changed();
  CHECK(evaluated == m.w->effective(nn::Phase::eval).to_vector());
  CHECK(std::set<float>(evaluated.begin(), evaluated.end()).size() <= 8);  // 3 bits
}

TEST_CASE("decoding DiffQ's encoding gives the evaluated weight bit for bit", "[quant]") {
  for (const Index group : {0, 1, 3, 4, 8, 16, 300, 1200}) {
    OneWeight m(Tensor<float>::normal({120, 10}, {5, 6}, 0.1f, 0.5f));
    quant::attach(m, DiffQ{.group_size = group});
    Tensor<float> logit = m.w->parametrization()->stored()[1].tensor;
    logit.copy_from(Tensor<float>::normal(logit.shape(), {5, 7}, 0.0f, 3.0f));
    const Encoding e = m.w->encode();
    CHECK(decode_ref(e) == m.w->effective(nn::Phase::eval).to_vector());
    if (group == 1) {  // the widths do differ
      const auto& widths = std::get<GroupedEncoding>(e.data).widths;
      CHECK(std::set<std::uint8_t>(widths.begin(), widths.end()).size() > 8);
    }
  }
  OneWeight constant(Tensor<float>::full({8}, 0.3f));
  quant::attach(constant, DiffQ{});
  CHECK(decode_ref(constant.w->encode()) == std::vector<float>(8, 0.3f));
  CHECK(constant.w->effective(nn::Phase::train).to_vector() == std::vector<float>(8, 0.3f));
  OneWeight none(Tensor<float>::empty({0, 3}));
  for (const Index group : {0, 8}) {
    quant::attach(none, DiffQ{.group_size = group});
    CHECK(none.w->effective(nn::Phase::train).numel() == 0);
    CHECK(none.w->effective(nn::Phase::eval).numel() == 0);
    CHECK(decode_ref(none.w->encode()).empty());
    CHECK(none.w->parametrization()->penalty().item() == Approx(72 / bits_of_mb));
  }
}

TEST_CASE("DiffQ has the same bits with 1, 2 and 4 threads", "[quant]") {
  const int before = num_threads();
  for (const Index group : {0, 1, 8, 75000}) {
    std::vector<std::vector<float>> one;
    for (const int threads : {1, 2, 4}) {
      set_num_threads(threads);
      manual_seed(3);
      const Tensor<float> w = requires_grad(Tensor<float>::normal({300000}, {1, 2}));
      DiffQParametrization<float> p(DiffQ{.group_size = group}, w);
      const Tensor<float> l = p.stored()[1].tensor, y = p.effective(nn::Phase::train);
      y.backward(Tensor<float>::normal({300000}, {1, 3}));
      p.penalty().backward();
      std::vector<std::vector<float>> all{y.to_vector(), w.grad().to_vector(), l.grad().to_vector(),
                                          p.effective(nn::Phase::eval).to_vector(), p.penalty().to_vector()};
      if (one.empty()) one = all;
      CHECK(all == one);
    }
  }
  set_num_threads(before);
}

TEST_CASE("bits that are not trained stay, and belong to no optimizer", "[quant]") {
  OneWeight m(Tensor<float>::normal({64}, {5, 6}));
  quant::attach(m, DiffQ{.init_bits = 4, .train_bits = false});
  CHECK(m.parameters().size() == 1);
  CHECK(m.parameters("bits").empty());
  CHECK(diffq_of(m).widths() == std::vector<std::uint8_t>(8, 4));
  CHECK(!m.w->parametrization()->penalty().requires_grad());
  CHECK(quant::size_mb(m) == Approx((64 * 4 + 64 + 8 + 8 * 2) / bits_of_mb));
  quant::attach(m, DiffQ{});
  CHECK(m.parameters("").size() == 1);
  CHECK(m.parameters("bits").size() == 1);
}

TEST_CASE("the size penalty takes bits away, and the joint optimizer moves both", "[quant]") {
  OneWeight m(Tensor<float>::normal({64}, {5, 6}));
  quant::attach(m, DiffQ{});
  const quant::SizePenalty<float> size(m);
  const float before = size().item();
  optim::Adam<float> adam(m.parameters("bits"), optim::AdamOptions{.lr = 0.1});
  for (int step = 0; step < 20; ++step) {
    adam.zero_grad();
    size().backward();
    adam.step();
  }
  CHECK(size().item() < 0.8f * before);
  // Rounding moves each of the 64 weights by at most half a bit.
  CHECK(std::fabs(static_cast<double>(size().item()) - quant::size_mb(m)) * bits_of_mb < 64 * 0.51);
}

TEST_CASE("float16 parameters: full precision in training, rounded in evaluation and in the file", "[quant]") {
  OneWeight m(Tensor<float>::from({1.0f, 0.1f, -3.14159f, 1e-8f, 65504.0f}));
  quant::attach(m, quant::Half{}, quant::not_quantized());
  CHECK_THROWS_AS(quant::attach(m, quant::Half{}, quant::not_quantized()), ValueError);
  CHECK(m.w->effective(nn::Phase::train).to_vector() == m.w->data().to_vector());
  const auto h = m.w->effective(nn::Phase::eval).to_vector();
  CHECK((h[0] == 1.0f && h[1] != 0.1f && std::fabs(h[1] - 0.1f) < 1e-4f && h[3] == 0.0f && h[4] == 65504.0f));
  const Encoding e = m.w->encode();
  CHECK(std::get<DenseEncoding>(e.data).half);
  CHECK(decode_ref(e) == h);
  CHECK(quant::size_mb(m) == 5 * 16 / bits_of_mb);
  m.w->data().data()[0] = 70000.0f;
  m.w->data().mark_changed();
  CHECK_THROWS_AS(m.w->encode(), ValueError);
}

TEST_CASE("DiffQ refuses settings, shapes and weights that make no sense, and attaches nothing then", "[quant]") {
  OneWeight m(Tensor<float>::ones({10, 3}));
  CHECK_THROWS_AS(quant::attach(m, DiffQ{.group_size = -1}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, DiffQ{.group_size = 1, .min_bits = 0}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, DiffQ{.group_size = 1, .max_bits = 40}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, DiffQ{.group_size = 1, .init_bits = 2}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, DiffQ{.group_size = 1, .init_bits = std::nan("")}), ValueError);
  try {
    quant::attach(m, DiffQ{.group_size = 8});
    CHECK(false);
  } catch (const ShapeError& e) {
    const std::string said = e.what();
    CHECK(said.find("[quant::DiffQ] got group_size 8 for a weight of shape [10, 3]") == 0);
    CHECK(said.find("HINT: select with quant::divisible_by(8)") != std::string::npos);
  }
  CHECK(!m.w->parametrization());
  CHECK_THROWS_AS(quant::attach(m, DiffQ{}, quant::divisible_by(8)), ValueError);  // nothing selected
  CHECK(quant::attach(m, DiffQ{.group_size = 5}, quant::divisible_by(5)) == 1);
  CHECK_THROWS_AS((DiffQParametrization<float>(DiffQ{}, m.w->data(), Tensor<float>::zeros({7}))), ShapeError);
  OneWeight bad(Tensor<float>::from({1.0f, std::nanf(""), 2.0f, 3.0f}));
  quant::attach(bad, DiffQ{.group_size = 4});
  CHECK_THROWS_AS(bad.w->encode(), ValueError);
  CHECK(std::isnan(bad.w->effective(nn::Phase::train).to_vector()[1]));
  OneWeight lost(Tensor<float>::ones({4}));
  quant::attach(lost, DiffQ{.group_size = 4});
  Tensor<float> logit = lost.w->parametrization()->stored()[1].tensor;
  logit.fill(std::nanf(""));
  CHECK_THROWS_AS(lost.w->encode(), ValueError);
  logit.fill(1e30f);
  CHECK(diffq_of(lost).widths() == std::vector<std::uint8_t>{15});
  logit.fill(-1e30f);
  CHECK(diffq_of(lost).widths() == std::vector<std::uint8_t>{2});
  lost.w->effective(nn::Phase::train);
}

TEST_CASE("selection by size, by patterns on the full or the bare name, by divisibility", "[quant]") {
  const auto candidate = [](const char* name, Shape shape) {
    return quant::Candidate{name, nn::Kind::weight, shape, 0, 2};
  };
  CHECK(!quant::larger_than_mb(0.01)(candidate("w", {2621})));
  CHECK(quant::larger_than_mb(0.01)(candidate("w", {2622})));
  CHECK(quant::larger_than_mb(0)(candidate("w", {1})));
  CHECK(!quant::larger_than_mb(0)(candidate("w", {0})));
  CHECK_THROWS_AS(quant::larger_than_mb(-1), ValueError);
  const auto select = quant::excluding({"bias", "bn.*"});
  CHECK(!select(candidate("a.fc.bias", {1})));
  CHECK(!select(candidate("bias", {1})));
  CHECK(!select(candidate("bn.weight", {1})));
  CHECK(select(candidate("a.bn.weight", {1})));
  CHECK(select(candidate("bias.weight", {1})));
  CHECK(quant::divisible_by(8)(candidate("w", {4, 6})));
  CHECK(!quant::divisible_by(8)(candidate("w", {4, 5})));
  CHECK(quant::divisible_by(0)(candidate("w", {7})));
}

}  // namespace qdistill_test
