/// Learned step size, and the uniform baseline of the DiffQ paper, which is quant::Uniform without buckets.
#include "qdistill/quant/lsq.hpp"

#include <catch2/catch.hpp>

#include "golden.hpp"
#include "one_weight.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/uniform.hpp"

namespace qdistill_test {

namespace {

const bool minmax_golden = golden("uniform_minmax", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.input("weight");
  quant::UniformParametrization<T> p(quant::Uniform{.bits = g->template param<int>("bits", 0), .bucket_size = 0}, w);
  g.compare("dequantized", p.effective(nn::Phase::eval).detach());
  const Encoding e = p.encode();
  const auto& uniform = std::get<UniformEncoding>(e.data);
  g->compare_values("levels", std::vector<Index>(uniform.codes.begin(), uniform.codes.end()));
  const T lo = static_cast<T>(uniform.offset[0]);
  g->compare_values("min_max", std::vector<T>{lo, lo + static_cast<T>(uniform.scale[0])});
});

const bool qat_golden = golden("qat_ste", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.leaf("weight");
  quant::UniformParametrization<T> p(quant::Uniform{.bits = g->template param<int>("bits", 0), .bucket_size = 0}, w);
  g.check(p.effective(nn::Phase::train), {{"weight", w}});
  g->compare_value("model_size_mb", p.size_bits() / (8 * 0x1p20));
});

const bool lsq_golden = golden("lsq", [](auto g) {
  using T = typename decltype(g)::Scalar;
  const Tensor<T> w = g.leaf("weight");
  const int bits = g->template param<int>("bits", 0);
  quant::LsqParametrization<T> p(quant::Lsq{.bits = bits}, w);
  Tensor<T> scale = p.stored()[1].tensor;
  g.compare("initial_scale", scale.detach());
  scale.copy_from(Tensor<T>::full({1}, g.input("scale").item()));
  g.check(p.effective(nn::Phase::train), {{"weight", w}, {"scale", scale}});
  std::vector<Index> index;
  const Encoding e = p.encode();
  for (const auto code : std::get<UniformEncoding>(e.data).codes)
    index.push_back(static_cast<Index>(code) - (Index{1} << (bits - 1)));
  g->compare_values("index", index);
  g->compare_value("model_size_mb", p.size_bits() / (8 * 0x1p20));
});

}  // namespace

TEST_CASE("LSQ's gradients are those of its definition", "[quant]") {
  const double s = 0.25;  // 3 bits: levels -4 to 3
  const Tensor<double> w = requires_grad(Tensor<double>::from({-1.5, -1.0, -0.9, 0.1, 0.12, 0.74, 0.75, 0.76, 2.0}));
  quant::LsqParametrization<double> p(quant::Lsq{.bits = 3}, w);
  Tensor<double> scale = p.stored()[1].tensor;
  scale.fill(s);
  const Tensor<double> q = p.effective(nn::Phase::train);
  const std::vector<double> g{1, 2, 3, 4, 5, 6, 7, 8, 9}, level{-4, -4, -4, 0, 0, 3, 3, 3, 3};
  std::vector<double> dw;
  double ds = 0;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double x = w.to_vector()[i] / s;
    const bool inside = x >= -4 && x <= 3;
    dw.push_back(inside ? g[i] : 0);
    ds += g[i] * (level[i] - (inside ? x : 0));
    CHECK(q.to_vector()[i] == Approx(level[i] * s).margin(1e-12));
  }
  q.backward(Tensor<double>::from(g, {9}));
  CHECK(w.grad().to_vector() == dw);
  CHECK(scale.grad().item() == Approx(ds / std::sqrt(9 * 3.0)));
  // A second backward adds.
  const std::vector<double> once = scale.grad().to_vector();
  p.effective(nn::Phase::train).backward(Tensor<double>::from(g, {9}));
  CHECK(scale.grad().item() == Approx(2 * once[0]));
  CHECK(w.grad().to_vector()[2] == 2 * dw[2]);
}

TEST_CASE("decoding LSQ's encoding gives the effective weight bit for bit", "[quant]") {
  for (const int bits : {2, 3, 4, 8, 12, 16}) {
    OneWeight m(Tensor<float>::normal({123, 11}, {5, 6}, 0.1f, 0.5f));
    quant::attach(m, quant::Lsq{.bits = bits});
    CHECK(decode_ref(m.w->encode()) == m.w->effective(nn::Phase::eval).to_vector());
    CHECK(m.w->effective(nn::Phase::train).to_vector() == m.w->effective(nn::Phase::eval).to_vector());
  }
}

TEST_CASE("LSQ has the same bits with 1, 2 and 4 threads", "[quant]") {
  const int before = num_threads();
  std::vector<std::vector<float>> one;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    const Tensor<float> w = requires_grad(Tensor<float>::normal({300000}, {1, 2}));
    quant::LsqParametrization<float> p(quant::Lsq{}, w);
    const Tensor<float> y = p.effective(nn::Phase::train), s = p.stored()[1].tensor;
    y.backward(Tensor<float>::normal({300000}, {1, 3}));
    const std::vector<std::vector<float>> all{s.to_vector(), y.to_vector(), w.grad().to_vector(), s.grad().to_vector()};
    if (one.empty()) one = all;
    CHECK(all == one);
  }
  set_num_threads(before);
}

TEST_CASE("LSQ refuses what makes no sense; its scale stays positive", "[quant]") {
  OneWeight m(Tensor<float>::ones({4}));
  for (const int bits : {-1, 0, 1, 17, 40}) CHECK_THROWS_AS(quant::attach(m, quant::Lsq{.bits = bits}), ValueError);
  OneWeight bad(Tensor<float>::from({1.0f, std::nanf("")}));
  CHECK_THROWS_AS(quant::attach(bad, quant::Lsq{}), ValueError);
  quant::attach(m, quant::Lsq{});
  Tensor<float> scale = m.w->parametrization()->stored()[1].tensor;
  scale.fill(-3.0f);
  for (const float v : m.w->effective(nn::Phase::eval).to_vector()) CHECK((v > 0 && v < 1e-6f));
  CHECK(scale.item() == 1e-8f);
  m.w->data().data()[1] = std::nanf("");
  m.w->data().mark_changed();
  CHECK_THROWS_AS(m.w->encode(), ValueError);
  OneWeight none(Tensor<float>::empty({0, 3})), zero(Tensor<float>::zeros({5}));
  quant::attach(none, quant::Lsq{});
  CHECK(none.w->effective(nn::Phase::eval).numel() == 0);
  CHECK(decode_ref(none.w->encode()).empty());
  quant::attach(zero, quant::Lsq{});
  for (const float v : decode_ref(zero.w->encode())) CHECK(std::fabs(v) < 1e-6f);
  const Tensor<float> q = zero.w->effective(nn::Phase::train);
  q.backward(Tensor<float>::ones({5}));
  CHECK(std::isfinite(zero.w->parametrization()->stored()[1].tensor.grad().item()));
}

}  // namespace qdistill_test
