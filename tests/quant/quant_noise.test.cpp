/// Quant-Noise around the uniform quantizer and around products.
#include "qdistill/quant/quant_noise.hpp"

#include <catch2/catch.hpp>

#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/state_dict.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/uniform.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

using UniformNoise = quant::QuantNoise<quant::Uniform>;
using ProductNoise = quant::QuantNoise<quant::Product>;

constexpr quant::Uniform two_bits{.bits = 2, .bucket_size = 0};

/// How many blocks of `size` equal those of q, how many those of w, where the two differ (as they do but for the
/// smallest and largest weight); -1 if a block is neither.
std::pair<Index, Index> count_blocks(const std::vector<float>& got, const std::vector<float>& q,
                                     const std::vector<float>& w, std::size_t size) {
  Index quantized = 0, kept = 0;
  for (std::size_t i = 0; i < got.size(); i += size) {
    const std::size_t end = std::min(got.size(), i + size);
    const auto same = [&](const std::vector<float>& x) {
      return std::equal(got.begin() + static_cast<Index>(i), got.begin() + static_cast<Index>(end),
                        x.begin() + static_cast<Index>(i));
    };
    if (!same(q) && !same(w)) return {-1, -1};
    if (!same(w)) ++quantized;
    if (!same(q)) ++kept;
  }
  return {quantized, kept};
}

}  // namespace

TEST_CASE("a part of the blocks is quantized in training, all in evaluation", "[quant]") {
  for (const Index size : {1, 7, 64, 5000}) {
    manual_seed(3);
    nn::Linear<float> layer(100, 40);
    const std::vector<float> w = layer.weight->data().to_vector();
    quant::attach(layer, two_bits, quant::weights_only());
    const std::vector<float> q = layer.weight->effective(nn::Phase::eval).to_vector();
    for (const double rate : {0.0, 0.1, 0.5, 1.0}) {
      quant::attach(layer, UniformNoise{.inner = two_bits, .rate = rate, .block_size = size}, quant::weights_only());
      CHECK(layer.weight->effective(nn::Phase::eval).to_vector() == q);
      Index quantized = 0, kept = 0;
      for (int step = 0; step < 20; ++step) {
        layer.weight->data().mark_changed();  // as an optimizer step does
        const auto [a, b] =
            count_blocks(layer.weight->effective(nn::Phase::train).to_vector(), q, w, static_cast<std::size_t>(size));
        REQUIRE(a >= 0);
        quantized += a, kept += b;
      }
      const double n = static_cast<double>(quantized + kept), expected = rate * n;
      INFO("rate " << rate << ", blocks of " << size);
      CHECK(n >= 20 * static_cast<double>((4000 + size - 1) / size - 2));
      CHECK(std::fabs(static_cast<double>(quantized) - expected) <= 4.5 * std::sqrt(n * rate * (1 - rate)));
    }
  }
}

TEST_CASE("the gradient passes straight through, the noise is new each step and free of threads", "[quant]") {
  const int before = num_threads();
  std::vector<float> first;
  for (const int threads : {1, 4}) {
    set_num_threads(threads);
    manual_seed(3);
    nn::Linear<float> layer(300, 1000, {.bias = false});
    quant::attach(layer, UniformNoise{.inner = two_bits, .rate = 0.3});
    const Tensor<float> w = layer.weight->effective(nn::Phase::train);
    const Tensor<float> g = Tensor<float>::normal(w.shape(), {1, 1});
    w.backward(g);
    CHECK(layer.weight->data().grad().to_vector() == g.to_vector());
    if (first.empty()) first = w.to_vector();
    CHECK(w.to_vector() == first);
    layer.weight->data().mark_changed();
    CHECK(layer.weight->effective(nn::Phase::train).to_vector() != first);
  }
  set_num_threads(before);
}

TEST_CASE("products: blocks become their nearest codeword, evaluation is what is stored", "[quant]") {
  manual_seed(4);
  nn::Linear<float> layer(64, 32);
  quant::attach(layer, ProductNoise{.inner = {.codewords = 16, .linear = 8}, .rate = 0.4}, quant::weights_only());
  auto& p = *layer.weight->parametrization();
  CHECK(p.stored()[1].name == "codewords");
  CHECK(!p.stored()[1].trained);
  CHECK(!p.exact_gradient());
  const std::vector<float> q = layer.weight->effective(nn::Phase::eval).to_vector(),
                           mixed = layer.weight->effective(nn::Phase::train).to_vector();
  CHECK(q == decode_ref(layer.weight->encode()));
  const auto [quantized, kept] = count_blocks(mixed, q, layer.weight->data().to_vector(), 8);
  CHECK(quantized > 50);
  CHECK(kept > 100);
  // The nearest codeword, by a plain search.
  const Tensor<float> words = p.stored()[1].tensor;
  const Tensor<float>& w = layer.weight->data();
  Index worse = 0;
  for (Index b = 0; b < 256; ++b) {
    double best = 1e300, got = 0;
    for (Index c = 0; c < words.shape()[0]; ++c) {
      double sum = 0;
      for (Index j = 0; j < 8; ++j) sum += std::pow(static_cast<double>(w.data()[b * 8 + j] - words.at({c, j})), 2);
      best = std::min(best, sum);
    }
    for (Index j = 0; j < 8; ++j)
      got += std::pow(static_cast<double>(w.data()[b * 8 + j] - q[static_cast<std::size_t>(b * 8 + j)]), 2);
    worse += got > best * (1 + 1e-5);
  }
  CHECK(worse == 0);
  // Codes follow the weights; a new codebook fits what they have become.
  const auto error = [&] {
    double sum = 0;
    const auto now = layer.weight->effective(nn::Phase::eval).to_vector();
    for (std::size_t i = 0; i < now.size(); ++i)
      sum += std::pow(static_cast<double>(now[i] - w.data()[static_cast<Index>(i)]), 2);
    return sum;
  };
  optim::SGD<float> sgd(layer.parameters(), {.lr = 1});
  layer.weight->effective(nn::Phase::train).backward(Tensor<float>::normal(w.shape(), {5, 5}));
  sgd.step();
  CHECK(layer.weight->effective(nn::Phase::eval).to_vector() != q);
  const double stale = error();
  quant::attach(layer, ProductNoise{.inner = {.codewords = 16, .linear = 8}}, quant::weights_only());
  CHECK(error() < 0.9 * stale);
  CHECK(layer.weight->effective(nn::Phase::eval).to_vector() == decode_ref(layer.weight->encode()));
  // The codebook is part of the state.
  nn::Linear<float> other(64, 32);
  quant::attach(other, ProductNoise{.inner = {.codewords = 16, .linear = 8}}, quant::weights_only());
  nn::copy_state(layer, other);
  CHECK(other.weight->effective(nn::Phase::eval).to_vector() == layer.weight->effective(nn::Phase::eval).to_vector());
}

TEST_CASE("Quant-Noise with settings that make no sense is refused", "[quant]") {
  nn::Linear<float> layer(8, 32);
  const auto attach = [&](const auto& noise) { quant::attach(layer, noise, quant::weights_only()); };
  CHECK_THROWS_AS(attach(UniformNoise{.rate = -0.1}), ValueError);
  CHECK_THROWS_AS(attach(UniformNoise{.rate = 1.1}), ValueError);
  CHECK_THROWS_AS(attach(UniformNoise{.rate = std::nan("")}), ValueError);
  CHECK_THROWS_AS(attach(UniformNoise{.block_size = -1}), ValueError);
  CHECK_THROWS_AS(attach(UniformNoise{.inner = {.bits = 0}}), ValueError);
  CHECK_THROWS_AS(attach(ProductNoise{.inner = {.codewords = 0}}), ValueError);
  // A quantizer that does not keep the weight has no block to leave as it is.
  CHECK_THROWS_AS(quant::QuantNoiseParametrization<float>(quant::Product{}.make(*layer.weight), 0.1, 4), ValueError);
  layer.weight->data().data()[3] = std::nanf("");
  CHECK_THROWS_AS(attach(ProductNoise{}), ValueError);
  nn::Linear<float> changed(8, 32);
  quant::attach(changed, ProductNoise{}, quant::weights_only());
  changed.weight->data().data()[3] = std::nanf("");
  CHECK_THROWS_AS(changed.weight->encode(), ValueError);
}

}  // namespace qdistill_test
