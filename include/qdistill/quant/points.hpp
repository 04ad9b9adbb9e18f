/// Learned points as a parametrization: differentiable quantization (Polino, Pascanu, Alistarh 2018, section 4).
///
///   stored     "points": p_0 <= ... <= p_{m-1} in scaled space, trained, optimizer group "points"; w, constant
///   effective  alpha p_c + beta, c the nearest point of (w - beta) / alpha, anew in each step; alpha, beta of w's
///              buckets (kernels/cpu/points.hpp has the formulas)
///   backward   dL/dp_j = sum of alpha dL/dq over the weights of point j: exact where no weight lies half way
///   refresh    sorts the points; an optimizer's momentum stays where it was, as in the authors' code
///
/// The weights' scales are computed once and kept. Nothing holds the points in [0, 1].
#pragma once

#include <algorithm>

#include "qdistill/kernels/cpu/points.hpp"
#include "qdistill/nn/parameter.hpp"
#include "qdistill/quant/values.hpp"

namespace qdistill::inline QDISTILL_ABI::quant {

/// Where points start.
///   quantiles  percentiles 0 ... 100 of the scaled weights in equal steps, linear interpolation; the smallest and the
///              largest weight are points, whose shares are about half of the others'
///   uniform    j / (m - 1)
/// A single point starts in the middle of either.
enum class PointStart { quantiles, uniform };

struct Points {
  int bits = 4;             ///< 1 to 16: 2^bits points
  Index count = 0;          ///< number of points, 1 to 65536, instead of 2^bits; 0: not. May exceed the weights'
  Index bucket_size = 256;  ///< 0: no buckets
  PointStart start = PointStart::quantiles;
  bool train_weights = false;  ///< pass the gradient straight through to the weights too, a surrogate

  /// m, per tensor.
  Index points() const noexcept { return count > 0 ? count : Index{1} << bits; }
  /// Throws ValueError for settings that make no sense.
  void validate() const {
    check(bits >= 1 && bits <= 16, "quant::Points", "got ", bits, " bits, expected 1 to 16");
    check(count >= 0 && count <= 65536, "quant::Points", "got a count of ", count,
          ", expected 1 to 65536 points, or 0 for 2^bits");
    check(bucket_size >= 0, "quant::Points", "got bucket_size ", bucket_size, ", expected 0 (no buckets) or more");
  }
  std::string description() const {
    std::string out = text(points(), points() == 1 ? " point" : " points");
    out += bucket_size ? text(", bucket ", bucket_size) : std::string(", no buckets");
    if (start == PointStart::uniform) out += ", uniform start";
    if (train_weights) out += ", weights trained";
    return out;
  }
  template <class T>
  std::shared_ptr<nn::Parametrization<T>> make(const nn::Parameter<T>& parameter) const;
};

/// m points for the scaled weights z, ascending. Without weights they start uniform.
template <class T>
std::vector<T> initial_points(std::span<const T> z, Index m, PointStart start) {
  std::vector<T> sorted, points;
  if (start == PointStart::quantiles) sorted.assign(z.begin(), z.end());
  std::sort(sorted.begin(), sorted.end());
  for (Index j = 0; j < m; ++j) {
    const double share = m > 1 ? static_cast<double>(j) / static_cast<double>(m - 1) : 0.5;
    if (sorted.empty()) {
      points.push_back(static_cast<T>(share));
      continue;
    }
    const double place = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place), above = std::min(below + 1, sorted.size() - 1);
    const double lo = static_cast<double>(sorted[below]), hi = static_cast<double>(sorted[above]);
    points.push_back(static_cast<T>(lo + (place - static_cast<double>(below)) * (hi - lo)));
  }
  return points;
}

/// See the head of this file.
template <class T>
class PointsParametrization final : public nn::Parametrization<T> {
 public:
  /// Throws ValueError for bad settings, weights that are not finite, or a bucket whose range no T holds.
  PointsParametrization(const Points& settings, const Tensor<T>& w) : settings_(settings) {
    settings_.validate();
    stored_[0] = {"", settings_.train_weights ? w : w.detach(), settings_.train_weights, ""};
    const Index buckets = bucket_count(w.numel(), settings_.bucket_size);
    z_ = Tensor<T>::empty(w.shape(), w.device());
    alpha_ = Tensor<T>::empty({buckets}, w.device()), beta_ = Tensor<T>::empty({buckets}, w.device());
    rescale();
    check_finite(w.span(), w.shape());
    check_finite(std::as_const(alpha_).span(), w.shape());
    const std::vector<T> points = initial_points<T>(std::as_const(z_).span(), settings_.points(), settings_.start);
    stored_[1] = {"points", requires_grad(Tensor<T>::from(std::span<const T>(points), {settings_.points()})), true,
                  "points"};
  }
  void refresh() override {
    if (stored_[0].tensor.version() != scaled_) rescale();
    Tensor<T>& points = stored_[1].tensor;
    if (points.version() == sorted_) return;
    if (!std::is_sorted(points.span().begin(), points.span().end(), ascending)) {
      std::sort(points.span().begin(), points.span().end(), ascending);
      points.mark_changed();
    }
    sorted_ = points.version();
  }
  Tensor<T> effective(nn::Phase) override {
    refresh();
    const Tensor<T>&w = stored_[0].tensor, &points = stored_[1].tensor;
    kernels::PointsInput<T> in;
    in.n = w.numel(), in.bucket_size = settings_.bucket_size, in.points = points.span();
    in.z = z_.data(), in.alpha = alpha_.data(), in.beta = beta_.data();
    Tensor<T> q = Tensor<T>::empty(w.shape(), w.device());
    on_device(w.device(), [&](auto dev) { kernels::points_quantize(dev, in, q.data(), nullptr); });
    // The tensors that `in` points to are saved with it.
    const auto to_points = [in, z = save(z_), alpha = save(alpha_), p = save(points)](const Tensor<T>& dq,
                                                                                      GradientSlot<T>& dp) {
      z.get(), alpha.get(), p.get();
      on_device(dq.device(), [&](auto dev) { kernels::points_gradient(dev, in, dq.data(), dp.data(), dp.mode()); });
    };
    if (!settings_.train_weights)
      return record("quantize_points", q, inputs(points),
                    [to_points](const Tensor<T>& dq, Gradients<T>& dx) { to_points(dq, dx[0]); });
    return record("quantize_points", q, inputs(points, w), [to_points](const Tensor<T>& dq, Gradients<T>& dx) {
      to_points(dq, dx[0]);
      dx[1].accumulate(dq);
    });
  }
  std::span<const nn::StoredTensor<T>> stored() const override { return stored_; }
  Encoding encode() const override {
    const Tensor<T>& w = stored_[0].tensor;
    const Tensor<float> values = detail::finite_floats("quant::Points", w);
    const Index n = w.numel(), buckets = bucket_count(n, settings_.bucket_size);
    TableEncoding e;
    e.bucket_size = settings_.bucket_size, e.points.reserve(static_cast<std::size_t>(stored_[1].tensor.numel()));
    for (const T p : stored_[1].tensor.span()) e.points.push_back(static_cast<float>(p));
    std::sort(e.points.begin(), e.points.end());
    e.codes.resize(static_cast<std::size_t>(n));
    e.scale.resize(static_cast<std::size_t>(buckets)), e.offset.resize(e.scale.size());
    std::vector<float> z(e.codes.size());
    kernels::scale_buckets(Cpu{}, n, values.data(), e.bucket_size, e.scale.data(), e.offset.data(), z.data());
    kernels::PointsInput<float> in;
    in.n = n, in.bucket_size = e.bucket_size, in.points = e.points;
    in.z = z.data(), in.alpha = e.scale.data(), in.beta = e.offset.data();
    kernels::points_quantize<float>(Cpu{}, in, nullptr, e.codes.data());
    return {{w.shape().begin(), w.shape().end()}, std::move(e)};
  }
  bool exact_gradient() const noexcept override { return !settings_.train_weights; }
  std::string description() const override { return settings_.description(); }
  const Points& settings() const noexcept { return settings_; }

 private:
  /// An order in which NaN, which a diverged run may bring, comes last.
  static bool ascending(T a, T b) noexcept { return a < b || (b != b && a == a); }
  static void check_finite(std::span<const T> values, const Shape& shape) {
    for (const T v : values)
      check(std::isfinite(v), "quant::Points",
            "got a weight, or a range of weights, that is not finite in a tensor of shape ", shape);
  }
  void rescale() {
    const Tensor<T>& w = stored_[0].tensor;
    on_device(w.device(), [&](auto dev) {
      kernels::scale_buckets(dev, w.numel(), w.data(), settings_.bucket_size, alpha_.data(), beta_.data(), z_.data());
    });
    z_.mark_changed(), alpha_.mark_changed();
    scaled_ = w.version();
  }
  Points settings_;
  nn::StoredTensor<T> stored_[2];
  Tensor<T> z_, alpha_, beta_;  // of the weights in the version scaled_
  std::uint64_t scaled_ = 0, sorted_ = ~std::uint64_t{0};
};

template <class T>
std::shared_ptr<nn::Parametrization<T>> Points::make(const nn::Parameter<T>& parameter) const {
  return std::make_shared<PointsParametrization<T>>(*this, parameter.data());
}

}  // namespace qdistill::inline QDISTILL_ABI::quant
