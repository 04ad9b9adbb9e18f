#include "experiment.hpp"

#include <array>

namespace noise_is_gaussian {

namespace {

constexpr Index bucket = 256;
/// Probability that a check fails though the theory holds: there are about 200 of them.
constexpr double doubt = 1e-7;
/// The same for a mean or a variance, in standard errors.
constexpr double doubt_z = 5.3;

/// A random error that is `low` <= 0 or, with probability p, `high` >= 0.
struct TwoValues {
  double low = 0, high = 0, p = 0, step = 0;
  double variance() const { return low * low * (1 - p) + high * high * p; }
};

std::vector<TwoValues> rounding_errors(const std::vector<float>& v, Index steps) {
  const auto n = static_cast<Index>(v.size());
  std::vector<TwoValues> errors(v.size());
  for (Index begin = 0; begin < n; begin += bucket) {
    const auto [lo, hi] = std::minmax_element(v.begin() + begin, v.begin() + std::min(n, begin + bucket));
    const double beta = *lo, step = (static_cast<double>(*hi) - beta) / static_cast<double>(steps);
    for (Index i = begin; i < std::min(n, begin + bucket); ++i) {
      const double z = (static_cast<double>(v[static_cast<std::size_t>(i)]) - beta) / step, p = z - std::floor(z);
      errors[static_cast<std::size_t>(i)] = {-p * step, (1 - p) * step, p, step};
    }
  }
  return errors;
}

struct Vectors {
  std::vector<float> v, x;
};

/// The first n weights and inputs of the case; longer vectors begin with the shorter ones.
Vectors vectors(const Case& c, Index n, std::uint64_t seed) {
  Vectors out{std::vector<float>(static_cast<std::size_t>(n)), std::vector<float>(static_cast<std::size_t>(n))};
  const RandomStream weights{seed, 1}, inputs{seed, 2};
  const Index size = std::min(n, bucket);
  for (Index i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const auto u = static_cast<std::uint64_t>(i);
    if (c.data == Data::fading) {  // the ends of each bucket's range stand at its end, the rest in the middle
      out.v[k] = i % size == size - 2 ? -1.0f : i % size == size - 1 ? 1.0f : 0.0f;
      out.x[k] = i < 100 ? std::ldexp(1.0f, -static_cast<int>(i)) : 0.0f;
    } else {
      out.v[k] = static_cast<float>(std::clamp(weights.normal(u), -3.0, 3.0));
      out.x[k] = static_cast<float>(std::min(std::abs(inputs.normal(u)), 3.0));
    }
  }
  if (c.data == Data::dominated) {
    const auto [lo, hi] = std::minmax_element(out.v.begin() + 1, out.v.begin() + size);
    out.v[0] = (*lo + *hi) / 2;
    const auto errors = rounding_errors(out.v, c.steps);
    double rest = 0;
    for (std::size_t i = 1; i < errors.size(); ++i)
      rest += errors[i].variance() * static_cast<double>(out.x[i]) * static_cast<double>(out.x[i]);
    out.x[0] = static_cast<float>(std::sqrt(3 * rest / errors[0].variance()));
  }
  return out;
}

/// The law of the sum from the moments of its independent terms: Q(v) Q(x) - v x = e x + v f + e f, where f = 0 if the
/// inputs are not quantized.
Law law(const Case& c, const Vectors& data) {
  const auto weights = rounding_errors(data.v, c.steps);
  const auto inputs = c.inputs ? rounding_errors(data.x, c.steps) : std::vector<TwoValues>(data.x.size());
  Law out;
  double third = 0, absolute_third = 0, fourth_cumulant = 0, largest = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double v = static_cast<double>(data.v[i]), x = static_cast<double>(data.x[i]);
    const TwoValues &e = weights[i], &f = inputs[i];
    double m2 = 0, m3 = 0, a3 = 0, m4 = 0;
    for (const auto& [ev, pe] : {std::pair{e.low, 1 - e.p}, std::pair{e.high, e.p}}) {
      for (const auto& [fv, pf] : {std::pair{f.low, 1 - f.p}, std::pair{f.high, f.p}}) {
        const double t = ev * x + v * fv + ev * fv, p = pe * pf;
        m2 += p * t * t, m3 += p * t * t * t, a3 += p * std::abs(t * t * t), m4 += p * t * t * t * t;
        if (p > 0) largest = std::max(largest, std::abs(t));
      }
    }
    out.variance += m2, third += m3, absolute_third += a3, fourth_cumulant += m4 - 3 * m2 * m2;
    const double ve = e.step * e.step / 4, vf = f.step * f.step / 4;
    out.variance_bound += ve * x * x + v * v * vf + ve * vf;
  }
  const double s = std::sqrt(out.variance);
  out.skewness = third / (s * s * s), out.excess_kurtosis = fourth_cumulant / (s * s * s * s);
  out.lyapunov = absolute_third / (s * s * s), out.lyapunov_bound = largest / s;
  return out;
}

/// `count` copies of v, one after the other.
std::vector<float> repeated(const std::vector<float>& v, Index count) {
  std::vector<float> out;
  out.reserve(v.size() * static_cast<std::size_t>(count));
  for (Index k = 0; k < count; ++k) out.insert(out.end(), v.begin(), v.end());
  return out;
}

/// Draws of v's quantized values by the library's kernel, many in one call: the draws lie one after the other, and no
/// bucket reaches into the next.
class Draws {
 public:
  Draws(const std::vector<float>& v, Index count, Index steps)
      : exact_(repeated(v, count)), drawn_(exact_.size()), n_(static_cast<Index>(v.size())) {
    rule_.levels = steps + 1, rule_.bucket_size = std::min(n_, bucket), rule_.stochastic = true;
  }
  void draw(Index count, RandomStream stream) {
    rule_.stream = stream;
    kernels::uniform_quantize(Cpu{}, count * n_, exact_.data(), rule_, {.values = drawn_.data()});
  }
  const float* operator[](Index k) const { return drawn_.data() + k * n_; }

 private:
  std::vector<float> exact_, drawn_;
  Index n_;
  kernels::UniformRule<float> rule_;
};

Index draws_per_call(Index n, Index draws) { return std::min(draws, std::max<Index>(1, (Index{1} << 19) / n)); }

std::vector<double> draw_sums(const Case& c, std::size_t which, const Vectors& data, const Settings& s) {
  const auto n = static_cast<Index>(data.v.size());
  const Index per_call = draws_per_call(n, s.draws);
  Draws weights(data.v, per_call, c.steps), inputs(data.x, c.inputs ? per_call : 0, c.steps);
  std::vector<double> sums(static_cast<std::size_t>(s.draws));
  double exact = 0;
  for (std::size_t i = 0; i < data.v.size(); ++i)
    exact += static_cast<double>(data.v[i]) * static_cast<double>(data.x[i]);
  std::uint64_t stream = (which + 1) << 48 | static_cast<std::uint64_t>(n) << 24;
  for (Index done = 0; done < s.draws; done += per_call) {
    const Index count = std::min(per_call, s.draws - done);
    weights.draw(count, {s.seed, stream++});
    if (c.inputs) inputs.draw(count, {s.seed, stream++});
    parallel_for(count, std::max<Index>(1, 4096 / n), [&](Index begin, Index end) {
      for (Index k = begin; k < end; ++k) {
        const float *const q = weights[k], *const r = c.inputs ? inputs[k] : data.x.data();
        double sum = -exact;
        for (std::size_t i = 0; i < data.v.size(); ++i) sum += static_cast<double>(q[i]) * static_cast<double>(r[i]);
        sums[static_cast<std::size_t>(done + k)] = sum;
      }
    });
  }
  return sums;
}

Coordinates coordinates(Index steps, const Settings& s) {
  const Vectors data = vectors({"", steps}, bucket, s.seed);
  const auto errors = rounding_errors(data.v, steps);
  const Index per_call = draws_per_call(bucket, s.draws);
  Draws weights(data.v, per_call, steps);
  std::vector<double> sum(data.v.size()), squares(data.v.size());
  Coordinates out;
  out.steps = steps;
  std::uint64_t stream = static_cast<std::uint64_t>(steps) << 32;
  for (Index done = 0; done < s.draws; done += per_call) {
    const Index count = std::min(per_call, s.draws - done);
    weights.draw(count, {s.seed, stream++});
    for (Index k = 0; k < count; ++k) {
      for (std::size_t i = 0; i < sum.size(); ++i) {
        const double e = static_cast<double>(weights[k][i]) - static_cast<double>(data.v[i]);
        sum[i] += e, squares[i] += e * e;
        out.largest_error = std::max(out.largest_error, std::abs(e) / errors[i].step);
      }
    }
  }
  const auto draws = static_cast<double>(s.draws);
  double drawn = 0, exact = 0;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const double variance = errors[i].variance(), p = errors[i].p;
    drawn += squares[i] / draws, exact += variance;
    out.largest_variance = std::max(out.largest_variance, 4 * variance / (errors[i].step * errors[i].step));
    if (draws * p * (1 - p) > 25)  // else the count of roundings up is too far from normal for a z
      out.largest_mean_z = std::max(out.largest_mean_z, std::abs(sum[i]) / std::sqrt(draws * variance));
  }
  out.drawn_variance = drawn / exact;
  return out;
}

void add_checks(Results& r, const Settings& s) {
  const auto at_most = [&](std::string what, double value, double limit) {
    r.checks.push_back({std::move(what), value, limit, value <= limit});
  };
  const auto draws = static_cast<double>(s.draws);
  const double rounding = 1e-5;  // of the float arithmetic
  for (const Coordinates& c : r.coordinates) {
    const std::string where = text("each weight, s = ", c.steps, ": ");
    at_most(where + "|Q(v) - v| / step", c.largest_error, 1 + rounding);
    at_most(where + "|mean error|, standard errors", c.largest_mean_z, doubt_z);
    at_most(where + "variance / (step^2 / 4)", c.largest_variance, 1 + rounding);
  }
  for (const Row& row : r.rows) {
    const Case& c = r.cases[row.which];
    const std::string where = text(c.name, ", n = ", row.n, ": ");
    at_most(where + "|mean|, standard errors", std::abs(row.mean_z), doubt_z);
    const double variance_error = std::sqrt((row.law.excess_kurtosis + 2) / draws);
    at_most(where + "|variance / s_n^2 - 1|", std::abs(row.drawn.variance - 1), doubt_z * variance_error + 1e-4);
    at_most(where + "s_n^2 / bound", row.law.variance / row.law.variance_bound, 1 + rounding);
    at_most(where + "distance", row.distance, row.bound() + sampling_distance(draws, doubt));
    if (row.n != s.largest) continue;
    if (c.normal_expected())
      at_most(where + "distance of a normal sample", row.distance, sampling_distance(draws, doubt));
    else at_most(where + "a normal sample's distance", sampling_distance(draws, 1e-4), row.distance);
  }
}

}  // namespace

bool Results::hold() const {
  return std::all_of(checks.begin(), checks.end(), [](const Check& c) { return c.holds; });
}

Results run(const Settings& s, const std::function<void(const Case&, const Row&)>& finished) {
  Results r;
  r.cases = {{"weights, s = 1", 1},
             {"weights, s = 15", 15},
             {"weights and inputs, s = 1", 1, true},
             {"weights and inputs, s = 15", 15, true},
             {"one input dominates, s = 1", 1, false, Data::dominated},
             {"inputs halve, s = 1", 1, false, Data::fading}};
  for (const Index steps : {1, 3, 15}) r.coordinates.push_back(coordinates(steps, s));
  for (std::size_t which = 0; which < r.cases.size(); ++which) {
    for (Index n = 4; n <= s.largest; n *= 4) {
      const Vectors data = vectors(r.cases[which], n, s.seed);
      Row row;
      row.which = which, row.n = n, row.law = law(r.cases[which], data);
      row.sample = draw_sums(r.cases[which], which, data, s);
      for (double& x : row.sample) x /= std::sqrt(row.law.variance);
      row.drawn = moments(row.sample);
      row.mean_z = row.drawn.mean * std::sqrt(static_cast<double>(s.draws));
      row.distance = distance_from_normal(row.sample);
      finished(r.cases[which], row);
      r.rows.push_back(std::move(row));
    }
  }
  add_checks(r, s);
  return r;
}

}  // namespace noise_is_gaussian
