/// Weights packed and transformed once give the bits of the calls that pack and transform them each time.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "conv_mode.hpp"
#include "numbers.hpp"
#include "qdistill/kernels/cpu/conv.hpp"
#include "qdistill/kernels/cpu/gemm.hpp"

using namespace qdistill;
using kernels::Conv2dShape;
using kernels::ConvFilters;
using kernels::Epilogue;
using qdistill_test::numbers;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Weights of a layer, as they are, packed and transformed.
struct Weights {
  explicit Weights(const Conv2dShape& s)
      : plain(numbers<float>(s.O * (s.C / s.groups) * s.KH * s.KW, 2)), bias(numbers<float>(s.O, 3)) {
    packed.resize(plain.size());
    kernels::conv2d_pack(Cpu{}, s, plain.data(), packed.data());
    if (kernels::conv_algorithm<float>(s) != kernels::ConvAlgorithm::winograd) return;
    transformed.resize(static_cast<std::size_t>(kernels::conv2d_transform_size(s)));
    kernels::conv2d_transform(Cpu{}, s, packed.data(), transformed.data());
  }
  std::vector<float> plain, bias, packed, transformed;
};

void check_equal(const Conv2dShape& s, const Weights& w, bool relu) {
  CAPTURE(s.N, s.C, s.H, s.W, s.O, s.KH, s.KW, s.groups, relu);
  const auto x = numbers<float>(s.N * s.C * s.H * s.W, 1);
  const float* const bias = relu ? w.bias.data() : nullptr;
  const int threads = num_threads();
  std::vector<float> expected;
  for (const int n : {1, 4}) {
    set_num_threads(n);
    std::vector<float> y(static_cast<std::size_t>(s.N * s.O * s.out_h() * s.out_w()), -1.0f), packed = y, both = y;
    kernels::conv2d_forward(Cpu{}, s, x.data(), w.plain.data(), bias, y.data(), relu);
    kernels::conv2d_forward(Cpu{}, s, x.data(), ConvFilters<float>{w.packed.data()}, bias, packed.data(), relu);
    if (expected.empty()) expected = y;
    CHECK(same_bits(y, expected));
    CHECK(same_bits(packed, expected));
    if (w.transformed.empty()) continue;
    kernels::conv2d_forward(Cpu{}, s, x.data(), ConvFilters<float>{w.packed.data(), w.transformed.data()}, bias,
                            both.data(), relu);
    CHECK(same_bits(both, expected));
  }
  set_num_threads(threads);
}

}  // namespace

TEST_CASE("prepared convolutions have the bits of plain ones", "[kernels][conv]") {
  // N, C, H, W, O, KH, KW, stride, padding, dilation, groups
  for (const Conv2dShape& s :
       {Conv2dShape{1, 3, 32, 32, 29, 3, 3, 1, 1, 1, 1}, Conv2dShape{1, 70, 8, 8, 31, 3, 3, 1, 1, 1, 1},
        Conv2dShape{9, 5, 4, 4, 15, 3, 3, 1, 1, 1, 1}, Conv2dShape{2, 6, 9, 11, 5, 5, 5, 1, 1, 2, 2},
        Conv2dShape{3, 300, 5, 5, 17, 1, 1}, Conv2dShape{2, 33, 12, 9, 40, 3, 3, 2, 2, 1, 1},
        Conv2dShape{2, 8, 12, 13, 12, 3, 3, 2, 1, 1, 1, 1, 2, 4},
        Conv2dShape{2, 19, 7, 9, 19, 3, 3, 1, 1, 1, 1, 1, 1, 19}, Conv2dShape{1, 4, 1, 29, 6, 1, 5, 1, 2, 0, 2},
        Conv2dShape{1, 2, 2, 2, 3, 5, 5}, Conv2dShape{0, 2, 4, 4, 3, 3, 3, 1, 1, 1, 1},
        // Winograd: less than a panel of tiles, one and a part, many; a sum of several blocks.
        Conv2dShape{1, 32, 16, 16, 24, 3, 3, 1, 1, 1, 1}, Conv2dShape{1, 50, 18, 29, 33, 3, 3, 1, 1, 1, 1},
        Conv2dShape{20, 35, 16, 16, 30, 3, 3, 1, 1, 1, 1}, Conv2dShape{1, 290, 16, 16, 25, 3, 3, 1, 1, 0, 2},
        Conv2dShape{1, 33, 8, 8, 26, 5, 5, 1, 1, 2, 2}, Conv2dShape{1, 40, 32, 32, 50, 5, 5, 1, 1, 2, 2}}) {
    const Weights w(s);
    check_equal(s, w, false);
    check_equal(s, w, true);
  }
}

TEST_CASE("weights are prepared once for batches and images of any size and both modes", "[kernels][conv]") {
  Conv2dShape s{1, 34, 17, 16, 37, 3, 3, 1, 1, 1, 1};
  const Weights w(s);
  REQUIRE(!w.transformed.empty());
  for (const Index images : {1, 2, 40})
    for (const Index side : {3, 16, 33}) {
      s.N = images, s.H = side;
      check_equal(s, w, true);
    }
  const qdistill_test::WithConvMode exact(ConvMode::exact);
  check_equal(s, w, true);
}

TEST_CASE("gemm_packed has the bits of gemm", "[kernels][gemm]") {
  const int threads = num_threads();
  // One row, few, many; few columns and many rows; sums of several blocks; no sum.
  const Index shapes[][3] = {{1, 1, 1},      {1, 100, 700}, {1, 10, 50},    {5, 33, 300},
                             {40, 65, 257},  {130, 20, 9},  {900, 40, 300}, {301, 207, 1000},
                             {3, 1200, 530}, {4, 3, 0},     {0, 3, 4}};
  for (const auto& [M, N, K] : shapes)
    for (const bool transposed : {false, true})
      for (const bool relu : {false, true}) {
        CAPTURE(M, N, K, transposed, relu);
        const auto a = numbers<float>(M * K + 1, 1), b = numbers<float>(N * K + 1, 2), bias = numbers<float>(N, 3);
        const Epilogue<float> e{nullptr, relu ? bias.data() : nullptr, relu, Write::set};
        const Index ldb = transposed ? K : N;
        // What lies behind the last column does not count.
        std::vector<float> packed(static_cast<std::size_t>(kernels::packed_columns_size<float>(N, K)), std::nanf(""));
        kernels::pack_columns(Cpu{}, transposed, N, K, b.data(), ldb, packed.data());
        CHECK(std::isnan(packed[static_cast<std::size_t>(N * K)]));
        for (const int n : {1, 4}) {
          set_num_threads(n);
          std::vector<float> c(static_cast<std::size_t>(M * N), -1.0f), expected = c;
          kernels::gemm(Cpu{}, false, transposed, M, N, K, a.data(), K, b.data(), ldb, expected.data(), N, e);
          kernels::gemm_packed(Cpu{}, false, M, N, K, a.data(), K, packed.data(), c.data(), N, e);
          CHECK(same_bits(c, expected));
        }
      }
  set_num_threads(threads);
}
