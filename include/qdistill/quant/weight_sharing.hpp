/// Weight sharing by k-means (Han, Mao, Dally 2016, Deep Compression, section 3).
///
///   stored     "codewords": 2^bits values, trained by the main optimizer; "codes": each weight's codeword, fixed;
///              w, not trained and not used any more
///   effective  codewords[codes]
///   backward   dL/dcodeword = sum of dL/dq over its weights: exact (equation 3)
///
/// Codewords start equally spaced between min w and max w (the paper's linear initialisation), then k-means: nearest
/// codeword, half way the larger one; then the mean of its weights, until nothing changes or 300 times; a codeword
/// without weights stays where it is.
#pragma once

#include <algorithm>

#include "qdistill/core/memory.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

struct WeightSharing {
  int bits = 4;  ///< 1 to 8

  void validate() const {
    check(bits >= 1 && bits <= 8, "quant::WeightSharing", "got ", bits, " bits, expected 1 to 8");
  }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// k-means in one dimension as above: the codewords of `values`, ascending.
template <class T>
std::vector<T> share_weights(std::vector<T> values, Index codewords) {
  std::vector<T> centers(static_cast<std::size_t>(codewords), T(0));
  if (values.empty()) return centers;
  std::sort(values.begin(), values.end());
  std::vector<double> sums(values.size() + 1, 0.0);
  for (std::size_t i = 0; i < values.size(); ++i) sums[i + 1] = sums[i] + static_cast<double>(values[i]);
  const T lo = values.front(), range = values.back() - lo;
  for (Index j = 0; j < codewords; ++j)
    centers[j] = codewords > 1 ? lo + range * static_cast<T>(j) / static_cast<T>(codewords - 1) : lo;
  std::vector<std::size_t> ends(centers.size(), 0), before;
  for (int iteration = 0; iteration < 300 && ends != before; ++iteration) {
    before = ends;
    for (std::size_t j = 0; j < centers.size(); ++j)
      ends[j] =
          j + 1 < centers.size()
              ? static_cast<std::size_t>(
                    std::lower_bound(values.begin(), values.end(), (centers[j] + centers[j + 1]) / 2) - values.begin())
              : values.size();
    for (std::size_t j = 0, begin = 0; j < centers.size(); begin = ends[j++])
      if (ends[j] > begin)
        centers[j] = static_cast<T>((sums[ends[j]] - sums[begin]) / static_cast<double>(ends[j] - begin));
  }
  return centers;
}

/// See the head of this file.
template <class T>
class WeightSharingParametrization final : public nn::Parametrization<T> {
 public:
  /// Throws ValueError for bad settings or weights that are not finite.
  WeightSharingParametrization(const WeightSharing& settings, Tensor<T> w) : settings_(settings) {
    settings_.validate();
    detail::check_finite("quant::WeightSharing", std::as_const(w));
    const std::vector<T> centers = share_weights(w.to_vector(), Index{1} << settings_.bits);
    Tensor<T> codes = Tensor<T>::empty(w.shape(), w.device());
    for (Index i = 0; i < w.numel(); ++i) {
      Index code = 0;
      for (Index j = static_cast<Index>(centers.size()) / 2; j > 0; j /= 2)  // 2^bits of them
        if (std::as_const(w).data()[i] >= (centers[code + j - 1] + centers[code + j]) / 2) code += j;
      codes.data()[i] = static_cast<T>(code);
    }
    stored_[0] = {"", std::move(w), false, ""};
    stored_[1] = {"codewords", requires_grad(Tensor<T>::from(centers, {static_cast<Index>(centers.size())})), true, ""};
    stored_[2] = {"codes", std::move(codes), false, ""};
  }
  /// Throws ValueError for codes, loaded from elsewhere, that no codeword has.
  void refresh() override {
    const Tensor<T>& codes = stored_[2].tensor;
    if (codes.version() == checked_) return;
    for (const T c : codes.span())
      check(c >= T(0) && c < static_cast<T>(size()) && c == std::floor(c), "quant::WeightSharing", "got code ", c,
            ", expected a whole number below ", size());
    checked_ = codes.version();
  }
  Tensor<T> effective(nn::Phase) override {
    const Tensor<T>&words = stored_[1].tensor, &codes = stored_[2].tensor;
    Tensor<T> q = Tensor<T>::empty(codes.shape(), codes.device());
    const T *const word = words.data(), *const code = codes.data();
    T* const to = q.data();
    parallel_for(q.numel(), memory_grain, [=](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) to[i] = word[static_cast<Index>(code[i])];
    });
    return record("weight_sharing", q, inputs(words),
                  [codes = save(codes), k = size()](const Tensor<T>& dq, Gradients<T>& dx) {
                    const Index n = dq.numel(), parts = (n + memory_grain - 1) / memory_grain;
                    Tensor<double> sums = Tensor<double>::zeros({parts, k});
                    const T *const c = codes.data(), *const g = dq.data();
                    double* const sum = sums.data();
                    parallel_for(n, memory_grain, [=](Index begin, Index end) {
                      double* const own = sum + begin / memory_grain * k;
                      for (Index i = begin; i < end; ++i) own[static_cast<Index>(c[i])] += static_cast<double>(g[i]);
                    });
                    T* const out = dx[0].data();
                    const bool add = dx[0].mode() == Write::add;
                    for (Index j = 0; j < k; ++j) {
                      double total = 0;
                      for (Index p = 0; p < parts; ++p) total += sum[p * k + j];
                      out[j] = (add ? out[j] : T(0)) + static_cast<T>(total);
                    }
                  });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    TableEncoding e;
    for (const T c : stored_[2].tensor.span()) e.codes.push_back(static_cast<std::uint16_t>(c));
    for (const T v : stored_[1].tensor.span()) e.points.push_back(static_cast<float>(v));
    const Shape& shape = stored_[2].tensor.shape();
    return {{shape.begin(), shape.end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return true; }
  std::string description() const override { return text("weight sharing, ", size(), " codewords"); }

 private:
  Index size() const noexcept { return Index{1} << settings_.bits; }
  WeightSharing settings_;
  nn::StoredTensor<T> stored_[3];
  std::uint64_t checked_ = ~std::uint64_t{0};
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> WeightSharing::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<WeightSharingParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
