/// Sensitivity: what quantizing one tensor alone costs. Of each chosen tensor that carries a quantizer, loss and
/// accuracy with that tensor as it is stored and all others at full precision, beside those of the network with nothing
/// quantized and of the network as it is. Any quantizer, one pass over the images each.
///
///   const auto s = distill::sensitivity(student, validation, {.images = 1000});
///   std::fputs(distill::to_table(quant::layer_table(student), s).text().c_str(), stdout);  // distill/layer_report.hpp
#pragma once

#include <atomic>
#include <utility>
#include <vector>

#include "qdistill/quant/layer_table.hpp"
#include "qdistill/train/evaluate.hpp"
#include "qdistill/train/progress.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

struct SensitivityOptions {
  quant::Select select = quant::all_parameters();  ///< which of the tensors that carry a quantizer
  Index images = 1000;                             ///< of the loader's first epoch, at most; 0: all
  /// nn::state_dict of the unquantized network. Full precision then means its parameters and running statistics;
  /// without it, the weights that the quantizers keep, in the network as it is.
  std::vector<nn::StateEntry<float>> reference = {};
  const std::atomic<bool>* stop = nullptr;  ///< set by the program (Ctrl-C): ends after the batch
  train::ProgressSink* progress = nullptr;  ///< null: silent
};

struct TensorSensitivity {
  std::string name;
  train::Tally alone;  ///< with only this tensor quantized
};

struct Sensitivity {
  train::Tally full;                       ///< nothing quantized
  train::Tally quantized;                  ///< the network as it is
  std::vector<TensorSensitivity> tensors;  ///< in registration order
  bool interrupted = false;                ///< tensors may be missing, and tallies without images

  /// Rise of the mean loss against full precision.
  double loss_rise(const train::Tally& t) const noexcept { return t.loss() - full.loss(); }
  /// Fall of the accuracy against full precision, 0.01 for one percentage point.
  double accuracy_fall(const train::Tally& t) const noexcept { return full.accuracy() - t.accuracy(); }
  /// Null for a tensor that was not measured.
  const train::Tally* find(std::string_view name) const noexcept {
    for (const TensorSensitivity& t : tensors)
      if (t.name == name) return &t.alone;
    return nullptr;
  }
};

namespace detail {

/// A weight that stands still, in place of a quantizer.
class Constant final : public nn::Parametrization<float> {
 public:
  explicit Constant(Tensor<float> w) : w_(std::move(w)) {}
  Tensor<float> effective(nn::Phase) override { return w_; }
  std::span<const nn::StoredTensor<float>> stored() const override { return {}; }
  Encoding encode() const override { return nn::dense_encoding(w_); }
  bool exact_gradient() const noexcept override { return true; }
  std::string description() const override { return "constant"; }

 private:
  Tensor<float> w_;
};

/// Puts a network into evaluation mode. Gives each module its own mode back, which need not be its parent's, and the
/// default generator its place: a quantizer that projects when it comes back may draw numbers.
class InEvaluation {
 public:
  explicit InEvaluation(nn::Module<float>& model)
      : seed_(default_generator().seed()), counter_(default_generator().counter()) {
    collect(model);
    model.eval();
  }
  InEvaluation(const InEvaluation&) = delete;
  InEvaluation& operator=(const InEvaluation&) = delete;
  ~InEvaluation() {
    for (const auto& [module, training] : modes_) module->train(training);  // parents first
    default_generator().restore(seed_, counter_);
  }

 private:
  void collect(nn::Module<float>& module) {
    modes_.emplace_back(&module, module.training());
    for (const auto& child : module.children()) collect(*child.module);
  }
  std::vector<std::pair<nn::Module<float>*, bool>> modes_;
  std::uint64_t seed_, counter_;
};

/// A network at full precision as long as this lives. Stored tensors are not written: constants stand in for the
/// parametrizations, and the reference's buffers for the network's.
class AtFullPrecision {
 public:
  /// Throws ValueError or ShapeError for a reference that does not fit, or a weight that nobody knows.
  AtFullPrecision(nn::Module<float>& model, const std::vector<nn::StateEntry<float>>& reference) {
    const char* const op = "sensitivity";
    for (const auto& [name, p] : model.named_parameters()) {
      Tensor<float> w = reference.empty() ? quant::detail::full_precision(*p)
                                          : quant::detail::reference_of(op, reference, name, p->shape()).detach();
      check(w.defined(), op, "got no full-precision weight for '", name, "' of shape ", p->shape(), " (",
            p->parametrization() ? p->parametrization()->description() : std::string(),
            "), expected one. HINT: give nn::state_dict of the unquantized network as reference");
      parameters_.push_back({p, p->parametrization(), std::make_shared<Constant>(std::move(w))});
    }
    if (!reference.empty())
      for (const auto& b : model.named_buffers())
        if (b.values)
          buffers_.emplace_back(b.values, quant::detail::reference_of(op, reference, b.name, b.values->shape()));
    for (const Held& h : parameters_) h.parameter->set_parametrization(h.full);
    exchange_buffers();
  }
  AtFullPrecision(const AtFullPrecision&) = delete;
  AtFullPrecision& operator=(const AtFullPrecision&) = delete;
  ~AtFullPrecision() {
    const NoGrad no_grad;
    for (const Held& h : parameters_) {
      h.parameter->set_parametrization(h.own);
      try {
        h.parameter->effective(nn::Phase::eval);  // what is to be projected is, while InEvaluation keeps the generator
      } catch (...) {                             // the next forward says it
      }
    }
    exchange_buffers();
  }
  /// Quantizes one parameter as it was, or no more.
  void quantize(const nn::ParameterPtr<float>& parameter, bool on) const {
    for (const Held& h : parameters_)
      if (h.parameter == parameter) parameter->set_parametrization(on ? h.own : h.full);
  }

 private:
  struct Held {
    nn::ParameterPtr<float> parameter;
    std::shared_ptr<nn::Parametrization<float>> own, full;
  };
  void exchange_buffers() {
    for (auto& [buffer, held] : buffers_) std::swap(*buffer, held);
  }
  std::vector<Held> parameters_;
  std::vector<std::pair<std::shared_ptr<Tensor<float>>, Tensor<float>>> buffers_;
};

/// The first `most` images of a batch, or all.
inline data::Batch first_images(data::Batch batch, Index most) {
  if (batch.size <= most) return batch;
  const auto rows = static_cast<std::size_t>(most);
  batch.images = batch.images.first(rows * static_cast<std::size_t>(batch.shape.numel()));
  batch.labels = batch.labels.first(rows), batch.indices = batch.indices.first(rows);
  batch.size = most;
  return batch;
}

}  // namespace detail

/// Measures the chosen tensors of `model` that carry a quantizer, two passes more than there are of them. The network
/// is left as it was to the bit: parametrizations, stored tensors, buffers, each module's mode; so is the default
/// generator. Throws ValueError if no such tensor was chosen, for negative `images`, or where full precision is not
/// known; ShapeError for a reference of another shape, and what train::evaluate throws.
inline Sensitivity sensitivity(nn::Module<float>& model, data::DataLoader& loader,
                               const SensitivityOptions& options = {}) {
  const char* const op = "sensitivity";
  check(options.images >= 0, op, "got ", options.images, " images, expected 0 (all) or more");
  const auto chosen =
      quant::selected(model, [&](const quant::Candidate& c) { return c.quantized && options.select(c); });
  check(!chosen.empty(), op, "the selection chose no parameter that carries a quantizer, of ",
        model.named_parameters().size(), " parameters");
  const Index epoch = loader.images_per_epoch();
  const Index images = options.images > 0 && options.images < epoch ? options.images : epoch;
  train::ProgressSink& progress = options.progress ? *options.progress : train::silent_progress();
  const auto stopped = [&] { return options.stop && options.stop->load(); };
  Sensitivity result;
  Index before = 0;  // images of the passes that are over
  const auto pass = [&] {
    train::Tally t;
    for (loader.seek({0, 0}); t.images < images && !stopped(); progress.step(before + t.images, {}))
      train::tally_batch(t, model, detail::first_images(loader.next(), images - t.images));
    before += t.images;
    return t.images == images ? t : train::Tally{};
  };

  const detail::InEvaluation evaluation(model);
  {
    const detail::AtFullPrecision full(model, options.reference);
    progress.begin(text("sensitivity of ", chosen.size(), chosen.size() == 1 ? " tensor" : " tensors"),
                   images * (static_cast<Index>(chosen.size()) + 2), "images");
    result.full = pass();
    for (std::size_t i = 0; i < chosen.size() && !stopped(); ++i) {
      full.quantize(chosen[i].parameter, true);
      const train::Tally alone = pass();
      full.quantize(chosen[i].parameter, false);
      if (alone.images > 0) result.tensors.push_back({chosen[i].name, alone});
    }
  }
  result.quantized = pass();
  const train::Metric metrics[] = {{"loss at full precision", result.full.loss()},
                                   {"quantized", result.quantized.loss()}};
  progress.end(metrics);
  result.interrupted = result.quantized.images == 0;
  return result;
}

}  // namespace qdistill::inline QDISTILL_ABI::distill
