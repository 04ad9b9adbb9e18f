/// Redistribution of points between tensors by gradient norm (Polino, Pascanu, Alistarh 2018, section 4): tensors whose
/// gradients are larger get more points, the total stays.
///
///   n_t: initial counts, N = sum n_t;  g_t: 2-norm of the mean gradient of tensor t over a few batches
///   authors       base_t = floor(n_t / 2), or n_t - 1 when the n_t are bits;  rest = N - sum base_t
///                 new_t = base_t + round(rest g_t / sum g), half to even; what rounding left over is taken whole from
///                 the first tensor with the most, or given whole to the first with the fewest (as in their code)
///   proportional  new_t = N g_t / sum g, as the text has it; fractions cut, and the points that this leaves given to
///                 the largest fractions
///
/// No tensor gets fewer than one. With no gradient anywhere the counts stay.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

enum class Redistribution { none, authors, proportional };
/// What the counts are.
enum class CountOf { points, bits };

/// The 2-norm of each parameter's gradient divided by `batches`, the number of backward passes that it is the sum of.
template <class T>
std::vector<double> gradient_norms(const std::vector<nn::NamedParameter<T>>& parameters, Index batches) {
  std::vector<double> norms;
  for (const auto& [name, p] : parameters) {
    double sum = 0;
    for (const T g : p->data().grad().span()) sum += static_cast<double>(g) * static_cast<double>(g);
    norms.push_back(std::sqrt(sum) / static_cast<double>(batches));
  }
  return norms;
}

/// See the head of this file. Throws ValueError for counts below 1 or norms that are negative or not finite, ShapeError
/// if there are not as many of one as of the other.
inline std::vector<Index> redistribute(std::vector<Index> counts, std::span<const double> norms, Redistribution rule,
                                       CountOf what = CountOf::points) {
  check<ShapeError>(counts.size() == norms.size(), "redistribute", "got ", counts.size(), " counts and ", norms.size(),
                    " gradient norms");
  Index total = 0;
  double norm = 0;
  for (std::size_t t = 0; t < counts.size(); ++t) {
    check(counts[t] >= 1, "redistribute", "got a count of ", counts[t], ", expected at least 1");
    check(norms[t] >= 0 && std::isfinite(norms[t]), "redistribute", "got a gradient norm of ", norms[t]);
    total += counts[t], norm += norms[t];
  }
  if (rule == Redistribution::none || norm == 0) return counts;
  Index given = 0;
  std::vector<double> fractions;
  if (rule == Redistribution::authors) {
    for (Index& n : counts) given += n = what == CountOf::bits ? n - 1 : n / 2;
    const auto rest = static_cast<double>(total - given);
    given = 0;
    for (std::size_t t = 0; t < counts.size(); ++t)
      given += counts[t] += static_cast<Index>(std::nearbyint(rest * norms[t] / norm));
    if (given < total) *std::min_element(counts.begin(), counts.end()) += total - given, given = total;
  } else {
    for (std::size_t t = 0; t < counts.size(); ++t) {
      const double share = static_cast<double>(total) * norms[t] / norm;
      given += counts[t] = static_cast<Index>(share);
      fractions.push_back(share - std::floor(share));
    }
    for (; given < total; ++given) {
      const auto largest = std::max_element(fractions.begin(), fractions.end());
      ++counts[static_cast<std::size_t>(largest - fractions.begin())];
      *largest = -1;
    }
  }
  for (Index& n : counts)
    if (n < 1) given += 1 - n, n = 1;
  while (given > total) {  // more than once only where the largest cannot bear it alone
    Index& most = *std::max_element(counts.begin(), counts.end());
    const Index taken = std::min(given - total, most - 1);
    most -= taken, given -= taken;
  }
  return counts;
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
