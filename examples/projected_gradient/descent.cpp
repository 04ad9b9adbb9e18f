/// Descents on the bowl.
#include <cmath>

#include "qdistill/nn/parameter.hpp"
#include "qdistill/ops/arithmetic.hpp"
#include "qdistill/ops/matmul.hpp"
#include "qdistill/ops/reduce.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/projected.hpp"
#include "study.hpp"

namespace projected_gradient {

std::string name(Method m) {
  return m == Method::unquantized ? "unquantized" : m == Method::accumulated ? "accumulated" : "projected";
}

std::array<double, 4> Bowl::matrix() const {
  const double c = std::cos(angle), s = std::sin(angle);
  const double off = (steep - flat) * c * s;
  return {steep * c * c + flat * s * s, off, off, steep * s * s + flat * c * c};
}

double Bowl::loss(const Point& w) const {
  const auto a = matrix();
  const double x = w[0] - centre[0], y = w[1] - centre[1];
  return (a[0] * x * x + 2 * a[1] * x * y + a[3] * y * y) / 2;
}

Point Bowl::best_grid_point() const {
  Point best{level(0), level(0)};
  for (Index i = 0; i < levels(); ++i)
    for (Index j = 0; j < levels(); ++j)
      if (const Point p{level(i), level(j)}; loss(p) < loss(best)) best = p;
  return best;
}

Index Descent::moves() const {
  Index n = 0;
  for (std::size_t i = 1; i < used.size(); ++i) n += used[i] != used[i - 1];
  return n;
}

Index Descent::last_move() const {
  std::size_t i = used.size() - 1;
  while (i > 0 && used[i] == used[i - 1]) --i;
  return static_cast<Index>(i);
}

Descent descend(const Bowl& bowl, Method method, const Point& start, double lr, Index steps) {
  // Two more weights at -1 and 1, which the loss does not see, hold the grid: the scale is that of the smallest and the
  // largest weight.
  const auto a = bowl.matrix();
  const auto f = [](double v) { return static_cast<float>(v); };
  nn::Parameter<float> w(Tensor<float>::from({f(start[0]), f(start[1]), -1, 1}, {1, 4}), nn::Kind::weight);
  const Tensor<float> centre = Tensor<float>::from({f(bowl.centre[0]), f(bowl.centre[1]), -1, 1}, {1, 4});
  const Tensor<float> matrix =
      Tensor<float>::from({f(a[0]), f(a[1]), 0, 0, f(a[2]), f(a[3]), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {4, 4});
  const quant::Uniform grid{.bits = bowl.bits, .bucket_size = 0};
  if (method == Method::accumulated) w.set_parametrization(grid.make(w));
  if (method == Method::projected) w.set_parametrization(quant::Projected{grid}.make(w));
  optim::SGD<float> sgd({w.data()}, {.lr = lr});

  Descent out;
  out.method = method;
  const auto point = [](const Tensor<float>& t) {
    return Point{static_cast<double>(t.data()[0]), static_cast<double>(t.data()[1])};
  };
  for (Index step = 0; step <= steps; ++step) {
    out.stored.push_back(point(w.data()));
    const Tensor<float> d = w.effective(nn::Phase::train) - centre;
    const Tensor<float> loss = 0.5 * sum(d * matmul(d, matrix));
    out.used.push_back(point(w.effective(nn::Phase::train)));
    out.loss.push_back(static_cast<double>(loss.item()));
    sgd.zero_grad();
    loss.backward();
    if (step < steps) sgd.step();
  }
  return out;
}

std::vector<Sweep> sweep(const Bowl& bowl, const std::vector<double>& rates, Index starts, Index steps,
                         std::uint64_t seed) {
  const Point best = bowl.best_grid_point();
  const auto distance = [&](const Point& p) { return std::hypot(p[0] - best[0], p[1] - best[1]); };
  const RandomStream stream{seed, 0};
  std::vector<Sweep> out;
  for (const double lr : rates) {
    Sweep s;
    s.lr = lr;
    const double share = 1 / static_cast<double>(starts);
    for (Index k = 0; k < starts; ++k) {
      const auto u = [&](Index i) {
        return 2 * static_cast<double>(stream.uniform(static_cast<std::uint64_t>(i))) - 1;
      };
      const Point start{u(2 * k), u(2 * k + 1)};
      for (std::size_t m = 0; m < methods.size(); ++m) {
        const Descent d = descend(bowl, methods[m], start, lr, steps);
        s.excess[m] += share * (bowl.loss(d.used.back()) - bowl.loss(best));
        if (distance(d.used.back()) < 1e-4) s.at_best[m] += share;
        if (methods[m] == Method::projected && d.moves() == 0) s.never_moved += share;
      }
    }
    out.push_back(s);
  }
  return out;
}

}  // namespace projected_gradient
