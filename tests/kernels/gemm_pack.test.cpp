/// Packing by transposition: every element in its place, zeros beyond the width, nothing written behind the panel.
#include "qdistill/kernels/cpu/gemm_pack.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "numbers.hpp"

namespace qdistill_test {

namespace {

/// The number of wrong elements of one panel, guards behind it included.
template <class T>
int wrong_elements(Index width, Index k, Index ld) {
  const Index stride = k + 3, guard = 16;
  const auto source = numbers<T>(width * stride, 1);
  std::vector<T> panel(static_cast<std::size_t>(k * ld + guard), T(7));
  kernels::detail::pack_transposed(source.data(), stride, width, k, panel.data(), ld);
  int wrong = 0;
  for (Index p = 0; p < k; ++p)
    for (Index i = 0; i < ld; ++i)
      if (panel[p * ld + i] != (i < width ? source[i * stride + p] : T(0))) ++wrong;
  for (Index i = 0; i < guard; ++i)
    if (panel[k * ld + i] != T(7)) ++wrong;
  return wrong;
}

}  // namespace

TEST_CASE("a transposed panel holds its columns and zeros", "[kernels][gemm]") {
  for (const Index ld : {1, 2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32})
    for (const Index width : {Index{1}, std::max<Index>(1, ld / 2), std::max<Index>(1, ld - 1), ld})
      for (const Index k : {0, 1, 2, 7, 8, 9, 15, 16, 17, 33}) {
        CAPTURE(ld, width, k);
        REQUIRE(wrong_elements<float>(width, k, ld) == 0);
        REQUIRE(wrong_elements<double>(width, k, ld) == 0);
      }
}

}  // namespace qdistill_test
