/// Moments of a sample and its distance from the normal distribution.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace noise_is_gaussian {

struct Moments {
  double mean = 0, variance = 0, skewness = 0, excess_kurtosis = 0;
};

/// Of a sample of at least one value, divided by its size. A sample without variance has skewness and kurtosis 0.
inline Moments moments(const std::vector<double>& sample) {
  const auto n = static_cast<double>(sample.size());
  Moments m;
  for (const double x : sample) m.mean += x / n;
  double third = 0, fourth = 0;
  for (const double x : sample) {
    const double d = x - m.mean;
    m.variance += d * d / n, third += d * d * d / n, fourth += d * d * d * d / n;
  }
  if (m.variance <= 0) return m;
  m.skewness = third / std::pow(m.variance, 1.5);
  m.excess_kurtosis = fourth / (m.variance * m.variance) - 3;
  return m;
}

inline double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

/// sup |F - Phi|, F the distribution function of the sample (Kolmogorov's distance): the supremum lies at a jump of F,
/// on one of its two sides.
inline double distance_from_normal(std::vector<double> sample) {
  std::sort(sample.begin(), sample.end());
  const auto n = static_cast<double>(sample.size());
  double largest = 0;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const double phi = normal_cdf(sample[i]);
    largest = std::max({largest, static_cast<double>(i + 1) / n - phi, phi - static_cast<double>(i) / n});
  }
  return largest;
}

/// What the distance between a distribution and `draws` values drawn from it exceeds with probability `p` at most:
/// sqrt(ln(2 / p) / (2 draws)) (Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality").
inline double sampling_distance(double draws, double p) { return std::sqrt(std::log(2 / p) / (2 * draws)); }

}  // namespace noise_is_gaussian
