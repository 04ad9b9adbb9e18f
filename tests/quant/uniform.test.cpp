/// The uniform quantizer: goldens of the authors' code, its parametrization, its encoding.
#include "qdistill/quant/uniform.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "one_weight.hpp"
#include "qdistill/quant/attach.hpp"

namespace qdistill_test {

namespace {

template <class T>
kernels::UniformRule<T> rule_of(const GoldenCase& c) {
  kernels::UniformRule<T> rule;
  rule.levels = c.param<Index>("s", 0);
  rule.bucket_size = c.param<Index>("bucket_size", 0);
  const auto scaling = c.param<std::string>("scaling", "linear");
  rule.scaling = scaling == "absmax" ? Scaling::absmax : scaling == "absnorm" ? Scaling::absnorm : Scaling::linear;
  rule.max_element = static_cast<T>(c.param<double>("max_element", 0.0));
  rule.stochastic = c.param<bool>("stochastic", false);
  return rule;
}

/// Levels may differ where the scaled value lies within 1e-5 of a rounding boundary (golden/README.md, "Comparing").
template <class T>
void compare_levels(GoldenCase& c, const Tensor<T>& v, const std::vector<std::uint16_t>& codes,
                    const std::vector<T>& alpha, const std::vector<T>& beta, const Tensor<T>& output,
                    const kernels::UniformRule<T>& rule) {
  const Tensor<T> want = c.tensor<T>("output");
  const double rtol = c.json().at("rtol").get<double>(), atol = c.json().at("atol").get<double>();
  std::vector<Index> levels;
  if (c.has("levels")) levels = c.tensor<Index>("levels").to_vector();
  for (Index i = 0; i < v.numel(); ++i) {
    const Index b = rule.bucket_size ? i / rule.bucket_size : 0;
    const double scaled =
        static_cast<double>((v.data()[i] - beta[static_cast<std::size_t>(b)]) / alpha[static_cast<std::size_t>(b)]) *
        static_cast<double>(rule.levels - 1);
    const bool boundary = !c.is_float64() && std::fabs(scaled - std::floor(scaled) - 0.5) < 1e-5;
    const double a = static_cast<double>(output.data()[i]), w = static_cast<double>(want.data()[i]);
    if (std::fabs(a - w) > atol + rtol * std::fabs(w) && !boundary) {
      c.fail_with("output[" + std::to_string(i) + "]: " + std::to_string(a) + ", expected " + std::to_string(w));
      break;
    }
    if (!levels.empty() && levels[static_cast<std::size_t>(i)] != codes[static_cast<std::size_t>(i)] && !boundary) {
      c.fail_with("levels[" + std::to_string(i) + "]: " + std::to_string(codes[static_cast<std::size_t>(i)]) +
                  ", expected " + std::to_string(levels[static_cast<std::size_t>(i)]));
      break;
    }
  }
}

const bool uniform_golden = golden("uniform_quantization", [](auto g) {
  using T = typename decltype(g)::Scalar;
  kernels::UniformRule<T> rule = rule_of<T>(*g);
  const Tensor<T> v = g.input("input");
  Tensor<T> u;
  if (rule.stochastic) {
    u = g.input("rand");
    rule.uniforms = u.data();
  }
  if (g->template param<bool>("subtract_mean", false)) rule.mean = kernels::mean_of(Cpu{}, v.data(), v.numel());
  const auto buckets = static_cast<std::size_t>(bucket_count(v.numel(), rule.bucket_size));
  std::vector<T> alpha(buckets), beta(buckets);
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(v.numel()));
  Tensor<T> q = Tensor<T>::empty(v.shape()), plain = Tensor<T>::empty(v.shape());
  kernels::uniform_quantize(Cpu{}, v.numel(), v.data(), rule,
                            {.values = q.data(), .codes = codes.data(), .alpha = alpha.data(), .beta = beta.data()});
  kernels::uniform_quantize(Cpu{}, v.numel(), v.data(), rule, {.values = plain.data()});
  if (plain.to_vector() != q.to_vector()) g->fail_with("values differ with and without codes");
  if (rule.mean == 0 && rule.max_element == 0 && rule.scaling == Scaling::linear) {
    compare_levels(*g, v, codes, alpha, beta, q, rule);
    // Registered as compared; the tolerant comparison above stands in for the plain one.
    g->compare_values("output", g->template tensor<T>("output").to_vector());
    if (g->has("levels")) g->compare_values("levels", g->template tensor<Index>("levels").to_vector());
  } else {
    g.compare("output", q);
  }
  if (g->has("norm")) g->compare_values("norm", alpha);
  if (g->has("alpha")) g->compare_values("alpha", alpha);
  if (g->has("beta")) g->compare_values("beta", beta);
});

const bool full_gradient_golden = golden("uniform_quantization_full_gradient", [](auto g) {
  using T = typename decltype(g)::Scalar;
  quant::Uniform settings{.bits = 1, .bucket_size = g->template param<Index>("bucket_size", 0)};
  while ((Index{1} << settings.bits) < g->template param<Index>("s", 0)) ++settings.bits;
  settings.gradient = quant::Gradient::full;
  const Tensor<T> w = g.leaf("input");
  quant::UniformParametrization<T> p(settings, w);
  g.check(p.effective(nn::Phase::train), {{"input", w}});
});

}  // namespace

TEST_CASE("decoding the encoding gives the effective weight bit for bit", "[quant]") {
  for (const int bits : {1, 2, 3, 4, 8, 12}) {
    for (const Index bucket : {0, 7, 64, 256, 100000}) {
      for (const Scaling scaling : {Scaling::linear, Scaling::absmax, Scaling::absnorm}) {
        if (scaling != Scaling::linear && bits == 1) continue;
        for (const bool mean : {false, true}) {
          OneWeight m(Tensor<float>::normal({123, 11}, {5, 6}, 0.1f, 0.5f));
          quant::attach(m,
                        quant::Uniform{.bits = bits, .bucket_size = bucket, .scaling = scaling, .subtract_mean = mean});
          INFO(m.w->parametrization()->description());
          const Encoding e = m.w->encode();
          CHECK(decode_ref(e) == m.w->effective(nn::Phase::eval).to_vector());
        }
      }
    }
  }
}

TEST_CASE("the range of a large tensor without buckets is the same for any number of threads", "[quant]") {
  const Tensor<float> v = Tensor<float>::normal({300007}, {1, 2});
  std::vector<float> first;
  const int before = num_threads();
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    Tensor<float> q = Tensor<float>::empty(v.shape());
    kernels::UniformRule<float> rule;
    rule.levels = 4;
    kernels::uniform_quantize(Cpu{}, v.numel(), v.data(), rule, {.values = q.data()});
    if (first.empty()) first = q.to_vector();
    CHECK(first == q.to_vector());
  }
  set_num_threads(before);
}

TEST_CASE("straight-through passes the gradient on, truncated stops it outside [-1, 1]", "[quant]") {
  for (const auto gradient : {quant::Gradient::straight, quant::Gradient::truncated}) {
    const Tensor<double> w = requires_grad(Tensor<double>::from({-1.5, -1.0, -0.2, 0.4, 1.0, 2.0}));
    quant::UniformParametrization<double> p(quant::Uniform{.bits = 2, .gradient = gradient}, w);
    const Tensor<double> q = p.effective(nn::Phase::train);
    q.backward(Tensor<double>::from({1, 2, 3, 4, 5, 6}));
    if (gradient == quant::Gradient::straight) {
      CHECK(w.grad().to_vector() == std::vector<double>{1, 2, 3, 4, 5, 6});
      CHECK(q.to_vector().front() == -1.5);
    } else {
      CHECK(w.grad().to_vector() == std::vector<double>{0, 2, 3, 4, 5, 0});
      CHECK(q.to_vector().front() == -1.0);
      CHECK(q.to_vector().back() == 1.0);
    }
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("stochastic rounding is unbiased and used in training only", "[quant]") {
  const Tensor<float> v = Tensor<float>::uniform({4000}, {9, 9}, -1.0f, 1.0f);
  OneWeight m(v.clone());
  quant::attach(m, quant::Uniform{.bits = 2, .bucket_size = 0, .rounding = quant::Rounding::stochastic});
  std::vector<double> mean(4000, 0.0);
  const int runs = 400;
  for (int r = 0; r < runs; ++r) {
    m.w->data().mark_changed();  // as an optimizer step does: new noise
    const auto q = m.w->effective(nn::Phase::train).to_vector();
    for (std::size_t i = 0; i < q.size(); ++i) mean[i] += static_cast<double>(q[i]) / runs;
  }
  double worst = 0;
  for (std::size_t i = 0; i < mean.size(); ++i)
    worst = std::max(worst, std::fabs(mean[i] - static_cast<double>(v.data()[i])));
  // Standard deviation of a mean is at most step / 2 / sqrt(runs) = 0.0167; 4,000 of them stay within 5.
  CHECK(worst < 5 * 0.0167);
  CHECK(m.w->effective(nn::Phase::eval).to_vector() == decode_ref(m.w->encode()));
}

TEST_CASE("stochastic rounding takes number i of its stream for element i", "[quant]") {
  const Index n = 777;
  const Tensor<float> v = Tensor<float>::normal({n}, {3, 1});
  std::vector<float> u(static_cast<std::size_t>(n));
  const RandomStream stream{5, 8};
  for (Index i = 0; i < n; ++i) u[static_cast<std::size_t>(i)] = stream.uniform(static_cast<std::uint64_t>(i));
  for (const Scaling scaling : {Scaling::linear, Scaling::absmax, Scaling::absnorm}) {
    for (const Index bucket : {Index{0}, Index{1}, Index{50}, Index{64}, Index{300}}) {
      kernels::UniformRule<float> rule{
          .levels = 16, .bucket_size = bucket, .scaling = scaling, .stochastic = true, .stream = stream};
      std::vector<float> drawn(u.size()), given(u.size());
      std::vector<std::uint16_t> drawn_codes(u.size()), given_codes(u.size());
      kernels::uniform_quantize(Cpu{}, n, v.data(), rule, {.values = drawn.data(), .codes = drawn_codes.data()});
      rule.uniforms = u.data();
      kernels::uniform_quantize(Cpu{}, n, v.data(), rule, {.values = given.data(), .codes = given_codes.data()});
      CHECK(drawn == given);
      CHECK(drawn_codes == given_codes);
      rule.uniforms = nullptr, rule.stream = {5, 9};
      kernels::uniform_quantize(Cpu{}, n, v.data(), rule, {.values = given.data()});
      CHECK((bucket == 1 || drawn != given));  // a bucket of one has nothing to round
    }
  }
}

TEST_CASE("settings and weights that make no sense are refused", "[quant]") {
  OneWeight m(Tensor<float>::ones({4}));
  CHECK_THROWS_AS(quant::attach(m, quant::Uniform{.bits = 0}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Uniform{.bits = 40}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Uniform{.bucket_size = -1}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Uniform{.bits = 1, .scaling = Scaling::absmax}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Uniform{.max_element = -1}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Uniform{}, quant::named("conv*")), ValueError);
  OneWeight bad(Tensor<float>::from({1.0f, std::nanf("")}));
  quant::attach(bad, quant::Uniform{});
  CHECK_THROWS_AS(bad.w->encode(), ValueError);
  OneWeight none(Tensor<float>::empty({0, 3}));
  quant::attach(none, quant::Uniform{});
  CHECK(none.w->effective(nn::Phase::eval).numel() == 0);
  CHECK(decode_ref(none.w->encode()).empty());
}

TEST_CASE("selection by kind, place and name", "[quant]") {
  const auto candidate = [](const char* name, nn::Kind kind, Index index) {
    return quant::Candidate{name, kind, {2, 2}, index, 4};
  };
  const auto w = candidate("conv.weight", nn::Kind::weight, 0), b = candidate("conv.bias", nn::Kind::bias, 1),
             g = candidate("bn.weight", nn::Kind::norm_weight, 2), last = candidate("fc.weight", nn::Kind::weight, 3);
  CHECK((quant::all_parameters()(b) && quant::all_parameters()(g)));
  CHECK((quant::weights_only()(w) && !quant::weights_only()(b) && !quant::weights_only()(g)));
  CHECK((!quant::not_first_last()(w) && quant::not_first_last()(b) && !quant::not_first_last()(last)));
  CHECK((quant::named("conv.*")(b) && !quant::named("conv.*")(g)));
  CHECK((!quant::except("bn.*")(g) && quant::except("bn.*", quant::weights_only())(w)));
  CHECK((quant::matches("a*c?", "abbcd") && !quant::matches("a*c?", "abbc") && quant::matches("*", "")));
}

}  // namespace qdistill_test
