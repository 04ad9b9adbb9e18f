/// The scalar functions of kernels/cpu/math.hpp over the whole range of float, against the standard library in double.
#include "qdistill/kernels/cpu/math.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "qdistill/kernels/cpu/elementwise.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Every 4001st float from -inf to inf, by bit pattern, and the values where something changes.
std::vector<float> sample() {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < 0x100000000u; bits += 4001) {
    const float v = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (v == v) x.push_back(v);
  }
  const float inf = std::numeric_limits<float>::infinity();
  for (const float v :
       {0.0f, 1.0f,   88.0f,           88.722839f,     88.73f, 89.0f, 87.33655f, 103.97f,    104.0f,     0.92f,
        4.0f, 1e-45f, 1.17549435e-38f, 3.40282347e38f, 0.5f,   1.5f,  2.5f,      8388607.5f, 8388608.0f, inf})
    x.push_back(v), x.push_back(-v);
  return x;
}

/// Largest error in units of the last place of the float nearest to the true value; subnormals count by their own unit.
template <class F, class G>
double worst_error(F f, G truth) {
  const std::vector<float> x = sample();
  std::vector<float> y(x.size());
  kernels::map(Cpu{}, static_cast<Index>(x.size()), x.data(), y.data(), f);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = truth(static_cast<double>(x[i])), got = static_cast<double>(y[i]);
    const float rounded = static_cast<float>(want);
    if (std::isnan(want) || std::isinf(rounded)) {
      if (std::isnan(want) ? !std::isnan(got) : got != static_cast<double>(rounded)) {
        UNSCOPED_INFO("at " << x[i] << ": " << got << ", expected " << want);
        return 1e30;
      }
      continue;
    }
    const double unit = std::fabs(want) < 0x1p-126 ? 0x1p-149 : std::ldexp(1.0, std::ilogb(want) - 23);
    const double error = std::fabs(got - want) / unit;
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace

TEST_CASE("math: errors in units of the last place", "[kernels]") {
  namespace m = kernels::math;
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::exp(v); }, [](double v) { return std::exp(v); }) < 1.5);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::expm1(v); }, [](double v) { return std::expm1(v); }) < 2);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::log(v); }, [](double v) { return std::log(v); }) < 1.5);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::log1p(v); }, [](double v) { return std::log1p(v); }) < 2);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::tanh(v); }, [](double v) { return std::tanh(v); }) < 3);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::erf(v); }, [](double v) { return std::erf(v); }) < 2);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::sigmoid(v); },
                    [](double v) { return v < 0 ? std::exp(v) / (1 + std::exp(v)) : 1 / (1 + std::exp(-v)); }) < 3);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::round(v); },
                    [](double v) { return std::nearbyint(v); }) == 0);
  CHECK(worst_error([](float v) QDISTILL_ISA_BODY { return m::abs(v); }, [](double v) { return std::fabs(v); }) == 0);
}

TEST_CASE("math: NaN passes through", "[kernels]") {
  namespace m = kernels::math;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float x : {nan, -nan})
    for (const float y :
         {m::exp(x), m::expm1(x), m::log(x), m::log1p(x), m::tanh(x), m::erf(x), m::sigmoid(x), m::round(x), m::abs(x)})
      CHECK(std::isnan(y));
  CHECK(std::signbit(m::round(-0.25f)));
  CHECK(m::round(-2.5) == -2.0);
  CHECK(m::round(3.5) == 4.0);
}

}  // namespace qdistill_test
