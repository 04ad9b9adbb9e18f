#include "qdistill/core/print.hpp"

#include <catch2/catch.hpp>

namespace qdistill_test {

using namespace qdistill;

TEST_CASE("printing: scalars, vectors, matrices", "[core]") {
  CHECK(to_string(Tensor<float>::scalar(2.5f)) == "2.5000");
  CHECK(to_string(Tensor<float>::from({1, -2.5f, 3, 4}, {2, 2})) == "[[ 1.0000, -2.5000],\n [ 3.0000,  4.0000]]");
  CHECK(to_string(Tensor<float>::from({1, -20, 3})) == "[  1., -20.,   3.]");
  CHECK(to_string(Tensor<Index>::from({1, -20, 300})) == "[  1, -20, 300]");
  CHECK(to_string(Tensor<std::uint8_t>::from({0, 7, 255})) == "[  0,   7, 255]");
  CHECK(to_string(Tensor<double>::from({0.125}), {.precision = 1}) == "[0.1]");
  CHECK(to_string(Tensor<float>::arange(0, 8)) == "[0., 1., 2., 3., 4., 5., 6., 7.]");
  CHECK(to_string(Tensor<Index>::from({1, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2})) ==
        "[[[1, 2],\n  [3, 4]],\n\n [[5, 6],\n  [7, 8]]]");
}

TEST_CASE("printing: empty, undefined, views", "[core]") {
  CHECK(to_string(Tensor<float>{}) == "undefined");
  CHECK(to_string(Tensor<float>::zeros({0})) == "[]");
  CHECK(to_string(Tensor<float>::zeros({2, 0})) == "[[],\n []]");
  const auto x = Tensor<Index>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(to_string(x.window({3, 2}, {1, 3}, 0)) == "[[1, 4],\n [2, 5],\n [3, 6]]");
}

TEST_CASE("printing: not a number, infinity, wide ranges", "[core]") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(to_string(Tensor<float>::from({inf, -inf, std::nanf(""), 0.5f})) == "[   inf,   -inf,    nan, 0.5000]");
  CHECK(to_string(Tensor<double>::from({1e-9, 1}), {.precision = 2}) == "[1.00e-09, 1.00e+00]");
  CHECK(to_string(Tensor<double>::from({1e300, -1e300}), {.precision = 1}) == "[ 1.0e+300, -1.0e+300]");
  CHECK(to_string(Tensor<double>::from({1.7976931348623157e308}), {.precision = 17}) == "[1.79769313486231571e+308]");
}

TEST_CASE("printing: large tensors are shortened, long rows wrapped", "[core]") {
  CHECK(to_string(Tensor<Index>::arange(0, 2000)) == "[   0,    1,    2, ..., 1997, 1998, 1999]");
  CHECK(to_string(Tensor<Index>::arange(0, 10000).window({100, 100}, {100, 1}, 0), {.edge_items = 1}) ==
        "[[   0, ...,   99],\n ...,\n [9900, ..., 9999]]");
  CHECK(to_string(Tensor<Index>::arange(10, 16), {.line_width = 15}) == "[10, 11, 12,\n 13, 14, 15]");
  CHECK(to_string(Tensor<Index>::arange(0, 4), {.threshold = 0, .edge_items = 2}) == "[0, 1, 2, 3]");
  CHECK_THROWS_AS(to_string(Tensor<float>::zeros({1}), {.precision = 40}), ValueError);
  CHECK_THROWS_AS(to_string(Tensor<float>::zeros({1}), {.edge_items = 0}), ValueError);
}

}  // namespace qdistill_test
