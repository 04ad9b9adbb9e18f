/// The experiment. With Q the stochastic uniform quantizer of quant/uniform.hpp (alpha, beta of the bucket,
/// step = alpha / s, s + 1 levels) and p = fraction of (v - beta) / step:
///
///   Q(v) - v = -p step with probability 1 - p, (1 - p) step with probability p;    so E Q(v) = v
///   variance   p (1 - p) step^2 <= step^2 / 4
///   weights             S_n = sum Q(v_i) x_i - sum v_i x_i
///   weights and inputs  S_n = sum Q(v_i) Q(x_i) - sum v_i x_i,  rounded independently (theorem B.3)
///   claim      S_n / s_n -> N(0, 1), s_n^2 = Var S_n, for |v_i|, |x_i| <= M and s_n -> infinity
///   bound      sup |P(S_n / s_n <= t) - Phi(t)| <= 0.56 L_n, L_n = sum E|term_i|^3 / s_n^3 (Berry and Esseen; the
///              constant of Shevtsova 2010). L_n -> 0 is Lyapunov's condition, on which the paper's proof rests:
///              E|term|^3 <= max|term| E term^2, so L_n <= max|term| / s_n.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "qdistill/kernels/cpu/uniform_quantize.hpp"
#include "qdistill/train/json.hpp"
#include "qdistill/train/table.hpp"
#include "statistics.hpp"

namespace noise_is_gaussian {

using namespace qdistill;

struct Settings {
  Index draws = 8192;     ///< of each sum
  Index largest = 16384;  ///< n goes 4, 16, 64, ... up to it
  std::uint64_t seed = 1;
};

/// What is multiplied.
enum class Data {
  layer,      ///< weights N(0, 1), inputs |N(0, 1)|, cut off at 3: the theorem's conditions hold
  dominated,  ///< the same, but the first input grows so that its product has 3/4 of the variance: no bound M
  fading      ///< inputs 2^-i, weights half way between two levels: s_n stays bounded
};

struct Case {
  std::string name;
  Index steps = 1;  ///< the paper's s
  bool inputs = false;
  Data data = Data::layer;

  bool normal_expected() const noexcept { return data == Data::layer; }
};

/// The exact law of S_n, from the two values that each rounding can take.
struct Law {
  double variance = 0;        ///< s_n^2
  double variance_bound = 0;  ///< with step^2 / 4 for each rounding
  double skewness = 0, excess_kurtosis = 0;
  double lyapunov = 0;        ///< L_n
  double lyapunov_bound = 0;  ///< max|term| / s_n
};

/// One case at one n: the law, and what was drawn.
struct Row {
  std::size_t which = 0;  ///< number of the case
  Index n = 0;
  Law law = {};
  Moments drawn = {};   ///< of S_n / s_n
  double mean_z = 0;    ///< the mean in units of its standard error
  double distance = 0;  ///< of the drawn distribution from the normal
  std::vector<double> sample = {};

  double bound() const { return 0.56 * law.lyapunov; }
};

/// Each weight by itself: 256 weights, one bucket.
struct Coordinates {
  Index steps = 1;
  double largest_error = 0;     ///< in steps
  double largest_mean_z = 0;    ///< |mean error| in units of its standard error; rarely rounded weights left out
  double largest_variance = 0;  ///< exact, in units of step^2 / 4
  double drawn_variance = 0;    ///< mean over the weights, drawn / exact
};

struct Check {
  std::string what;
  double value = 0, limit = 0;
  bool holds = false;
};

struct Results {
  std::vector<Case> cases;
  std::vector<Row> rows;
  std::vector<Coordinates> coordinates;
  std::vector<Check> checks;

  bool hold() const;
};

/// Runs everything; `finished` sees each row as it is done.
Results run(const Settings& settings, const std::function<void(const Case&, const Row&)>& finished);

/// Distance from the normal, n by case; then the bounds and the other figures of each row.
train::Table distance_table(const Results& results);
train::Table rows_table(const Results& results);
train::Table coordinates_table(const Results& results);
train::Table checks_table(const Results& results);
std::string report_html(const Results& results, const Settings& settings, const train::Json& manifest);

}  // namespace noise_is_gaussian
