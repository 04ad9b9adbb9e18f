/// The blocked product against plain loops, for odd shapes, all transpositions, epilogues and thread counts.
#include "qdistill/kernels/cpu/gemm.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "numbers.hpp"

using namespace qdistill;
using namespace qdistill::kernels;
using qdistill_test::numbers;

namespace {

/// One product of every kind of epilogue; returns the largest error in units of the tolerance.
template <class T>
double gemm_error(bool ta, bool tb, Index M, Index N, Index K, const Epilogue<T>& e, Index extra = 0) {
  const Index lda = (ta ? M : K) + extra, ldb = (tb ? K : N) + 2 * extra, ldc = N + extra;
  const auto A = numbers<T>((ta ? K : M) * lda, 1), B = numbers<T>((tb ? N : K) * ldb, 2);
  const auto before = numbers<T>(M * ldc, 3);
  auto C = before;
  gemm(Cpu{}, ta, tb, M, N, K, A.data(), lda, B.data(), ldb, C.data(), ldc, e);
  const double eps = sizeof(T) == 4 ? 1.2e-7 : 2.3e-16;
  double worst = 0;
  for (Index i = 0; i < M; ++i)
    for (Index j = 0; j < ldc; ++j) {
      const double old = static_cast<double>(before[i * ldc + j]);
      double v = 0;
      if (j >= N) {
        v = old;
      } else {
        for (Index k = 0; k < K; ++k)
          v += static_cast<double>(ta ? A[k * lda + i] : A[i * lda + k]) *
               static_cast<double>(tb ? B[j * ldb + k] : B[k * ldb + j]);
        if (e.bias_row) v += static_cast<double>(e.bias_row[i]);
        if (e.bias_col) v += static_cast<double>(e.bias_col[j]);
        if (e.relu && v < 0) v = 0;
        if (e.write == Write::add) v += old;
      }
      const double error = std::abs(v - static_cast<double>(C[i * ldc + j]));
      worst = std::max(worst, error / (eps * (4 + static_cast<double>(K))));
      if (!(error == error)) return 1e30;
    }
  return worst;
}

template <class T>
void check_shapes() {
  const Index shapes[][3] = {{1, 1, 1},    {1, 1, 0},    {3, 5, 0},     {0, 4, 3},      {4, 0, 3},    {2, 3, 4},
                             {13, 31, 7},  {14, 32, 8},  {15, 33, 17},  {29, 65, 31},   {28, 64, 16}, {1, 100, 50},
                             {100, 1, 50}, {7, 16, 257}, {43, 48, 300}, {76, 130, 257}, {5, 17, 513}, {30, 15, 600}};
  const auto row = numbers<T>(200, 4), col = numbers<T>(200, 5);
  for (const auto& s : shapes)
    for (int kind = 0; kind < 4; ++kind)
      for (int e = 0; e < 8; ++e) {
        Epilogue<T> epilogue;
        if (e & 1) epilogue.bias_row = row.data();
        if (e & 2) epilogue.bias_col = col.data();
        epilogue.relu = (e & 4) != 0;
        epilogue.write = (e + kind) % 2 ? Write::add : Write::set;
        CAPTURE(s[0], s[1], s[2], kind, e);
        REQUIRE(gemm_error<T>((kind & 1) != 0, (kind & 2) != 0, s[0], s[1], s[2], epilogue, e % 3) < 1);
      }
}

}  // namespace

TEST_CASE("gemm equals plain loops for odd shapes, transpositions and epilogues", "[kernels][gemm]") {
  SECTION("float") { check_shapes<float>(); }
  SECTION("double") { check_shapes<double>(); }
}

TEST_CASE("gemm of shapes that are cut into tasks equals plain loops", "[kernels][gemm]") {
  REQUIRE(gemm_error<float>(false, true, 301, 207, 150, {}) < 1);
  REQUIRE(gemm_error<float>(true, false, 1500, 10, 90, {}) < 1);
  REQUIRE(gemm_error<float>(false, false, 9, 2100, 270, {}) < 1);
  REQUIRE(gemm_error<float>(false, false, 5000, 2, 1000, {}) < 1);  // rows packed in several rounds
}

TEST_CASE("gemm gives the same bits with 1, 2 and 4 threads", "[kernels][gemm][threads]") {
  const int threads = num_threads();
  const Index shapes[][3] = {{130, 333, 700}, {900, 40, 300}, {20, 900, 260}};
  for (const auto& s : shapes) {
    const auto A = numbers<float>(s[0] * s[2], 1), B = numbers<float>(s[2] * s[1], 2);
    std::vector<float> first;
    for (int n : {1, 2, 4}) {
      set_num_threads(n);
      std::vector<float> C(static_cast<std::size_t>(s[0] * s[1]));
      gemm(Cpu{}, false, false, s[0], s[1], s[2], A.data(), s[2], B.data(), s[1], C.data(), s[1]);
      if (first.empty()) first = C;
      REQUIRE(std::memcmp(first.data(), C.data(), C.size() * sizeof(float)) == 0);
    }
  }
  set_num_threads(threads);
}

TEST_CASE("gemm of an empty sum is its epilogue and reads no operand", "[kernels][gemm]") {
  const float bias[] = {-1, 2, 3};
  std::vector<float> c(6, 9.0f);
  const float* none = nullptr;
  gemm(Cpu{}, false, false, 2, 3, 0, none, 0, none, 3, c.data(), 3, {nullptr, bias, true, Write::set});
  REQUIRE(c == std::vector<float>{0, 2, 3, 0, 2, 3});
}

TEST_CASE("gemm_batched equals one gemm per batch entry, bit for bit", "[kernels][gemm]") {
  const Index batch = 9, M = 17, N = 23, K = 40;
  const auto A = numbers<float>(batch * M * K, 1), B = numbers<float>(batch * K * N, 2);
  for (Index stride_a : {Index{0}, M * K})
    for (Index stride_b : {Index{0}, K * N})
      for (Index count : {Index{0}, Index{2}, batch}) {
        auto C = numbers<float>(batch * M * N, 3), D = C;
        const Epilogue<float> e{nullptr, nullptr, false, Write::add};
        gemm_batched(Cpu{}, false, true, count, M, N, K, A.data(), K, stride_a, B.data(), K, stride_b, C.data(), N,
                     M * N, e);
        for (Index i = 0; i < count; ++i)
          gemm(Cpu{}, false, true, M, N, K, A.data() + i * stride_a, K, B.data() + i * stride_b, K,
               D.data() + i * M * N, N, e);
        REQUIRE(C == D);
      }
}

TEST_CASE("gemm carries a NaN through ReLU", "[kernels][gemm]") {
  const float a[] = {1, -1}, nan = std::nanf("");
  for (Index n : {Index{1}, Index{40}}) {
    std::vector<float> b(static_cast<std::size_t>(n), nan), c(static_cast<std::size_t>(2 * n));
    gemm(Cpu{}, false, false, 2, n, 1, a, 1, b.data(), n, c.data(), n, {nullptr, nullptr, true, Write::set});
    for (float v : c) REQUIRE(std::isnan(v));
  }
}

TEST_CASE("a row or column of a product has the bits of the whole product", "[kernels][gemm]") {
  const int threads = num_threads();
  const auto bias = numbers<float>(5000, 3);
  // Sizes around a vector and a group of rows; sums around a cache line, of several blocks, from far memory.
  const Index sizes[][2] = {{1, 1},   {2, 3},    {7, 4},    {8, 15},     {9, 16},    {15, 17},
                            {16, 31}, {17, 256}, {33, 300}, {100, 1029}, {4100, 40}, {4500, 530}};
  for (const auto& [size, K] : sizes)
    for (const bool along : {false, true})
      for (int kind = 0; kind < 4; ++kind) {
        CAPTURE(size, K, along, kind);
        const bool relu = kind & 1;
        const Write write = kind & 2 ? Write::add : Write::set;
        const Index gap = 1 + kind, stride = (along ? K : size) + kind;
        const auto matrix = numbers<float>((along ? size : K) * stride, 1), two = numbers<float>(2 * K, 2);
        std::vector<float> x(static_cast<std::size_t>(K * gap));
        for (Index k = 0; k < K; ++k) x[static_cast<std::size_t>(k * gap)] = two[static_cast<std::size_t>(k)];
        // The expected numbers: two rows of x, two columns of x, from the register tile.
        auto rows = numbers<float>(2 * size, 4);
        std::vector<float> columns(static_cast<std::size_t>(2 * size)), y(static_cast<std::size_t>(size)),
            z(static_cast<std::size_t>(size * gap));
        for (Index i = 0; i < size; ++i) {
          columns[2 * i] = columns[2 * i + 1] = y[i] = z[i * gap] = rows[i];
        }
        gemm(Cpu{}, false, along, 2, size, K, two.data(), K, matrix.data(), stride, rows.data(), size,
             {nullptr, bias.data(), relu, write});
        gemm(Cpu{}, !along, true, size, 2, K, matrix.data(), stride, two.data(), K, columns.data(), 2,
             {bias.data(), nullptr, relu, write});
        for (const int n : {1, 4}) {
          set_num_threads(n);
          auto row = y, column = z;
          gemm(Cpu{}, true, along, 1, size, K, x.data(), gap, matrix.data(), stride, row.data(), size,
               {nullptr, bias.data(), relu, write});
          gemm(Cpu{}, !along, false, size, 1, K, matrix.data(), stride, x.data(), gap, column.data(), gap,
               {bias.data(), nullptr, relu, write});
          CHECK(std::memcmp(row.data(), rows.data(), row.size() * sizeof(float)) == 0);
          for (Index i = 0; i < size; ++i)
            if (std::memcmp(&column[i * gap], &columns[2 * i], sizeof(float))) FAIL_CHECK("element " << i);
        }
      }
  set_num_threads(threads);
}

TEST_CASE("columns of a product that is packed in several rounds have the bits of a smaller product",
          "[kernels][gemm]") {
  const Index M = 300, N = 10600, K = 600, cut = 5003;
  const auto A = numbers<float>(M * K, 1), B = numbers<float>(K * N, 2), bias = numbers<float>(N, 3);
  std::vector<float> whole(static_cast<std::size_t>(M * N)), parts = whole;
  gemm(Cpu{}, false, false, M, N, K, A.data(), K, B.data(), N, whole.data(), N, {nullptr, bias.data()});
  for (const auto& [first, columns] : {std::pair{Index{0}, cut}, std::pair{cut, N - cut}})
    gemm(Cpu{}, false, false, M, columns, K, A.data(), K, B.data() + first, N, parts.data() + first, N,
         {nullptr, bias.data() + first});
  REQUIRE(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)) == 0);
}

TEST_CASE("panels hold the matrix, zeros beside it, and nothing behind them", "[kernels][gemm]") {
  const Index stride = 40;
  const auto source = numbers<float>(40 * stride, 1);
  for (Index width = 1; width <= 16; ++width)
    for (const Index ld : {width, Index{16}})
      for (const Index k : {1, 2, 3, 4, 5, 8, 9, 17, 20})
        for (const bool transposed : {false, true}) {
          CAPTURE(width, ld, k, transposed);
          std::vector<float> panel(static_cast<std::size_t>(k * ld + 1), 7.0f), expected = panel;
          for (Index p = 0; p < k; ++p)
            for (Index i = 0; i < ld; ++i)
              expected[p * ld + i] = i >= width ? 0 : source[transposed ? i * stride + p : p * stride + i];
          if (transposed) kernels::detail::pack_transposed(source.data(), stride, width, k, panel.data(), ld);
          else kernels::detail::pack_rows(source.data(), stride, width, k, panel.data(), ld);
          REQUIRE(panel == expected);
        }
}
