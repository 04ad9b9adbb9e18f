/// A codebook for the blocks of a weight that keeps the output of its layer (Stock et al. 2020, sections 3.1 and 3.2).
///
///   minimise ||A (W - W_hat)||_F       over codewords and codes; a column of W is a block of d weights, a row of A
///                                      holds the d inputs of the layer that meet it
///   E  block j <- argmin over c of ||A (w_j - c)||_2                                        (exhaustive)
///   M  c <- pinv(A) mean over its blocks of A w_j, i.e. their mean, projected on the row space of A
///
/// A enters by its d x d Gram matrix alone, A^T A = sum of lambda_i v_i v_i^T: the E-step is an ordinary search after
/// the linear map with rows sqrt(lambda_i) v_i, and the projection is the sum of v_i v_i^T over lambda_i > 0. So inputs
/// are kept as one small matrix per iteration, however many there are (quant/layer_inputs.hpp). Without inputs A is the
/// identity and this is the ordinary k-means.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "qdistill/core/random.hpp"
#include "qdistill/kernels/cpu/kmeans.hpp"
#include "qdistill/kernels/cpu/symmetric_eigen.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// What a layer's inputs are to its codebook.
struct InputGrams {
  Index block_size = 0;       ///< d
  std::vector<double> each;   ///< (count, d, d): A^T A of iteration t is number t % count
  std::vector<double> fixed;  ///< (d, d): of 128 rows, for the objective; empty: the first of `each` is used

  Index count() const noexcept { return static_cast<Index>(each.size()) / std::max<Index>(1, block_size * block_size); }
};

template <class T>
struct Codebook {
  Index block_size = 0;
  std::vector<T> codewords = {};          ///< (k, d)
  std::vector<std::uint16_t> codes = {};  ///< one per block, in the order of the weight's elements
  std::vector<double> objective = {};     ///< after each iteration: ||A (W_hat - W)||_F / sqrt(rows * blocks)
  Index unused = 0;                       ///< codewords that no block has

  Index count() const noexcept { return static_cast<Index>(codewords.size()) / std::max<Index>(1, block_size); }
};

namespace detail {

/// The map and the projection of a Gram matrix (lower triangle). A matrix of zeros (inputs that are all zero) gives
/// the identity.
template <class T>
struct BlockMap {
  Index rank = 0;
  std::vector<T> rows;        ///< (rank, d): sqrt(lambda_i) v_i
  std::vector<T> projection;  ///< (d, d), empty where rank = d

  BlockMap(const double* gram, Index d) {
    const auto n = static_cast<std::size_t>(d * d);
    std::vector<double> a(n), values(static_cast<std::size_t>(d)), v(n);
    double largest = 0;
    for (Index i = 0; i < d; ++i)
      for (Index j = 0; j < d; ++j) a[static_cast<std::size_t>(i * d + j)] = gram[i >= j ? i * d + j : j * d + i];
    kernels::symmetric_eigen(Cpu{}, d, a.data(), values.data(), v.data());
    for (const double lambda : values) largest = lambda > largest ? lambda : largest;
    if (!(largest > 0)) {
      for (Index i = 0; i < d * d; ++i) v[static_cast<std::size_t>(i)] = i / d == i % d ? 1 : 0;
      values.assign(values.size(), 1), largest = 1;
    }
    std::vector<double> p(n);
    for (Index i = 0; i < d; ++i) {
      const double lambda = values[static_cast<std::size_t>(i)];
      if (!(lambda > largest * static_cast<double>(d) * 1e-15)) continue;  // rounding of a zero
      ++rank;
      const double* const row = v.data() + i * d;
      for (Index j = 0; j < d; ++j) rows.push_back(static_cast<T>(std::sqrt(lambda) * row[j]));
      for (Index j = 0; j < d * d; ++j) p[static_cast<std::size_t>(j)] += row[j / d] * row[j % d];
    }
    if (rank < d) projection.assign(p.begin(), p.end());
  }
};

/// The state of the iteration.
template <class T>
class CodebookSearch {
 public:
  CodebookSearch(std::span<const T> w, Index d, Codebook<T>& book, RandomStream stream)
      : w_(w.data()),
        n_(static_cast<Index>(w.size()) / d),
        d_(d),
        k_(book.count()),
        book_(book),
        stream_(stream),
        center_(static_cast<std::size_t>(d)),
        lanes_(Tensor<T>::empty({kernels::lane_elements(n_, d)})),
        sums_(static_cast<std::size_t>(k_ * d)),
        counts_(static_cast<std::size_t>(k_)) {
    // Distances are those of blocks and codewords minus the mean block: smaller numbers lose fewer bits.
    const std::vector<std::uint16_t> all(static_cast<std::size_t>(n_), 0);
    std::vector<double> sum(static_cast<std::size_t>(d));
    Index count = 0;
    kernels::cluster_sums(Cpu{}, n_, d_, w_, all.data(), 1, sum.data(), &count);
    for (std::size_t j = 0; j < sum.size(); ++j) center_[j] = static_cast<T>(sum[j] / static_cast<double>(n_));
  }

  /// E-step under `map`; then every empty cluster takes a part of the largest one.
  void assign(const BlockMap<T>& map) {
    const T* const rows = map.rows.data();
    kernels::blocks_to_lanes(Cpu{}, n_, d_, map.rank, w_, center_.data(), rows, lanes_.data());
    mapped_.resize(static_cast<std::size_t>(k_ * map.rank)), half_norms_.resize(static_cast<std::size_t>(k_));
    for (Index c = 0; c < k_; ++c) {
      double norm = 0;
      for (Index i = 0; i < map.rank; ++i) {
        double y = 0;
        for (Index j = 0; j < d_; ++j)
          y += static_cast<double>(rows[i * d_ + j]) *
               (static_cast<double>(book_.codewords[static_cast<std::size_t>(c * d_ + j)]) -
                static_cast<double>(center_[static_cast<std::size_t>(j)]));
        mapped_[static_cast<std::size_t>(c * map.rank + i)] = static_cast<T>(y);
        norm += y * y;
      }
      half_norms_[static_cast<std::size_t>(c)] = static_cast<T>(norm / 2);
    }
    kernels::nearest_codewords(Cpu{}, n_, map.rank, lanes_.data(), k_, mapped_.data(), half_norms_.data(),
                               book_.codes.data());
    std::fill(counts_.begin(), counts_.end(), Index{0});
    for (const auto code : book_.codes) ++counts_[code];
    fill_empty(map.rank);
  }

  /// M-step. A codeword without blocks stays where it is.
  void move(const BlockMap<T>& map) {
    kernels::cluster_sums(Cpu{}, n_, d_, w_, book_.codes.data(), k_, sums_.data(), counts_.data());
    std::vector<double> mean(static_cast<std::size_t>(d_));
    for (Index c = 0; c < k_; ++c) {
      const Index count = counts_[static_cast<std::size_t>(c)];
      if (count == 0) continue;
      T* const word = book_.codewords.data() + c * d_;
      for (Index j = 0; j < d_; ++j)
        mean[static_cast<std::size_t>(j)] = sums_[static_cast<std::size_t>(c * d_ + j)] / static_cast<double>(count);
      for (Index i = 0; i < d_; ++i) {
        double v = map.projection.empty() ? mean[static_cast<std::size_t>(i)] : 0;
        for (Index j = 0; j < d_ && !map.projection.empty(); ++j)
          v += static_cast<double>(map.projection[static_cast<std::size_t>(i * d_ + j)]) *
               mean[static_cast<std::size_t>(j)];
        word[i] = static_cast<T>(v);
      }
    }
  }

  double error(const BlockMap<T>& map) const {
    return kernels::codeword_error(Cpu{}, n_, d_, map.rank, w_, book_.codes.data(), book_.codewords.data(),
                                   map.rows.data());
  }
  Index unused() const { return static_cast<Index>(std::count(counts_.begin(), counts_.end(), Index{0})); }

 private:
  /// The paper's cure: the codeword c of the most populated cluster becomes c - e and an empty one c + e, e normal with
  /// standard deviation 1e-8, and the E-step is done again. Its result for so small an e is computed directly: only
  /// blocks of that cluster change, and w goes to c + e where <M (w - c), M e> > 0. A draw that leaves one side empty
  /// is repeated; a cluster that several draws did not divide (equal blocks) is left alone. Codewords stay unused
  /// where no cluster can be divided.
  void fill_empty(Index rank) {
    constexpr int draws = 8;
    std::vector<char> whole(static_cast<std::size_t>(k_), 0);
    std::vector<Index> members;
    std::vector<double> direction(static_cast<std::size_t>(rank));
    for (Index empty = 0; empty < k_; ++empty) {
      while (counts_[static_cast<std::size_t>(empty)] == 0) {
        Index largest = -1;
        for (Index c = 0; c < k_; ++c) {
          const auto i = static_cast<std::size_t>(c);
          if (!whole[i] && counts_[i] > 1 && (largest < 0 || counts_[i] > counts_[static_cast<std::size_t>(largest)]))
            largest = c;
        }
        if (largest < 0) return;
        members.clear();
        for (Index i = 0; i < n_; ++i)
          if (book_.codes[static_cast<std::size_t>(i)] == largest) members.push_back(i);
        Index moved = 0;
        for (int draw = 0; draw < draws && moved == 0; ++draw) {
          for (double& v : direction) v = stream_.normal(normals_++);
          moved = divide(largest, empty, rank, members, direction);
        }
        if (moved == 0) whole[static_cast<std::size_t>(largest)] = 1;
      }
    }
  }
  /// Moves the members of cluster `from` on the positive side of `direction` to `to`, if that leaves some on both
  /// sides; returns how many moved. `direction` stands for M e: it is drawn where the mapped blocks are.
  Index divide(Index from, Index to, Index rank, const std::vector<Index>& members,
               const std::vector<double>& direction) {
    constexpr Index width = kernels::block_lanes;
    const T* const word = mapped_.data() + from * rank;
    const auto side = [&](Index i) {
      const T* const x = std::as_const(lanes_).data() + i / width * rank * width + i % width;
      double s = 0;
      for (Index j = 0; j < rank; ++j)
        s +=
            direction[static_cast<std::size_t>(j)] * (static_cast<double>(x[j * width]) - static_cast<double>(word[j]));
      return s > 0;
    };
    const auto moved = static_cast<Index>(std::count_if(members.begin(), members.end(), side));
    if (moved == 0 || moved == static_cast<Index>(members.size())) return 0;
    for (const Index i : members)
      if (side(i)) book_.codes[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(to);
    counts_[static_cast<std::size_t>(from)] -= moved, counts_[static_cast<std::size_t>(to)] += moved;
    return moved;
  }

  const T* w_;
  Index n_, d_, k_;
  Codebook<T>& book_;
  RandomStream stream_;
  std::uint64_t normals_ = 0;
  std::vector<T> center_, mapped_, half_norms_;
  Tensor<T> lanes_;
  std::vector<double> sums_;
  std::vector<Index> counts_;
};

}  // namespace detail

/// What a codebook is fitted with.
struct CodebookOptions {
  Index codewords = 256;   ///< k, at most the number of blocks and 65536
  Index iterations = 100;  ///< of E and M
};

/// Fits k codewords to the blocks of d consecutive elements of w, of which there are w.size() / d. Starts at `initial`
/// (k, d), or at k random blocks, drawn with replacement. The result depends on no number of threads. Throws ShapeError
/// or ValueError for sizes that do not fit, and for weights or inputs that are not finite.
template <class T>
Codebook<T> fit_codebook(std::span<const T> w, Index d, const CodebookOptions& options, const InputGrams& inputs,
                         RandomStream stream, std::span<const T> initial = {}) {
  const char* const op = "fit_codebook";
  const auto size = static_cast<Index>(w.size());
  const Index k = options.codewords, n = d > 0 ? size / d : 0;
  check<ShapeError>(d >= 1 && size % d == 0, op, "got ", size, " elements and blocks of ", d, ", expected a divisor");
  check(k >= 1 && k <= n && k <= 65536, op, "got ", k, " codewords for ", n, " blocks, expected 1 to ",
        n < 65536 ? n : 65536);
  check(options.iterations >= 1, op, "got ", options.iterations, " iterations, expected at least 1");
  check<ShapeError>(initial.empty() || static_cast<Index>(initial.size()) == k * d, op, "got ", initial.size(),
                    " numbers to start at, expected ", k, " codewords of ", d);
  for (const T v : w) check(std::isfinite(v), op, "got a weight that is not finite");
  const bool weighted = !inputs.each.empty();
  check<ShapeError>(!weighted || (inputs.block_size == d && static_cast<Index>(inputs.each.size()) % (d * d) == 0 &&
                                  (inputs.fixed.empty() || static_cast<Index>(inputs.fixed.size()) == d * d)),
                    op, "got inputs for blocks of ", inputs.block_size, " in ", inputs.each.size(), " and ",
                    inputs.fixed.size(), " numbers, expected matrices of ", d, " x ", d);
  for (const double v : inputs.each) check(std::isfinite(v), op, "got inputs that are not finite");

  Codebook<T> book{d, std::vector<T>(initial.begin(), initial.end()),
                   std::vector<std::uint16_t>(static_cast<std::size_t>(n))};
  if (initial.empty()) {
    book.codewords.resize(static_cast<std::size_t>(k * d));
    for (Index c = 0; c < k; ++c) {
      const Index block = stream.below(static_cast<std::uint64_t>(c), static_cast<std::uint32_t>(n));
      std::copy_n(w.data() + block * d, d, book.codewords.data() + c * d);
    }
  }
  const std::vector<double> identity(static_cast<std::size_t>(d * d), 0.0);
  const std::vector<double>& each = weighted ? inputs.each : identity;
  const detail::BlockMap<T> judge(!weighted || inputs.fixed.empty() ? each.data() : inputs.fixed.data(), d);
  detail::BlockMap<T> map(each.data(), d);
  const Index count = static_cast<Index>(each.size()) / (d * d);
  const double rows = weighted ? 128 : 1;  // of the fixed sample, even if it had fewer
  detail::CodebookSearch<T> search(w, d, book, stream);
  std::vector<std::uint16_t> before;
  for (Index t = 0; t < options.iterations; ++t) {
    if (t > 0 && count > 1) map = detail::BlockMap<T>(each.data() + t % count * d * d, d);
    search.assign(map);
    const bool settled = count == 1 && book.codes == before;
    if (!settled) {  // else every later iteration would change nothing
      before = book.codes;
      search.move(map);
      book.objective.push_back(std::sqrt(search.error(judge) / (rows * static_cast<double>(n))));
      continue;
    }
    book.objective.resize(static_cast<std::size_t>(options.iterations), book.objective.back());
    break;
  }
  book.unused = search.unused();
  return book;
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
