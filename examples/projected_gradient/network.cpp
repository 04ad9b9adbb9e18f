/// Trainings of a small network.
#include "../common/thin_student.hpp"
#include "qdistill/data/digits.hpp"
#include "qdistill/distill/fit.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/projected.hpp"
#include "study.hpp"

namespace projected_gradient {

namespace {

/// The level of each quantized weight.
std::vector<std::uint16_t> levels(const nn::Module<float>& net) {
  std::vector<std::uint16_t> out;
  for (const auto& [name, p] : net.named_parameters()) {
    const Encoding e = p->encode();
    const auto& codes = std::get<UniformEncoding>(e.data).codes;
    out.insert(out.end(), codes.begin(), codes.end());
  }
  return out;
}

}  // namespace

std::string Training::name() const {
  return bits == 0 ? projected_gradient::name(method) : text(projected_gradient::name(method), ", ", bits, " bits");
}

std::vector<Training> train_networks(const std::vector<int>& bits, Index epochs, std::uint64_t seed,
                                     train::ProgressSink& progress) {
  const data::ImageSet images = data::make_digits({.count = 2500, .seed = 1, .difficulty = 0.2});
  const data::ImageSet held_out =
      data::make_digits({.count = 1000, .seed = 1, .split = data::Split::test, .difficulty = 0.2});
  std::vector<Training> out;
  const auto one = [&](Method method, int b) {
    data::DataLoader loader(images, {.batch_size = 50, .shuffle = true, .drop_last = true, .seed = seed});
    data::DataLoader test(held_out, {.batch_size = 200});
    manual_seed(seed);  // the same start for all
    models::PolinoCnn<float> net(examples::thin_student());
    const quant::Uniform grid{.bits = b, .bucket_size = 256};
    if (method == Method::accumulated) quant::attach(net, grid);
    if (method == Method::projected) quant::attach(net, quant::Projected{grid});
    Training t;
    t.method = method, t.bits = b;
    const auto before = b > 0 ? levels(net) : std::vector<std::uint16_t>{};
    distill::Options options;
    options.sgd = {.lr = 0.02, .momentum = 0.9, .nesterov = true};
    options.fit.stage = t.name(), options.fit.epochs = epochs, options.fit.keep_best = false;
    options.fit.progress = &progress;
    const auto fitted = distill::fit(net, loader, test, options);
    for (const auto& e : fitted.history) t.accuracy.push_back(e.train_accuracy);
    t.test_accuracy = fitted.history.back().validation_accuracy, t.seconds = fitted.seconds;
    if (b > 0) {
      const auto after = levels(net);
      double changed = 0;
      for (std::size_t i = 0; i < after.size(); ++i) changed += after[i] != before[i];
      t.switched = changed / static_cast<double>(after.size());
    }
    out.push_back(std::move(t));
  };
  one(Method::unquantized, 0);
  for (const int b : bits) {
    one(Method::accumulated, b);
    one(Method::projected, b);
  }
  return out;
}

}  // namespace projected_gradient
