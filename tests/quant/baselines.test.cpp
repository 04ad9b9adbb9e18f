/// The small quantizers: each against its defining formula, its encoding bit for bit, threads, wrong input.
#include <catch2/catch.hpp>

#include "one_weight.hpp"
#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/binary_connect.hpp"
#include "qdistill/quant/dorefa.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/projected.hpp"
#include "qdistill/quant/ternary.hpp"
#include "qdistill/quant/weight_sharing.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Encoding, threads and bad tensors, the same for all. `at_attach`: a weight that is NaN is refused there.
template <class Q>
void check_quantizer(const Q& quantizer, bool at_attach = false) {
  for (const Shape& shape : {Shape{123, 11}, Shape{1}, Shape{5, 0, 2}, Shape{4, 4, 3, 3}}) {
    OneWeight m(Tensor<float>::normal(shape, {5, 6}, 0.1f, 0.5f));
    quant::attach(m, quantizer);
    INFO(m.w->parametrization()->description());
    CHECK(decode_ref(m.w->encode()) == m.w->effective(nn::Phase::eval).to_vector());
    CHECK(m.w->encode().shape == std::vector<Index>(shape.begin(), shape.end()));
    const Tensor<float> y = m.w->effective(nn::Phase::train);
    y.backward(Tensor<float>::ones(shape));
    for (const auto& p : m.parameters()) CHECK(p.grad().shape() == p.shape());
  }
  OneWeight constant(Tensor<float>::ones({6}));
  quant::attach(constant, quantizer);
  {
    const NoGrad no_grad;
    CHECK(!constant.w->effective(nn::Phase::train).requires_grad());
  }
  OneWeight zero(Tensor<float>::zeros({6}));
  quant::attach(zero, quantizer);
  for (const float v : zero.w->effective(nn::Phase::eval).to_vector()) CHECK(std::isfinite(v));
  CHECK(decode_ref(zero.w->encode()) == zero.w->effective(nn::Phase::eval).to_vector());
  OneWeight bad(Tensor<float>::from({1.0f, std::nanf(""), 2.0f}));
  if (at_attach) {
    CHECK_THROWS_AS(quant::attach(bad, quantizer), ValueError);
  } else {
    quant::attach(bad, quantizer);
    CHECK_THROWS_AS(bad.w->encode(), ValueError);
  }
  const int before = num_threads();
  std::vector<std::vector<float>> one;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    OneWeight m(Tensor<float>::normal({300000}, {1, 2}, 0.0f, 0.7f));
    quant::attach(m, quantizer);
    const Tensor<float> y = m.w->effective(nn::Phase::train);
    y.backward(Tensor<float>::normal({300000}, {1, 3}));
    std::vector<std::vector<float>> all{y.to_vector(), m.w->effective(nn::Phase::eval).to_vector()};
    for (const auto& p : m.parameters()) all.push_back(p.grad().to_vector());
    if (one.empty()) one = all;
    CHECK(all == one);
  }
  set_num_threads(before);
}

}  // namespace

TEST_CASE("float16 has what all quantizers have", "[quant]") { check_quantizer(quant::Half{}); }

TEST_CASE("BinaryConnect: signs, straight through, weights clipped after the step", "[quant]") {
  check_quantizer(quant::BinaryConnect{});
  OneWeight m(Tensor<float>::from({-0.5f, 0.0f, 0.2f, 0.9f}));
  quant::attach(m, quant::BinaryConnect{});
  optim::SGD<float> sgd(m.parameters(), {.lr = 1});
  const Tensor<float> q = m.w->effective(nn::Phase::train);
  CHECK(q.to_vector() == std::vector<float>{-1, 1, 1, 1});
  const std::vector<float> g{1, 0.25f, 0.5f, -2};
  q.backward(Tensor<float>::from(g, {4}));
  CHECK(m.w->data().grad().to_vector() == g);
  sgd.step();
  CHECK(m.w->effective(nn::Phase::train).to_vector() == std::vector<float>{-1, -1, -1, 1});
  CHECK(m.w->data().to_vector() == std::vector<float>{-1, -0.25f, -0.3f, 1});  // -1.5 and 2.9 are clipped
  CHECK(m.w->parametrization()->size_bits() == 4);
}

TEST_CASE("DoReFa: levels of tanh; gradients through tanh and its maximum", "[quant]") {
  for (const int bits : {1, 2, 3, 8, 16}) check_quantizer(quant::DoReFa{.bits = bits});
  const Tensor<double> w = Tensor<double>::from({-1.2, -0.4, 0.05, 0.3, 0.8}),
                       g = Tensor<double>::from({1, -2, 3, 4, 5});
  for (const int bits : {2, 4, 12}) {
    const Tensor<double> leaf = requires_grad(w.clone());
    quant::DoReFaParametrization<double> p(quant::DoReFa{.bits = bits}, leaf);
    const Tensor<double> q = p.effective(nn::Phase::train);
    const double levels = std::exp2(bits) - 1, most = std::tanh(1.2);
    for (std::size_t i = 0; i < 5; ++i) {
      const double z = std::tanh(w.to_vector()[i]) / (2 * most) + 0.5;
      CHECK(q.to_vector()[i] == Approx(2 * std::nearbyint(z * levels) / levels - 1).margin(1e-12));
    }
    q.backward(g);
    // Straight through the rounding: the gradient of tanh(w) / max|tanh(w)|, whatever the number of bits.
    for (Index i = 0; i < 5; ++i) {
      const auto smooth = [&](double step) {
        std::vector<double> x = w.to_vector();
        x[static_cast<std::size_t>(i)] += step;
        double largest = 0, sum = 0;
        for (const double v : x) largest = std::max(largest, std::fabs(std::tanh(v)));
        for (std::size_t k = 0; k < 5; ++k) sum += g.to_vector()[k] * std::tanh(x[k]) / largest;
        return sum;
      };
      CHECK(leaf.grad().data()[i] == Approx((smooth(1e-6) - smooth(-1e-6)) / 2e-6).epsilon(1e-7));
    }
  }
  const Tensor<double> leaf = requires_grad(w.clone());
  quant::DoReFaParametrization<double> one(quant::DoReFa{.bits = 1}, leaf);
  const Tensor<double> q = one.effective(nn::Phase::train);
  for (std::size_t i = 0; i < 5; ++i) CHECK(q.to_vector()[i] == Approx(i < 2 ? -0.55 : 0.55));  // mean|w|
  q.backward(g);
  CHECK(leaf.grad().to_vector() == g.to_vector());
  OneWeight m(Tensor<float>::ones({4}));
  for (const int bits : {0, 17, 40}) CHECK_THROWS_AS(quant::attach(m, quant::DoReFa{.bits = bits}), ValueError);
}

TEST_CASE("ternary weights: three values, gradients of scales exact, of weights scaled", "[quant]") {
  check_quantizer(quant::Ternary{}, true);
  check_quantizer(quant::Ternary{.threshold = 0.7}, true);
  const Tensor<double> w = requires_grad(Tensor<double>::from({-1.0, -0.5, -0.2, 0.0, 0.2, 0.6, 1.0}));
  quant::TernaryParametrization<double> p(quant::Ternary{.threshold = 0.2}, w);
  Tensor<double> positive = p.stored()[1].tensor, negative = p.stored()[2].tensor;
  CHECK(positive.item() == Approx(0.5));  // mean|w|
  CHECK(negative.item() == Approx(0.5));
  positive.fill(3), negative.fill(2);
  const Tensor<double> q = p.effective(nn::Phase::train);
  CHECK(q.to_vector() == std::vector<double>{-2, -2, 0, 0, 0, 3, 3});
  q.backward(Tensor<double>::from({1, 2, 3, 4, 5, 6, 7}));
  CHECK(w.grad().to_vector() == std::vector<double>{2, 4, 3, 4, 5, 18, 21});
  CHECK(positive.grad().item() == 13);
  CHECK(negative.grad().item() == -3);
  const auto exact = gradcheck(
      [&](const std::vector<Tensor<double>>& a) {  // the scales alone
        positive.copy_from(a[0]), negative.copy_from(a[1]);
        const Tensor<double> y = p.effective(nn::Phase::train);
        if (!a[0].requires_grad()) return y.detach();
        return record("scales", y.detach(), inputs(a[0], a[1]),
                      [&, y](const Tensor<double>& dy, Gradients<double>& dx) {
                        positive.zero_grad(), negative.zero_grad();
                        y.backward(dy);
                        dx[0].accumulate(positive.grad().clone());
                        dx[1].accumulate(negative.grad().clone());
                      });
      },
      {Tensor<double>::full({1}, 0.7), Tensor<double>::full({1}, 0.9)});
  CHECK(exact.ok);
  OneWeight m(Tensor<float>::ones({4}));
  for (const double t : {-0.1, 1.0, std::nan("")})
    CHECK_THROWS_AS(quant::attach(m, quant::Ternary{.threshold = t}), ValueError);
}

TEST_CASE("weight sharing: k-means, codewords trained by the sum of their weights' gradients", "[quant]") {
  for (const int bits : {1, 2, 4, 8}) check_quantizer(quant::WeightSharing{.bits = bits}, true);
  // Linear start 0, 1, 2, 3; then {0, 0.2}, {1.1}, {1.9, 2.1}, {3}.
  const std::vector<double> v{2.1, 0, 3, 0.2, 1.1, 1.9};
  const std::vector<double> centers = quant::share_weights(v, 4);
  const std::vector<double> want{0.1, 1.1, 2.0, 3.0};
  for (std::size_t j = 0; j < 4; ++j) CHECK(centers[j] == Approx(want[j]));
  // At the end every value is nearest to its own mean, and the means are those of their values.
  const std::vector<float> many = Tensor<float>::normal({5000}, {4, 5}).to_vector();
  const std::vector<float> c = quant::share_weights(many, 16);
  std::vector<double> sum(16), count(16);
  for (const float x : many) {
    std::size_t best = 0;
    for (std::size_t j = 1; j < 16; ++j)
      if (std::fabs(c[j] - x) < std::fabs(c[best] - x)) best = j;
    sum[best] += static_cast<double>(x), ++count[best];
  }
  for (std::size_t j = 0; j < 16; ++j) CHECK(static_cast<double>(c[j]) == Approx(sum[j] / count[j]).margin(1e-5));

  const Tensor<double> w = requires_grad(Tensor<double>::from(v, {6}));
  quant::WeightSharingParametrization<double> p(quant::WeightSharing{.bits = 2}, w);
  const Tensor<double> words = p.stored()[1].tensor, q = p.effective(nn::Phase::train);
  const std::vector<double> shared{2.0, 0.1, 3.0, 0.1, 1.1, 2.0};
  for (std::size_t i = 0; i < 6; ++i) CHECK(q.to_vector()[i] == Approx(shared[i]));
  q.backward(Tensor<double>::from({1, 2, 3, 4, 5, 6}));
  CHECK(words.grad().to_vector() == std::vector<double>{6, 5, 7, 3});
  CHECK(!w.grad().defined());

  OneWeight m(Tensor<float>::normal({64}, {4, 6}));
  for (const int bits : {0, 9, 40}) CHECK_THROWS_AS(quant::attach(m, quant::WeightSharing{.bits = bits}), ValueError);
  quant::attach(m, quant::WeightSharing{.bits = 3});
  CHECK(m.parameters().size() == 1);  // the codewords
  CHECK(m.parameters()[0].shape() == Shape{8});
  Tensor<float> codes = m.w->parametrization()->stored()[2].tensor;
  for (const float wrong : {8.0f, -1.0f, 1.5f, std::nanf("")}) {
    codes.data()[5] = wrong;
    codes.mark_changed();
    CHECK_THROWS_AS(m.w->effective(nn::Phase::eval), ValueError);
    CHECK_THROWS_AS(m.w->encode(), ValueError);
  }
}

TEST_CASE("projected gradient forgets what the projection removed, quantized distillation does not", "[quant]") {
  check_quantizer(quant::Projected{{.bits = 3, .bucket_size = 16}});
  // Levels 0, 1, 2, 3 between 0 and 3; every step moves the second weight by 0.3, less than half a level.
  const auto steps = [](auto quantizer, int count) {
    OneWeight m(Tensor<float>::from({0, 1, 3}));
    quant::attach(m, quantizer);
    optim::SGD<float> sgd(m.parameters(), {.lr = 0.3});
    for (int i = 0; i < count; ++i) {
      sgd.zero_grad();
      m.w->effective(nn::Phase::train).backward(Tensor<float>::from({0, -1, 0}));
      sgd.step();
    }
    return m.w->effective(nn::Phase::eval).to_vector()[1];
  };
  const quant::Uniform uniform{.bits = 2, .bucket_size = 0};
  CHECK(steps(quant::Projected{uniform}, 5) == 1);
  CHECK(steps(uniform, 5) == 2);  // 1 + 5 * 0.3 = 2.5, half way: to even
  OneWeight m(Tensor<float>::from({0, 1.2f, 3}));
  CHECK_THROWS_AS(quant::attach(m, quant::Projected{{.bits = 0}}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Projected{{.bits = 40}}), ValueError);
  quant::attach(m, quant::Projected{uniform});
  CHECK(decode_ref(m.w->encode()) == std::vector<float>{0, 1, 3});
  CHECK(m.w->data().to_vector() == std::vector<float>{0, 1, 3});  // packing projects too
}

}  // namespace qdistill_test
