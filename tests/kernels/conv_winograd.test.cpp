/// Winograd convolutions against a direct sum in double, in all three directions.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "conv_mode.hpp"
#include "numbers.hpp"
#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/conv_data.hpp"
#include "qdistill/kernels/cpu/conv_weights.hpp"

namespace qdistill_test {

using namespace qdistill;
using kernels::Conv2dShape;

namespace {

Conv2dShape shape(Index n, Index c, Index h, Index w, Index o, Index k, Index pad_h, Index pad_w) {
  Conv2dShape s;
  s.N = n, s.C = c, s.H = h, s.W = w, s.O = o, s.KH = s.KW = k, s.pad_h = pad_h, s.pad_w = pad_w;
  return s;
}

struct Data {
  explicit Data(const Conv2dShape& s)
      : x(numbers<float>(s.N * s.C * s.H * s.W, 1)),
        w(numbers<float>(s.O * s.C * s.KH * s.KW, 2)),
        bias(numbers<float>(s.O, 3)),
        dy(numbers<float>(s.N * s.O * s.out_h() * s.out_w(), 4)) {}
  std::vector<float> x, w, bias, dy;
};

struct Results {
  std::vector<float> y, dx, dw, dbias;
};

Results run(const Conv2dShape& s, const Data& d, ConvMode mode, Write write = Write::set) {
  Results r{d.dy, d.x, d.w, d.bias};
  const WithConvMode with(mode);
  kernels::conv2d_forward(Cpu{}, s, d.x.data(), d.w.data(), d.bias.data(), r.y.data(), false);
  kernels::conv2d_backward_data(Cpu{}, s, d.dy.data(), d.w.data(), r.dx.data(), write);
  kernels::conv2d_backward_weights(Cpu{}, s, d.x.data(), d.dy.data(), r.dw.data(), r.dbias.data(), write);
  return r;
}

/// The definition, in double; `write` add starts at the inputs, as `run` does.
struct Reference {
  std::vector<double> y, dx, dw, dbias;
  Reference(const Conv2dShape& s, const Data& d, Write write) {
    const double keep = write == Write::add ? 1 : 0;
    const auto start = [&](const std::vector<float>& v) {
      std::vector<double> out(v.begin(), v.end());
      for (double& e : out) e *= keep;
      return out;
    };
    y.assign(d.dy.size(), 0), dx = start(d.x), dw = start(d.w), dbias = start(d.bias);
    std::size_t at = 0;
    for (Index n = 0; n < s.N; ++n)
      for (Index o = 0; o < s.O; ++o)
        for (Index i = 0; i < s.out_h(); ++i)
          for (Index j = 0; j < s.out_w(); ++j, ++at) {
            y[at] = static_cast<double>(d.bias[static_cast<std::size_t>(o)]);
            const auto g = static_cast<double>(d.dy[at]);
            dbias[static_cast<std::size_t>(o)] += g;
            for (Index c = 0; c < s.C; ++c)
              for (Index a = 0; a < s.KH; ++a)
                for (Index b = 0; b < s.KW; ++b) {
                  const Index h = i + a - s.pad_h, v = j + b - s.pad_w;
                  if (h < 0 || h >= s.H || v < 0 || v >= s.W) continue;
                  const auto xi = static_cast<std::size_t>(((n * s.C + c) * s.H + h) * s.W + v);
                  const auto wi = static_cast<std::size_t>(((o * s.C + c) * s.KH + a) * s.KW + b);
                  y[at] += static_cast<double>(d.x[xi]) * static_cast<double>(d.w[wi]);
                  dx[xi] += g * static_cast<double>(d.w[wi]);
                  dw[wi] += g * static_cast<double>(d.x[xi]);
                }
          }
  }
};

/// Largest difference in units of the reference's root mean square.
double error(const std::vector<float>& a, const std::vector<double>& b) {
  double largest = 0, square = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(a[i]) - b[i]));
    square += b[i] * b[i];
  }
  return largest / std::sqrt(square / static_cast<double>(b.size()));
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("Winograd convolutions agree with the direct sum in double", "[kernels]") {
  // Whole tiles, cut ones at the right and at the bottom, several images in a panel, panels across images, a last panel
  // that is not full, paddings of all sizes, images smaller than a tile, rows beyond one vector.
  for (const Conv2dShape& s :
       {shape(2, 32, 32, 32, 24, 3, 1, 1), shape(33, 32, 8, 8, 33, 3, 1, 1), shape(6, 35, 21, 18, 24, 3, 0, 2),
        shape(130, 32, 2, 3, 25, 3, 1, 1), shape(3, 33, 9, 70, 24, 3, 2, 0), shape(1, 32, 45, 47, 28, 3, 1, 1),
        shape(1, 32, 24, 32, 24, 5, 2, 2), shape(9, 33, 8, 8, 29, 5, 2, 2), shape(4, 32, 11, 14, 24, 5, 0, 4),
        shape(70, 32, 3, 4, 26, 5, 1, 2), shape(1, 34, 22, 75, 24, 5, 3, 1), shape(1, 32, 16, 16, 24, 3, 1, 1),
        shape(1, 33, 17, 18, 25, 3, 1, 1), shape(2, 35, 8, 7, 24, 5, 2, 2)}) {
    INFO("N " << s.N << " C " << s.C << " H " << s.H << " W " << s.W << " O " << s.O << " K " << s.KH << " padding "
              << s.pad_h << ' ' << s.pad_w);
    REQUIRE(kernels::conv_algorithm<float>(s) == kernels::ConvAlgorithm::winograd);
    const Data d(s);
    for (const Write write : {Write::set, Write::add}) {
      const Reference expected(s, d, write);
      const Results fast = run(s, d, ConvMode::fast, write), exact = run(s, d, ConvMode::exact, write);
      // What docs/performance.md states.
      CHECK(error(fast.y, expected.y) < 1e-4);
      CHECK(error(fast.dx, expected.dx) < 1e-4);
      CHECK(error(fast.dw, expected.dw) < 1e-4);
      CHECK(error(fast.dbias, expected.dbias) < 1e-5);
      CHECK(error(exact.y, expected.y) < 1e-5);
      CHECK(error(exact.dx, expected.dx) < 1e-5);
      CHECK(error(exact.dw, expected.dw) < 1e-5);
    }
  }
}

TEST_CASE("Winograd convolutions have the same bits for any number of threads", "[kernels]") {
  const int before = num_threads();
  // Many panels of tiles, few, less than one.
  for (const Conv2dShape& s : {shape(12, 40, 16, 16, 40, 3, 1, 1), shape(6, 33, 16, 16, 40, 5, 2, 2),
                               shape(3, 40, 16, 16, 40, 3, 1, 1), shape(1, 33, 8, 8, 40, 5, 2, 2)}) {
    const Data d(s);
    set_num_threads(1);
    const Results one = run(s, d, ConvMode::fast);
    for (const int threads : {2, 4}) {
      set_num_threads(threads);
      const Results many = run(s, d, ConvMode::fast);
      CHECK(same_bits(one.y, many.y));
      CHECK(same_bits(one.dx, many.dx));
      CHECK(same_bits(one.dw, many.dw));
      CHECK(same_bits(one.dbias, many.dbias));
    }
  }
  set_num_threads(before);
}

TEST_CASE("Winograd's epilogue adds the bias and takes the ReLU", "[kernels]") {
  const Conv2dShape s = shape(4, 32, 13, 17, 24, 3, 1, 1);
  const Data d(s);
  std::vector<float> plain(d.dy), rectified(d.dy), without(d.dy);
  kernels::conv2d_forward<float>(Cpu{}, s, d.x.data(), d.w.data(), nullptr, without.data(), false);
  kernels::conv2d_forward<float>(Cpu{}, s, d.x.data(), d.w.data(), d.bias.data(), plain.data(), false);
  kernels::conv2d_forward<float>(Cpu{}, s, d.x.data(), d.w.data(), d.bias.data(), rectified.data(), true);
  const Index pixels = s.out_h() * s.out_w();
  bool added = true, cut = true;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const float bias = d.bias[i / static_cast<std::size_t>(pixels) % static_cast<std::size_t>(s.O)];
    added = added && plain[i] == without[i] + bias;
    cut = cut && rectified[i] == (plain[i] > 0 ? plain[i] : 0.0f);
  }
  CHECK(added);
  CHECK(cut);
}

TEST_CASE("the algorithm is chosen by shape and mode", "[kernels]") {
  using kernels::ConvAlgorithm;
  const Conv2dShape s = shape(8, 64, 16, 16, 64, 3, 1, 1);
  CHECK(kernels::conv_algorithm<float>(s) == ConvAlgorithm::winograd);
  CHECK(kernels::conv_algorithm<double>(s) == ConvAlgorithm::direct);
  const auto changed = [&](auto change) {
    Conv2dShape other = s;
    change(other);
    return kernels::conv_algorithm<float>(other);
  };
  CHECK(changed([](auto& o) { o.KH = o.KW = 5, o.pad_h = o.pad_w = 2; }) == ConvAlgorithm::winograd);
  CHECK(changed([](auto& o) { o.KH = o.KW = 1, o.pad_h = o.pad_w = 0; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.KW = 5; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.stride_w = 2; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.dil_h = 2; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.groups = 2; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.C = 3; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.N = 1; }) == ConvAlgorithm::winograd);
  CHECK(changed([](auto& o) { o.N = 1, o.H = 12; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.N = 1, o.C = o.O = 512; }) == ConvAlgorithm::direct);
  CHECK(changed([](auto& o) { o.pad_h = 3; }) == ConvAlgorithm::direct);
  Conv2dShape few = s;
  few.N = 7;
  CHECK(kernels::conv_algorithm<float>(s, kernels::ConvPass::weights) == ConvAlgorithm::winograd);
  CHECK(kernels::conv_algorithm<float>(few, kernels::ConvPass::weights) == ConvAlgorithm::direct);
  CHECK(kernels::conv_algorithm<float>(few, kernels::ConvPass::data) == ConvAlgorithm::winograd);
  const WithConvMode exact(ConvMode::exact);
  CHECK(kernels::conv_algorithm<float>(s) == ConvAlgorithm::direct);
}

}  // namespace qdistill_test
