/// Learned points: goldens of the authors' code, the kernels against their definition, the parametrization, its
/// encoding.
#include "qdistill/quant/points.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "one_weight.hpp"
#include "qdistill/autograd/gradcheck.hpp"
#include "qdistill/encoding/point_usage.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"

namespace qdistill_test {

namespace {

/// Values scaled by bucket.
template <class T>
struct Scaled {
  Scaled(const Tensor<T>& v, Index bucket_size) : n(v.numel()), bucket(bucket_size) {
    const auto buckets = static_cast<std::size_t>(bucket_count(n, bucket));
    z.resize(static_cast<std::size_t>(n)), alpha.resize(buckets), beta.resize(buckets);
    kernels::scale_buckets(Cpu{}, n, v.data(), bucket, alpha.data(), beta.data(), z.data());
  }
  kernels::PointsInput<T> input(std::span<const T> points) const {
    kernels::PointsInput<T> in;
    in.n = n, in.bucket_size = bucket, in.points = points;
    in.z = z.data(), in.alpha = alpha.data(), in.beta = beta.data();
    return in;
  }
  std::size_t bucket_of(Index i) const { return static_cast<std::size_t>(bucket ? i / bucket : 0); }
  Index n, bucket;
  std::vector<T> z, alpha, beta;
};

template <class T>
void set_points(const nn::Parametrization<T>& p, const std::vector<T>& points) {
  Tensor<T> stored = p.stored()[1].tensor;
  stored.copy_from(Tensor<T>::from(std::span<const T>(points), {static_cast<Index>(points.size())}));
}

const bool nonuniform_golden = golden("nonuniform_quantization", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Index bucket = g->template param<Index>("bucket_size", 0);
  const Tensor<T> w = g.leaf("input");
  const std::vector<T> points = g.input("points").to_vector();
  quant::PointsParametrization<T> p(
      quant::Points{.count = static_cast<Index>(points.size()), .bucket_size = bucket, .train_weights = true}, w);
  set_points(p, points);
  const Tensor<T> leaf = p.stored()[1].tensor;
  g.check(p.effective(nn::Phase::train), {{"input", w}, {"points", leaf}});
  const Scaled<T> scaled(w, bucket);
  std::vector<std::uint16_t> codes(scaled.z.size());
  kernels::points_quantize<T>(Cpu{}, scaled.input(points), nullptr, codes.data());
  g->compare_values("indices", std::vector<Index>(codes.begin(), codes.end()));
  if (g->has("alpha")) g->compare_values("alpha", scaled.alpha);
  if (g->has("beta")) g->compare_values("beta", scaled.beta);
});

const bool quantile_golden = golden("quantile_initialization", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Scaled<T> scaled(g.input("input"), g->template param<Index>("bucket_size", 0));
  g->compare_values("points", quant::initial_points<T>(scaled.z, g->params().at("num_points").template get<Index>(),
                                                       quant::PointStart::quantiles));
});

/// Sorted, some outside of [0, 1]; with repeats if asked for.
template <class T>
std::vector<T> some_points(Index m, std::uint64_t stream, bool repeats = false) {
  std::vector<T> points = Tensor<T>::uniform({m}, {77, stream}, T(-0.2), T(1.2)).to_vector();
  if (repeats && m > 4) points[1] = points[2];
  std::sort(points.begin(), points.end());
  return points;
}

/// Codes and values by definition, the gradient summed in double.
template <class T>
void check_kernels(Index n, Index bucket, Index m) {
  INFO("n " << n << ", bucket " << bucket << ", points " << m);
  const Tensor<T> v = Tensor<T>::normal({n}, {3, static_cast<std::uint64_t>(n)});
  const Tensor<T> g = Tensor<T>::normal({n}, {4, static_cast<std::uint64_t>(n)});
  const Scaled<T> s(v, bucket);
  const std::vector<T> points = some_points<T>(m, 5, true);
  const auto in = s.input(points);
  std::vector<T> q(s.z.size()), only(s.z.size()), dp(points.size(), T(7)), added(points.size(), T(7));
  std::vector<std::uint16_t> codes(s.z.size());
  kernels::points_quantize(Cpu{}, in, q.data(), codes.data());
  kernels::points_quantize<T>(Cpu{}, in, only.data(), nullptr);
  kernels::points_gradient(Cpu{}, in, g.data(), dp.data(), Write::set);
  kernels::points_gradient(Cpu{}, in, g.data(), added.data(), Write::add);
  CHECK(q == only);
  std::vector<double> sums(points.size()), sizes(points.size());
  Index wrong = 0;
  for (Index i = 0; i < n; ++i) {
    std::size_t code = 0;
    while (code + 1 < points.size() && s.z[i] >= (points[code] + points[code + 1]) / 2) ++code;
    const T alpha = s.alpha[s.bucket_of(i)], value = point_value<T>(points[code], alpha, s.beta[s.bucket_of(i)]);
    wrong += codes[i] != code || (std::is_same_v<T, float> ? q[i] != value : std::fabs(q[i] - value) > T(1e-15));
    sums[code] += static_cast<double>(alpha) * static_cast<double>(g.data()[i]);
    sizes[code] += std::fabs(static_cast<double>(alpha) * static_cast<double>(g.data()[i]));
  }
  CHECK(wrong == 0);
  const double tolerance = std::is_same_v<T, float> ? 1e-6 : 1e-14;
  double worst = 0;
  for (std::size_t j = 0; j < points.size(); ++j) {
    worst = std::max(worst, std::fabs(static_cast<double>(dp[j]) - sums[j]) - tolerance * sizes[j]);
    worst = std::max(worst, std::fabs(static_cast<double>(added[j]) - 7 - sums[j]) - tolerance * (sizes[j] + 7));
    if (sizes[j] == 0) CHECK(dp[j] == 0);  // nobody there: not even rounding
  }
  CHECK(worst <= 0);
}

}  // namespace

TEST_CASE("codes, values and gradients are those of their definition", "[quant]") {
  for (const Index m : {1, 2, 3, 4, 6, 8, 15, 16, 17, 32, 33, 100, 256, 257, 1000}) {
    for (const Index n : {0, 1, 15, 16, 17, 1000, 1025}) {
      for (const Index bucket : {0, 1, 7, 16, 256}) {
        check_kernels<float>(n, bucket, m);
        if (n < 1000) check_kernels<double>(n, bucket, m);
      }
    }
  }
  check_kernels<float>(150001, 0, 16);
  check_kernels<float>(150001, 100000, 5);
  check_kernels<float>(2001, 256, 65536);
}

TEST_CASE("half way between two points the upper one is taken", "[quant]") {
  const Tensor<double> w = Tensor<double>::from({0.0, 0.25, 0.5, 0.75, 1.0});
  quant::PointsParametrization<double> p(quant::Points{.count = 3, .start = quant::PointStart::uniform}, w);
  CHECK(p.effective(nn::Phase::eval).to_vector() == std::vector<double>{0, 0.5, 0.5, 1, 1});
  set_points(p, {0, 0, 1});  // of equal points the upper one too
  CHECK(std::get<TableEncoding>(p.encode().data).codes == std::vector<std::uint16_t>{1, 1, 2, 2, 2});
}

TEST_CASE("decoding the encoding of learned points gives the effective weight bit for bit", "[quant]") {
  for (const Index count : {1, 2, 3, 5, 16, 31, 64, 300, 5000}) {
    for (const Index bucket : {0, 7, 64, 256, 100000}) {
      for (const auto start : {quant::PointStart::quantiles, quant::PointStart::uniform}) {
        OneWeight m(Tensor<float>::normal({123, 11}, {5, 6}, 0.1f, 0.5f));
        quant::attach(m, quant::Points{.count = count, .bucket_size = bucket, .start = start});
        const auto& p = *m.w->parametrization();
        INFO(p.description());
        CHECK(decode_ref(m.w->encode()) == m.w->effective(nn::Phase::eval).to_vector());
        set_points(p, some_points<float>(count, 8, true));
        CHECK(decode_ref(m.w->encode()) == m.w->effective(nn::Phase::eval).to_vector());
      }
    }
  }
}

TEST_CASE("the gradient to the points is exact", "[quant]") {
  for (const Index count : {1, 2, 4, 7, 20, 40}) {
    for (const Index bucket : {0, 5, 32}) {
      INFO(count << " points, bucket " << bucket);
      const Tensor<double> w = Tensor<double>::normal({9, 7}, {1, 2});
      quant::PointsParametrization<double> p(quant::Points{.count = count, .bucket_size = bucket}, w);
      CHECK(p.exact_gradient());
      const auto f = [&](const std::vector<Tensor<double>>& x) {
        Tensor<double> stored = p.stored()[1].tensor;
        stored.copy_from(x[0]);
        Tensor<double> q = p.effective(nn::Phase::train);
        // The leaf under test is x[0]: hand its gradient over from the stored one.
        if (!grad_enabled()) return q;
        return record("hand_over", q.clone(), inputs(x[0]),
                      [q, stored](const Tensor<double>& dy, Gradients<double>& dx) {
                        q.backward(dy);
                        dx[0].accumulate(stored.grad());
                      });
      };
      const Tensor<double> points =
          Tensor<double>::from(std::span<const double>(some_points<double>(count, 9)), {count});
      const auto result = gradcheck(f, {points}, {.step = 1e-7});
      INFO(result.message());
      CHECK(result.ok);
      CHECK(result.compared == count);
    }
  }
  CHECK(live_nodes() == 0);
}

TEST_CASE("weights take the gradient straight through only if asked to", "[quant]") {
  for (const bool train : {false, true}) {
    const Tensor<double> w = requires_grad(Tensor<double>::from({0.0, 0.3, 0.6, 1.0}));
    quant::PointsParametrization<double> p(quant::Points{.bits = 1, .train_weights = train}, w);
    CHECK(p.stored()[0].trained == train);
    CHECK(p.exact_gradient() != train);
    p.effective(nn::Phase::train).backward(Tensor<double>::from({1, 2, 3, 4}));
    CHECK(p.stored()[1].tensor.grad().to_vector() == std::vector<double>{3, 7});
    CHECK(w.grad().defined() == train);
    if (train) CHECK(w.grad().to_vector() == std::vector<double>{1, 2, 3, 4});
  }
}

TEST_CASE("points are sorted after a step, momentum stays in its place", "[quant]") {
  OneWeight m(Tensor<float>::from({0.0f, 0.4f, 0.6f, 1.0f}));
  quant::attach(m, quant::Points{.bits = 1, .start = quant::PointStart::uniform});
  const Tensor<float> points = m.w->parametrization()->stored()[1].tensor;
  const auto group = m.parameters("points");
  REQUIRE(group.size() == 1);
  CHECK(m.parameters("").empty());  // the weight is constant
  optim::SGD<float> sgd(group, {.lr = 1, .momentum = 0.5});
  // dp = (-1, 1): the points 0 and 1 change places, to 1 and 0.
  m.w->effective(nn::Phase::train).backward(Tensor<float>::from({-0.5f, -0.5f, 0.5f, 0.5f}));
  sgd.step();
  CHECK(points.to_vector() == std::vector<float>{1, 0});
  CHECK(decode_ref(m.w->encode()) == std::vector<float>{0, 0, 1, 1});
  CHECK(m.w->effective(nn::Phase::eval).to_vector() == std::vector<float>{0, 0, 1, 1});
  CHECK(points.to_vector() == std::vector<float>{0, 1});
  sgd.zero_grad();
  points.grad() = Tensor<float>::zeros({2});
  sgd.step();  // by the momentum (-1, 1) alone
  CHECK(points.to_vector() == std::vector<float>{0.5f, 0.5f});
}

TEST_CASE("the weights' scales follow a change of the weights", "[quant]") {
  OneWeight m(Tensor<float>::from({0.0f, 0.4f, 0.6f, 1.0f}));
  quant::attach(m, quant::Points{.bits = 1, .start = quant::PointStart::uniform});
  CHECK(m.w->effective(nn::Phase::eval).to_vector() == std::vector<float>{0, 0, 1, 1});
  m.w->data().copy_from(Tensor<float>::from({-2.0f, 2.0f, 1.0f, -1.0f}));
  CHECK(m.w->effective(nn::Phase::eval).to_vector() == std::vector<float>{-2, 2, 2, -2});
}

TEST_CASE("learned points do not depend on threads", "[quant]") {
  const int before = num_threads();
  for (const Index count : {4, 16, 40, 1000}) {
    const Index n = count > 256 ? 1100001 : 300007;
    const Tensor<float> w = Tensor<float>::normal({n}, {1, 2}), g = Tensor<float>::normal({n}, {3, 4});
    for (const Index bucket : {0, 256}) {
      INFO(count << " points, bucket " << bucket);
      std::vector<float> q, dp;
      for (const int threads : {1, 4}) {
        set_num_threads(threads);
        quant::PointsParametrization<float> p(
            quant::Points{.count = count, .bucket_size = bucket, .start = quant::PointStart::uniform}, w);
        const Tensor<float> out = p.effective(nn::Phase::train);
        out.backward(g);
        const auto grad = p.stored()[1].tensor.grad().to_vector();
        if (q.empty()) q = out.to_vector(), dp = grad;
        CHECK(q == out.to_vector());
        CHECK(dp == grad);
      }
    }
  }
  set_num_threads(before);
}

TEST_CASE("constant buckets, a single weight, none, and more points than weights", "[quant]") {
  const auto effective = [](const Tensor<float>& w, const quant::Points& settings) {
    OneWeight m(w);
    quant::attach(m, settings);
    CHECK(decode_ref(m.w->encode()) == m.w->effective(nn::Phase::eval).to_vector());
    return m.w->effective(nn::Phase::eval).to_vector();
  };
  CHECK(effective(Tensor<float>::full({10}, 3.5f), {.bits = 2, .bucket_size = 4}) == std::vector<float>(10, 3.5f));
  CHECK(effective(Tensor<float>::from({-2.5f}), {.bits = 4}) == std::vector<float>{-2.5f});
  CHECK(effective(Tensor<float>::empty({0, 3}), {.bits = 4}).empty());
  CHECK(effective(Tensor<float>::empty({0, 3}), {.bits = 4, .bucket_size = 0}).empty());
  // With a point on every weight nothing is lost.
  const Tensor<float> w = Tensor<float>::from({1.0f, 0.0f, 0.25f, 0.75f, 0.5f});
  CHECK(effective(w, {.count = 5}) == w.to_vector());
  CHECK(effective(w, {.count = 9}) == w.to_vector());
  // A tensor that a step emptied of meaning is no undefined behaviour.
  OneWeight diverged(w);
  quant::attach(diverged, quant::Points{.count = 5});
  const float nan = std::nanf("");
  set_points(*diverged.w->parametrization(), {nan, 1, nan, 0, -1});
  CHECK(diverged.w->effective(nn::Phase::train).numel() == 5);
  CHECK(diverged.w->parametrization()->stored()[1].tensor.data()[0] == -1);
  CHECK_THROWS_AS(decode_ref(diverged.w->encode()), ValueError);
}

TEST_CASE("settings and weights that make no sense for learned points are refused", "[quant]") {
  OneWeight m(Tensor<float>::ones({4}));
  CHECK_THROWS_AS(quant::attach(m, quant::Points{.bits = 0}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Points{.bits = 40}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Points{.bucket_size = -1}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Points{.count = -1}), ValueError);
  CHECK_THROWS_AS(quant::attach(m, quant::Points{.count = 65537}), ValueError);
  OneWeight bad(Tensor<float>::from({1.0f, std::nanf("")}));
  CHECK_THROWS_AS(quant::attach(bad, quant::Points{}), ValueError);
  OneWeight wide(Tensor<float>::from({3e38f, -3e38f}));
  CHECK_THROWS_AS(quant::attach(wide, quant::Points{}), ValueError);
  OneWeight later(Tensor<float>::from({1.0f, 2.0f}));
  quant::attach(later, quant::Points{});
  later.w->data().data()[0] = std::nanf("");
  later.w->data().mark_changed();
  CHECK_THROWS_AS(later.w->encode(), ValueError);
}

TEST_CASE("how weights spread over points", "[quant]") {
  TableEncoding e;
  e.points = {0, 1, 2, 3}, e.codes = {1, 1, 3, 1, 3};
  const PointUsage u = point_usage(e);
  CHECK((u.weights == 5 && u.points == 4 && u.used == 2 && u.largest == 3));
  CHECK(u.weights_per_point() == 2.5);
  e.codes.clear();
  CHECK((point_usage(e).used == 0 && point_usage(e).weights_per_point() == 0));
  e.codes = {4};
  CHECK_THROWS_AS(point_usage(e), ValueError);
}

}  // namespace qdistill_test
