/// The study: gradient descent on a bowl over two weights whose quantization grid can be drawn, and on a small network.
///
///   projected gradient      w <- Q(w - lr g), g the gradient at w: a step below half a grid step is lost, each time
///   quantized distillation  w <- w - lr g, g the gradient at Q(w): small steps add up until Q(w) switches
#pragma once

#include <array>
#include <string>
#include <vector>

#include "qdistill/core/error.hpp"
#include "qdistill/train/json.hpp"
#include "qdistill/train/progress.hpp"
#include "qdistill/train/table.hpp"

namespace projected_gradient {

using namespace qdistill;

enum class Method { unquantized, accumulated, projected };
inline constexpr std::array methods{Method::unquantized, Method::accumulated, Method::projected};
std::string name(Method m);

using Point = std::array<double, 2>;

/// loss(w) = (w - centre)^T A (w - centre) / 2, A with the curvatures `steep` along the direction `angle` and `flat`
/// across it. The weights lie on the grid of 2^bits levels from -1 to 1.
struct Bowl {
  Point centre = {0.44, -0.42};
  double steep = 1.2, flat = 0.3, angle = 0.3;  ///< radians
  int bits = 3;

  std::array<double, 4> matrix() const;
  double loss(const Point& w) const;
  double level(Index i) const { return -1 + 2 * static_cast<double>(i) / static_cast<double>(levels() - 1); }
  Index levels() const { return Index{1} << bits; }
  Point best_grid_point() const;
};

/// One descent, through nn::Parameter, autograd and SGD.
struct Descent {
  Method method = Method::unquantized;
  std::vector<Point> stored;  ///< w before each step and after the last; projected: before the projection
  std::vector<Point> used;    ///< the weights that the gradient was taken at; their last is what the descent gives
  std::vector<double> loss;   ///< there

  Index moves() const;      ///< steps that changed `used`
  Index last_move() const;  ///< number of the last such step; 0: none
};
Descent descend(const Bowl& bowl, Method method, const Point& start, double lr, Index steps);

/// Many random starts at one learning rate.
struct Sweep {
  double lr = 0;
  std::array<double, 3> excess = {};   ///< mean loss above that of the best grid point, by method
  std::array<double, 3> at_best = {};  ///< share of starts that end on the best grid point (unquantized: none)
  double never_moved = 0;              ///< share of starts where projected gradient made no move at all
};
std::vector<Sweep> sweep(const Bowl& bowl, const std::vector<double>& rates, Index starts, Index steps,
                         std::uint64_t seed);

/// A network on generated digits, trained on the labels; bits 0: unquantized.
struct Training {
  Method method = Method::unquantized;
  int bits = 0;
  std::vector<double> accuracy;  ///< on the training images, over each epoch, with the weights that were trained on
  double test_accuracy = 0;
  double switched = 0;  ///< share of the weights whose level in the end is not that of the start
  double seconds = 0;

  std::string name() const;
};
std::vector<Training> train_networks(const std::vector<int>& bits, Index epochs, std::uint64_t seed,
                                     train::ProgressSink& progress);

struct Results {
  Bowl bowl = {};
  double lr = 0.25;
  Point start = {-0.90, 0.75};
  std::vector<Descent> descents;  ///< one for each method
  std::vector<Sweep> sweeps;
  std::vector<Training> trainings;
};

train::Table sweep_table(const Results& results);
train::Table training_table(const Results& results);
/// The bowl with the paths on it.
std::string bowl_svg(const Results& results);
std::string report_html(const Results& results, const train::Json& manifest);

}  // namespace projected_gradient
