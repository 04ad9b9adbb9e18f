/// Inputs that defeat careless formulas: huge logits, masked classes, means far from zero, dropped infinities.
#include <catch2/catch.hpp>

#include "qdistill/ops/batch_norm.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/ops/dropout.hpp"
#include "qdistill/ops/group_norm.hpp"
#include "qdistill/ops/losses.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

/// Largest |mean| and |variance - 1| of the channels of y [N, C, ...].
std::pair<double, double> worst_statistics(const Tensor<float>& y) {
  const Index channels = y.shape()[1], inner = y.numel() / y.shape()[0] / channels;
  double worst_mean = 0, worst_var = 0;
  for (Index c = 0; c < channels; ++c) {
    double sum = 0, sum_sq = 0;
    for (Index n = 0; n < y.shape()[0]; ++n)
      for (Index i = 0; i < inner; ++i) {
        const double v = static_cast<double>(y.data()[(n * channels + c) * inner + i]);
        sum += v, sum_sq += v * v;
      }
    const double count = static_cast<double>(y.numel() / channels);
    worst_mean = std::max(worst_mean, std::fabs(sum / count));
    worst_var = std::max(worst_var, std::fabs(sum_sq / count - 1));
  }
  return {worst_mean, worst_var};
}

}  // namespace

TEST_CASE("softmax: masked classes, huge logits, NaN", "[ops]") {
  for (const Index inner : {1, 2}) {
    // Three rows (inner == 1), or the same three twice side by side.
    Tensor<float> x = Tensor<float>::empty({3, 4, inner});
    const float rows[3][4] = {{1, -inf, 1, -inf}, {3e38f, -3e38f, 0, 3e38f}, {0, nan, 0, 0}};
    for (Index r = 0; r < 3; ++r)
      for (Index k = 0; k < 4; ++k)
        for (Index i = 0; i < inner; ++i) x.at({r, k, i}) = rows[r][k];
    const Tensor<float> y = softmax(x, 1), log_y = log_softmax(x, 1);
    CHECK(y.at({0, 0, 0}) == 0.5f);
    CHECK(y.at({0, 1, 0}) == 0.0f);
    CHECK(log_y.at({0, 1, 0}) == -inf);
    CHECK(log_y.at({0, 2, inner - 1}) == Approx(std::log(0.5)));
    CHECK(y.at({1, 3, 0}) == 0.5f);
    CHECK(y.at({1, 1, 0}) == 0.0f);
    CHECK(std::isnan(y.at({2, 0, 0})));
    CHECK(std::isnan(log_y.at({2, 3, 0})));
  }
}

TEST_CASE("cross entropy: masked classes, ignored rows, certain rows", "[ops]") {
  const Tensor<float> x = requires_grad(Tensor<float>::from({5, -inf, 5, 1000, 0, -1000}, {2, 3}));
  const Tensor<float> loss = cross_entropy(x, Tensor<Index>::from({0, 0}), {.reduction = Reduction::sum});
  CHECK(loss.item() == Approx(std::log(2.0)));
  loss.backward();
  CHECK(x.grad().data()[0] == Approx(-0.5));
  CHECK(x.grad().data()[1] == 0);
  CHECK(x.grad().data()[3] == Approx(0).margin(1e-7));
  // All rows ignored: the mean of nothing is NaN, the sum 0, as in PyTorch.
  const Tensor<Index> ignored = Tensor<Index>::from({-100, -100});
  CHECK(std::isnan(cross_entropy(x.detach(), ignored).item()));
  CHECK(cross_entropy(x.detach(), ignored, {.reduction = Reduction::sum}).item() == 0);
  CHECK(nll_loss(x.detach(), ignored, -100, Reduction::sum).item() == 0);
}

TEST_CASE("binary cross entropy and KL divergence at their limits", "[ops]") {
  const Tensor<float> x = Tensor<float>::from({1000, -1000, 1000, -1000}), t = Tensor<float>::from({1, 0, 0, 1});
  const std::vector<float> loss = binary_cross_entropy_with_logits(x, t, Reduction::none).to_vector();
  CHECK(loss == std::vector<float>{0, 0, 1000, 1000});
  const Tensor<float> log_p = Tensor<float>::from({-inf, 0}), q = Tensor<float>::from({0, 1});
  CHECK(kl_div(log_p, q, Reduction::sum).item() == 0);
}

TEST_CASE("the distillation loss of equal logits is the hard term alone", "[ops]") {
  const Tensor<float> x = Tensor<float>::from({1000, -1000, 3, 2, 1, 0}, {2, 3});
  const Tensor<Index> y = Tensor<Index>::from({0, 2});
  const float hard = cross_entropy(x, y).item();
  for (const double temperature : {0.5, 1.0, 20.0}) {
    const Tensor<float> student = requires_grad(x);
    const Tensor<float> loss = distillation_loss(student, x, y, {.temperature = temperature, .teacher_weight = 0.25});
    CHECK(loss.item() == Approx(0.75 * static_cast<double>(hard)));
    loss.backward();
    CHECK(student.grad().data()[0] == Approx(0).margin(1e-6));
  }
}

TEST_CASE("normalisation far from zero keeps its precision", "[ops]") {
  for (const Shape& shape : {Shape{64, 7, 6, 6}, Shape{300, 70}, Shape{9, 3, 60, 70}}) {
    Tensor<float> x = Tensor<float>::normal(shape, {3, 3});
    for (float& v : x.span()) v += 4096;
    INFO("shape " << text(shape));
    const auto [mean, var] = worst_statistics(batch_norm(x, {}, {}, {}, {}, true));
    CHECK(mean < 5e-4);  // the mean itself rounds to a multiple of 2^-11
    CHECK(var < 1e-4);
    Tensor<float> rows = layer_norm(x, Shape(x.shape().span().subspan(1)));
    const auto [row_mean, row_var] = worst_statistics(
        rows.window({1, shape[0], x.numel() / shape[0]}, row_major({1, shape[0], x.numel() / shape[0]}), 0));
    CHECK(row_mean < 5e-4);
    CHECK(row_var < 1e-3);
  }
  // A first image that is nothing like the others.
  Tensor<float> x = Tensor<float>::normal({32, 2, 8, 8}, {3, 4});
  for (Index i = 0; i < 2 * 64; ++i) x.data()[i] += 1000;
  const auto [mean, var] = worst_statistics(batch_norm(x, {}, {}, {}, {}, true));
  CHECK(mean < 1e-4);
  CHECK(var < 1e-4);
  // A channel without variance is 0, not NaN.
  CHECK(batch_norm(Tensor<float>::full({8, 2, 3}, 0.1f), {}, {}, {}, {}, true).to_vector() == std::vector<float>(48));
}

TEST_CASE("batch norm moves the running statistics in place", "[ops]") {
  Tensor<double> mean = Tensor<double>::zeros({1}), var = Tensor<double>::ones({1});
  const Tensor<double> x = Tensor<double>::from({1, 2, 3, 6}, {4, 1});
  const std::uint64_t version = mean.version();
  batch_norm(x, mean, var, {}, {}, true, 0.5);
  CHECK(mean.item() == Approx(1.5));                  // 0.5 * 0 + 0.5 * 3
  CHECK(var.item() == Approx(0.5 + 0.5 * 14.0 / 3));  // unbiased: 14 / 3
  CHECK(mean.version() > version);
  const Tensor<double> y = batch_norm(x, mean, var);
  CHECK(y.data()[0] == Approx((1 - 1.5) / std::sqrt(0.5 + 7.0 / 3 + 1e-5)));
  CHECK(mean.item() == Approx(1.5));  // evaluation leaves them
}

TEST_CASE("dropout: share, scale, streams, infinities", "[ops]") {
  Generator generator(3);
  const Tensor<float> x = Tensor<float>::ones({100000});
  const std::vector<float> a = dropout(x, 0.25, true, generator).to_vector();
  const std::vector<float> b = dropout(x, 0.25, true, generator).to_vector();
  Index dropped = 0, both = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE((a[i] == 0 || a[i] == Approx(4.0 / 3)));
    dropped += a[i] == 0, both += a[i] == 0 && b[i] == 0;
  }
  CHECK(std::fabs(static_cast<double>(dropped) / 1e5 - 0.25) < 0.01);
  CHECK(std::fabs(static_cast<double>(both) / 1e5 - 0.0625) < 0.01);  // the two masks are independent
  CHECK(generator.counter() == 2);
  dropout(x, 0.25, false, generator);
  dropout(x, 0, true, generator);
  CHECK(generator.counter() == 2);  // nothing drawn
  for (const float v : dropout(Tensor<float>::full({1000}, inf), 0.5, true, generator).to_vector())
    REQUIRE((v == 0 || v == inf));
  const Tensor<float> channels = dropout2d(Tensor<float>::ones({50, 20, 3}), 0.5, true, generator);
  for (Index i = 0; i < 1000; ++i) REQUIRE(channels.data()[3 * i] == channels.data()[3 * i + 2]);
}

TEST_CASE("a training step's losses and norms take no memory in the steady state", "[ops]") {
  const Tensor<float> x = requires_grad(Tensor<float>::uniform({33, 10}, {1, 1})),
                      w = requires_grad(Tensor<float>::ones({10}));
  Tensor<float> mean = Tensor<float>::zeros({10}), var = Tensor<float>::ones({10});
  const Tensor<float> teacher = Tensor<float>::uniform({33, 10}, {1, 2});
  const Tensor<Index> y = Tensor<Index>::zeros({33});
  Generator generator(1);
  const auto step = [&] {
    x.zero_grad(), w.zero_grad();
    const Tensor<float> h = dropout(batch_norm(x, mean, var, w, {}, true), 0.5, true, generator);
    distillation_loss(h, teacher, y).backward();
    cross_entropy(softmax(x, 1), y).backward();
  };
  for (int i = 0; i < 3; ++i) step();
  const MemoryStats before = memory_stats();
  for (int i = 0; i < 3; ++i) step();
  const MemoryStats after = memory_stats();
  CHECK(after.in_use + after.cached == before.in_use + before.cached);
}

}  // namespace qdistill_test
