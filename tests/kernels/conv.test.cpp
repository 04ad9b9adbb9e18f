/// Convolution forward and backward against plain loops, for odd shapes, strides, paddings, dilations and groups.
#include "qdistill/kernels/cpu/conv.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "numbers.hpp"
#include "qdistill/kernels/cpu/conv_data.hpp"
#include "qdistill/kernels/cpu/conv_weights.hpp"

using namespace qdistill;
using namespace qdistill::kernels;
using qdistill_test::numbers;

namespace {

Index input_size(const Conv2dShape& s) { return s.N * s.C * s.H * s.W; }
Index weight_size(const Conv2dShape& s) { return s.O * (s.C / s.groups) * s.KH * s.KW; }
Index output_size(const Conv2dShape& s) { return s.N * s.O * s.out_h() * s.out_w(); }

/// Calls f(x index, w index, y index) for every product of the convolution.
template <class F>
void each_product(const Conv2dShape& s, F&& f) {
  const Index channels = s.C / s.groups, outputs = s.O / s.groups, oh = s.out_h(), ow = s.out_w();
  for (Index n = 0; n < s.N; ++n)
    for (Index o = 0; o < s.O; ++o)
      for (Index c = 0; c < channels; ++c)
        for (Index kh = 0; kh < s.KH; ++kh)
          for (Index kw = 0; kw < s.KW; ++kw)
            for (Index i = 0; i < oh; ++i)
              for (Index j = 0; j < ow; ++j) {
                const Index h = i * s.stride_h + kh * s.dil_h - s.pad_h, w = j * s.stride_w + kw * s.dil_w - s.pad_w;
                if (h < 0 || h >= s.H || w < 0 || w >= s.W) continue;
                f(((n * s.C + o / outputs * channels + c) * s.H + h) * s.W + w,
                  ((o * channels + c) * s.KH + kh) * s.KW + kw, ((n * s.O + o) * oh + i) * ow + j);
              }
}

/// Largest |got - expected| in units of eps * (terms + 4).
template <class T>
double error(const std::vector<T>& got, const std::vector<double>& expected, Index terms) {
  const double unit = (sizeof(T) == 4 ? 1.2e-7 : 2.3e-16) * static_cast<double>(terms + 4);
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double e = std::abs(static_cast<double>(got[i]) - expected[i]) / unit;
    if (!(e <= worst)) worst = e;
  }
  return worst;
}

template <class T>
std::vector<double> to_double(const std::vector<T>& v) {
  return {v.begin(), v.end()};
}

template <class T>
void check_shape(const Conv2dShape& s) {
  CAPTURE(s.N, s.C, s.H, s.W, s.O, s.KH, s.KW, s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dil_h, s.dil_w, s.groups);
  const auto x = numbers<T>(input_size(s), 1), w = numbers<T>(weight_size(s), 2), dy = numbers<T>(output_size(s), 3),
             bias = numbers<T>(s.O, 4);
  const Index pixels = s.out_h() * s.out_w(), window = s.KH * s.KW;

  for (bool relu : {false, true}) {
    std::vector<double> expected(dy.size());
    each_product(
        s, [&](Index i, Index j, Index k) { expected[k] += static_cast<double>(x[i]) * static_cast<double>(w[j]); });
    for (std::size_t i = 0; i < expected.size() && relu; ++i) {
      expected[i] += static_cast<double>(bias[static_cast<Index>(i) / pixels % s.O]);
      if (expected[i] < 0) expected[i] = 0;
    }
    auto y = numbers<T>(output_size(s), 5);
    conv2d_forward(Cpu{}, s, x.data(), w.data(), relu ? bias.data() : nullptr, y.data(), relu);
    REQUIRE(error(y, expected, s.C / s.groups * window) < 1);
  }
  for (Write write : {Write::set, Write::add}) {
    auto dx = numbers<T>(input_size(s), 6), dw = numbers<T>(weight_size(s), 7), db = numbers<T>(s.O, 8);
    auto ex = to_double(dx), ew = to_double(dw), eb = to_double(db);
    if (write == Write::set) {
      std::fill(ex.begin(), ex.end(), 0.0), std::fill(ew.begin(), ew.end(), 0.0), std::fill(eb.begin(), eb.end(), 0.0);
    }
    each_product(s, [&](Index i, Index j, Index k) {
      ex[i] += static_cast<double>(w[j]) * static_cast<double>(dy[k]);
      ew[j] += static_cast<double>(x[i]) * static_cast<double>(dy[k]);
    });
    for (std::size_t i = 0; i < dy.size(); ++i) eb[static_cast<Index>(i) / pixels % s.O] += static_cast<double>(dy[i]);
    conv2d_backward_data(Cpu{}, s, dy.data(), w.data(), dx.data(), write);
    REQUIRE(error(dx, ex, s.O / s.groups * window) < 1);
    conv2d_backward_weights(Cpu{}, s, x.data(), dy.data(), dw.data(), db.data(), write);
    REQUIRE(error(dw, ew, s.N * pixels) < 1);
    REQUIRE(error(db, eb, s.N * pixels) < 1);
    std::vector<T> again(dw.size());
    conv2d_backward_weights(Cpu{}, s, x.data(), dy.data(), again.data(), static_cast<T*>(nullptr), Write::set);
    if (write == Write::set) REQUIRE(again == dw);
  }
}

// N, C, H, W, O, KH, KW, stride, padding, dilation, groups
const Conv2dShape conv_shapes[] = {
    {1, 1, 1, 1, 1, 1, 1},
    {2, 3, 5, 7, 4, 1, 1},
    {2, 3, 5, 7, 4, 3, 3, 1, 1, 1, 1},
    {1, 5, 8, 8, 7, 3, 3, 1, 1, 1, 1},
    {5, 4, 8, 8, 29, 3, 3, 1, 1, 1, 1},
    {2, 4, 16, 16, 5, 5, 5, 1, 1, 2, 2},
    {2, 3, 32, 32, 15, 3, 3, 1, 1, 1, 1},
    {1, 30, 9, 33, 3, 3, 3, 1, 1, 1, 1},
    {3, 31, 12, 11, 17, 3, 3, 1, 1, 1, 1},
    {2, 2, 6, 1, 3, 3, 1, 1, 1, 1, 0},
    {2, 2, 1, 40, 3, 1, 5, 1, 1, 0, 2},
    {2, 3, 9, 10, 4, 3, 3, 2, 2, 1, 1},
    {1, 2, 11, 23, 3, 3, 3, 2, 3, 1, 0},
    {2, 3, 8, 7, 4, 1, 1, 2, 2, 0, 0},
    {1, 3, 10, 12, 2, 2, 3, 4, 5, 1, 2},
    {2, 2, 12, 13, 3, 3, 3, 1, 1, 2, 2, 2, 2},
    {1, 2, 12, 13, 3, 3, 2, 2, 3, 3, 1, 3, 2},
    {2, 6, 7, 9, 4, 3, 3, 1, 1, 1, 1, 1, 1, 2},
    {2, 5, 7, 9, 5, 3, 3, 1, 1, 1, 1, 1, 1, 5},
    {1, 4, 9, 8, 8, 3, 3, 2, 2, 1, 1, 1, 1, 4},
    {2, 2, 2, 2, 3, 5, 5, 1, 1, 2, 2},
    {2, 2, 3, 2, 3, 5, 4, 1, 1, 3, 2},
    {1, 2, 4, 4, 3, 1, 1, 1, 1, 2, 3},
    {1, 2, 4, 5, 3, 3, 3, 3, 2, 3, 3},
    {1, 2, 2, 2, 3, 5, 5},  // the kernel does not fit: an empty output
    {0, 2, 4, 4, 3, 3, 3, 1, 1, 1, 1},
    {1, 0, 4, 4, 3, 3, 3, 1, 1, 1, 1},
    {1, 2, 4, 4, 0, 3, 3, 1, 1, 1, 1},
    {9, 3, 4, 4, 5, 3, 3, 1, 1, 1, 1},  // small images, several to a product
    {11, 4, 5, 5, 6, 3, 3, 1, 1, 1, 1, 1, 1, 2},
    {12, 6, 5, 5, 7, 1, 1},
    {40, 2, 1, 1, 3, 1, 1},
    {13, 3, 9, 9, 4, 3, 3, 2, 2, 1, 1},
    {7, 2, 7, 7, 33, 3, 3, 1, 1, 1, 1},
    // Short sums, with rows of one vector, two, one more and one less; a vertical stride; groups; taps at the border.
    {2, 3, 4, 8, 7, 3, 3, 1, 1, 1, 1},
    {2, 3, 5, 15, 6, 3, 3, 1, 1, 1, 1},
    {1, 3, 6, 16, 13, 3, 3, 1, 1, 1, 1},
    {2, 1, 3, 17, 1, 3, 3, 1, 1, 1, 1},
    {2, 3, 9, 31, 29, 5, 5, 1, 1, 2, 2},
    {1, 2, 4, 33, 5, 3, 3, 2, 1, 1, 1},
    {2, 4, 5, 63, 8, 3, 3, 1, 1, 1, 1, 1, 1, 2},
    {1, 3, 3, 70, 9, 3, 5, 1, 1, 0, 0},
    {1, 14, 4, 34, 3, 3, 3, 1, 1, 1, 1},  // 126 taps
    {1, 15, 4, 34, 3, 3, 3, 1, 1, 1, 1},  // 135
};

}  // namespace

TEST_CASE("convolution and its gradients equal plain loops", "[kernels][conv]") {
  SECTION("float") {
    for (const auto& s : conv_shapes) check_shape<float>(s);
  }
  SECTION("double") {
    for (const auto& s : conv_shapes) check_shape<double>(s);
  }
}

TEST_CASE("convolution of shapes that are cut into parts equals plain loops", "[kernels][conv]") {
  check_shape<float>({17, 20, 12, 12, 30, 3, 3, 1, 1, 1, 1});
  check_shape<float>({1, 31, 16, 16, 50, 3, 3, 1, 1, 1, 1});
  check_shape<float>({1, 3, 64, 64, 150, 3, 3, 1, 1, 1, 1});
}

TEST_CASE("convolution gives the same bits with 1, 2 and 4 threads", "[kernels][conv][threads]") {
  const int threads = num_threads();
  for (const Conv2dShape& s :
       {Conv2dShape{25, 19, 16, 16, 30, 3, 3, 1, 1, 1, 1}, Conv2dShape{1, 31, 16, 16, 50, 3, 3, 1, 1, 1, 1},
        Conv2dShape{1, 3, 64, 64, 70, 3, 3, 1, 1, 1, 1}, Conv2dShape{9, 3, 20, 35, 40, 5, 5, 1, 1, 2, 2},
        Conv2dShape{40, 16, 7, 7, 20, 3, 3, 1, 1, 1, 1}, Conv2dShape{6, 16, 17, 15, 16, 5, 5, 2, 2, 2, 2, 1, 1, 4}}) {
    const auto x = numbers<float>(input_size(s), 1), w = numbers<float>(weight_size(s), 2),
               dy = numbers<float>(output_size(s), 3), bias = numbers<float>(s.O, 4);
    std::vector<float> first;
    for (int n : {1, 2, 4}) {
      set_num_threads(n);
      const Index y0 = 0, x0 = output_size(s), w0 = x0 + input_size(s), b0 = w0 + weight_size(s);
      std::vector<float> all(static_cast<std::size_t>(b0 + s.O));
      conv2d_forward(Cpu{}, s, x.data(), w.data(), bias.data(), all.data() + y0, true);
      conv2d_backward_data(Cpu{}, s, dy.data(), w.data(), all.data() + x0, Write::set);
      conv2d_backward_weights(Cpu{}, s, x.data(), dy.data(), all.data() + w0, all.data() + b0, Write::set);
      if (first.empty()) first = all;
      REQUIRE(std::memcmp(first.data(), all.data(), all.size() * sizeof(float)) == 0);
    }
  }
  set_num_threads(threads);
}
