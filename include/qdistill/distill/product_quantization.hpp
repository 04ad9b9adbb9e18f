/// The recipe of product quantization (Stock et al. 2020, "And the Bit Goes Down", sections 3.2 to 3.4): layer by layer
/// in forward order, each with the inputs that it has in the network quantized so far, its codewords trained to keep
/// the original network's output; then all codewords together.
///
///   auto teacher = ..., student = ...;                       // the same trained network twice
///   distill::product_quantization(student, teacher, loader, validation);
///   quant::save_packed(student, "student.safetensors", {3, 32, 32});
///
/// Never trained: biases, batch norm's scale and shift, and layers that keep their weights. No labels are used.
#pragma once

#include "qdistill/distill/teacher.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/layer_inputs.hpp"
#include "qdistill/quant/product.hpp"
#include "qdistill/train/fit.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

/// A layer as the choice of its settings sees it.
struct ProductLayer {
  std::string name;
  Shape weight;
  bool first_convolution = false;
  bool classifier = false;  ///< the last layer, if it is linear
};

/// How a layer is quantized.
struct ProductLayerOptions {
  quant::Product product = {};
  Index samples = 25000;  ///< see quant::InputSampling
};

/// The paper's small blocks: d = 9 (3 x 3), 4 (others); k = 256, 2048 for the classifier. The first convolution keeps
/// its weights. `samples` are those of the published code for a ResNet's stages 3 and 4, and for its classifier; stages
/// 1 and 2 had 1000.
inline std::optional<ProductLayerOptions> small_blocks(const ProductLayer& layer) {
  if (layer.first_convolution) return std::nullopt;
  if (layer.classifier) return ProductLayerOptions{{.codewords = 2048}, 5000};
  return ProductLayerOptions{};
}
/// The paper's large blocks: d = 18 (3 x 3), 8 (1 x 1), 4 (linear).
inline std::optional<ProductLayerOptions> large_blocks(const ProductLayer& layer) {
  std::optional<ProductLayerOptions> options = small_blocks(layer);
  if (options) options->product.kernels = 2, options->product.pointwise = 8;
  return options;
}

/// Settings; the defaults are the paper's.
struct ProductOptions {
  /// Nothing for a layer that keeps its weights.
  std::function<std::optional<ProductLayerOptions>(const ProductLayer&)> layers = small_blocks;
  Index images = 1024;  ///< whose inputs a layer's codebook sees
  Index steps = 2500;   ///< minibatches for the codewords of each layer, batch norm in evaluation mode
  optim::SgdOptions layer_sgd = {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4};
  optim::SgdOptions global_sgd = {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4};
  bool cache_teacher = false;  ///< see Options
  /// Epochs of the global stage, whose rate falls by 10 every third one unless there is a schedule. Checkpoint, resume,
  /// stop, progress and log serve both stages: a checkpoint is written after each layer and each global epoch.
  train::FitOptions fit = {.stage = "global", .epochs = 9};
};

struct ProductLayerResult {
  std::string name;
  Index block_size = 0, codewords = 0;
  double objective = 0;   ///< of the codebook, see quant::Codebook
  double first_loss = 0;  ///< of the first minibatch, before the codewords were trained
  double loss = 0;        ///< mean of the last tenth of the minibatches
};

struct ProductResult {
  std::vector<ProductLayerResult> layers = {};
  train::FitResult global = {};
  bool interrupted = false;
};

namespace detail {

/// While it lives, only the given parameters take a gradient.
class TrainOnly {
 public:
  TrainOnly(const nn::Module<float>& model, const std::vector<nn::ParameterPtr<float>>& trained) {
    for (const auto& p : model.named_parameters()) {
      before_.emplace_back(p.parameter, p.parameter->frozen());
      p.parameter->freeze(std::find(trained.begin(), trained.end(), p.parameter) == trained.end());
    }
  }
  TrainOnly(const TrainOnly&) = delete;
  TrainOnly& operator=(const TrainOnly&) = delete;
  ~TrainOnly() {
    for (const auto& [parameter, frozen] : before_) parameter->freeze(frozen);
  }

 private:
  std::vector<std::pair<nn::ParameterPtr<float>, bool>> before_;
};

inline train::Json to_json(const ProductLayerResult& r) {
  return {{"name", r.name},           {"block_size", r.block_size}, {"codewords", r.codewords},
          {"objective", r.objective}, {"first_loss", r.first_loss}, {"loss", r.loss}};
}
inline ProductLayerResult product_layer_from_json(const train::Json& j) {
  return {j.at("name").get<std::string>(), j.at("block_size").get<Index>(),  j.at("codewords").get<Index>(),
          j.at("objective").get<double>(), j.at("first_loss").get<double>(), j.at("loss").get<double>()};
}

/// A layer and its settings.
struct PlannedLayer {
  quant::WeightLayer layer;
  ProductLayerOptions options;
};

/// The layers to quantize, in forward order on `x`.
inline std::vector<PlannedLayer> plan_layers(nn::Module<float>& student, const Tensor<float>& x,
                                             const ProductOptions& options) {
  std::vector<PlannedLayer> plan;
  const std::vector<quant::WeightLayer> layers = quant::layers_in_forward_order(student, x);
  bool seen_convolution = false;
  for (const quant::WeightLayer& layer : layers) {
    const bool first = layer.convolution && !seen_convolution, last = &layer == &layers.back();
    seen_convolution = seen_convolution || first;
    const auto chosen = options.layers({layer.name, layer.weight->shape(), first, last && !layer.convolution});
    if (chosen) plan.push_back({layer, *chosen});
  }
  check(!plan.empty(), "product_quantization", "the settings chose none of the ", layers.size(),
        " convolutions and linear layers");
  return plan;
}

/// The layers that are done, which is what a checkpoint keeps beyond the model's tensors.
class ProductProgress {
 public:
  ProductProgress(nn::Module<float>& student, data::DataLoader& loader, const train::FitOptions& fit)
      : student_(student), loader_(loader), fit_(fit) {}
  std::vector<ProductLayerResult> done;

  train::Json context() const {
    train::Json layers = train::Json::array();
    for (const ProductLayerResult& r : done) layers.push_back(to_json(r));
    return {{"layers", layers}, {"program", fit_.context}};
  }
  void save() const {
    if (fit_.checkpoint.empty()) return;
    train::Checkpoint c;
    c.put("model.", student_);
    const data::LoaderPosition at = loader_.position();
    c.numbers = {{"stage", "layers"},
                 {"loader", {{"epoch", at.epoch}, {"batch", at.batch}}},
                 {"random", {{"seed", default_generator().seed()}, {"counter", default_generator().counter()}}},
                 {"log_bytes", fit_.log ? fit_.log->sync() : 0},
                 {"context", context()}};
    c.save(fit_.checkpoint);
  }
  /// Puts the codebooks of the finished layers back, and the state of a checkpoint between two layers; that of the
  /// global stage is train::fit's to load. Throws FileError for a checkpoint that is not one of this network.
  void load(const train::Checkpoint& c, const std::vector<PlannedLayer>& plan) {
    const char* const op = "product_quantization";
    try {
      for (const train::Json& j : c.numbers.at("context").at("layers")) done.push_back(product_layer_from_json(j));
      check<FileError>(done.size() <= plan.size(), op, "got a checkpoint with ", done.size(), " layers, expected ",
                       plan.size());
      for (std::size_t i = 0; i < done.size(); ++i) {
        const auto& [layer, options] = plan[i];
        const Shape& shape = layer.weight->shape();
        const Index d = done[i].block_size, k = done[i].codewords;
        check<FileError>(done[i].name == layer.name && d == options.product.block_size_of(shape) && k >= 1 &&
                             k <= options.product.codewords,
                         op, "got a checkpoint with layer '", done[i].name, "' in ", k, " codewords of ", d,
                         ", expected '", layer.name, "' of ", options.product.block_size_of(shape));
        const quant::Codebook<float> zeros{d, std::vector<float>(static_cast<std::size_t>(k * d)),
                                           std::vector<std::uint16_t>(static_cast<std::size_t>(shape.numel() / d))};
        layer.weight->set_parametrization(
            std::make_shared<quant::ProductParametrization<float>>(shape, zeros, options.product.gradient));
      }
      if (c.numbers.at("stage") != "layers") {
        check<FileError>(done.size() == plan.size(), op, "got a checkpoint of the global stage with ", done.size(),
                         " layers, expected ", plan.size());
        return;
      }
      c.take("model.", student_);
      const train::Json &random = c.numbers.at("random"), &at = c.numbers.at("loader");
      default_generator().restore(random.at("seed").get<std::uint64_t>(), random.at("counter").get<std::uint64_t>());
      loader_.seek({at.at("epoch").get<Index>(), at.at("batch").get<Index>()});
    } catch (const train::Json::exception& e) {
      fail<FileError>(op, "the checkpoint's numbers are not those of this recipe: ", e.what());
    }
  }

 private:
  nn::Module<float>& student_;
  data::DataLoader& loader_;
  const train::FitOptions& fit_;
};

}  // namespace detail

/// Quantizes `student`, which begins as a copy of `teacher`, the trained network. It ends with its best validation
/// accuracy of the global stage, unless fit.keep_best is off.
///
/// A run that was stopped or killed goes on at the layer or the global epoch where it was, to the same bits as an
/// unbroken one; a layer's unfinished minibatches are done again. The program's own context is kept in the checkpoint
/// under context.program. Throws ValueError if no layer is chosen, ShapeError or ValueError for settings that do not
/// fit a layer, FileError for a checkpoint of something else, Error if a loss stops being finite.
inline ProductResult product_quantization(nn::Module<float>& student, nn::Module<float>& teacher,
                                          data::DataLoader& loader, data::DataLoader& validation,
                                          const ProductOptions& options = {}) {
  check(options.images >= 1 && options.steps >= 0, "product_quantization", "got ", options.images, " images and ",
        options.steps, " steps, expected at least 1 and 0");
  check(&student != &teacher, "product_quantization", "got one network as student and teacher, expected two");
  const train::FitOptions& fit = options.fit;
  train::ProgressSink& progress = fit.progress ? *fit.progress : train::silent_progress();
  const auto stopped = [&] { return fit.stop && fit.stop->load(); };
  const DistillationOptions loss_options{.temperature = 1, .teacher_weight = 1};
  Teacher original({&teacher}, 1);
  if (options.cache_teacher) original.use_cache(loader);
  const bool training = student.training();
  ProductResult result;

  // 1. The layers in forward order; one batch of the loader shows it.
  student.eval();
  loader.seek({0, 0});
  const auto plan = detail::plan_layers(student, data::to_tensors(loader.next()).images, options);
  loader.seek({0, 0});
  detail::ProductProgress state(student, loader, fit);
  if (fit.resume) state.load(*fit.resume, plan);

  for (std::size_t i = state.done.size(); i < plan.size() && !stopped(); ++i) {
    const auto& [layer, choice] = plan[i];
    const std::string title = text("layer ", i + 1, '/', plan.size(), ": ", layer.name);
    // 2. The layer's inputs, in the network whose earlier layers are quantized and trained.
    const Index d = choice.product.block_size_of(layer.weight->shape());
    quant::InputSampler<float> sampler(layer.rows, d, {options.images, choice.samples, choice.product.iterations},
                                       default_generator().next());
    {
      const nn::Observing<float> observing(*layer.module, [&](const Tensor<float>& x) { sampler.add(x); });
      const NoGrad no_grad;
      while (!sampler.complete()) student(data::to_tensors(loader.next()).images);
    }
    // 3. EM: the codebook that keeps the layer's output on them.
    const auto book =
        quant::fit_product(choice.product, layer.weight->data(), sampler.grams(), default_generator().next());
    const auto quantizer =
        std::make_shared<quant::ProductParametrization<float>>(layer.weight->shape(), book, choice.product.gradient);
    layer.weight->set_parametrization(quantizer);
    ProductLayerResult done{layer.name, d, book.count(), book.objective.back()};
    // 4. Its codewords are trained towards the original network's output, statistics of batch norm frozen.
    const detail::TrainOnly only(student, {layer.weight});
    optim::SGD<float> sgd({quantizer->stored()[0].tensor}, options.layer_sgd);
    const Index tail = std::max<Index>(1, options.steps / 10);
    progress.begin(title, options.steps, "batches");
    for (Index step = 0; step < options.steps; ++step) {
      const data::Batch& batch = loader.next();
      const Tensor<float> x = data::to_tensors(batch).images;
      sgd.zero_grad();
      const Tensor<float> loss = distillation_loss(student(x), original(x, batch.indices), {}, loss_options);
      const double value = static_cast<double>(loss.item());
      check<Error>(std::isfinite(value), "product_quantization", title, ", batch ", step,
                   ": the loss is not finite. HINT: a lower learning rate");
      loss.backward();
      sgd.step();
      if (step == 0) done.first_loss = value;
      if (step >= options.steps - tail) done.loss += value / static_cast<double>(tail);
      const train::Metric metrics[] = {{"loss", value}};
      progress.step(step + 1, metrics);
      if (stopped()) break;
    }
    sgd.zero_grad();
    const train::Metric metrics[] = {{"objective", done.objective}, {"loss", done.loss}};
    progress.end(metrics);
    if (stopped()) break;
    state.done.push_back(done);
    if (fit.log) {
      train::Json event = {{"event", "layer"}};
      event.update(detail::to_json(done));
      fit.log->write(event);
    }
    state.save();
  }
  result.layers = state.done;
  student.train(training);
  result.interrupted = state.done.size() < plan.size() || stopped();
  if (result.interrupted) return result;

  // 5. All codewords together, batch norm in training mode: its statistics adapt, its scale and shift do not.
  std::vector<nn::ParameterPtr<float>> weights;
  std::vector<Tensor<float>> codewords;
  for (const auto& [layer, choice] : plan) {
    weights.push_back(layer.weight);
    codewords.push_back(layer.weight->parametrization()->stored()[0].tensor);
  }
  const detail::TrainOnly only(student, weights);
  optim::SGD<float> sgd(codewords, options.global_sgd);
  const auto falling = optim::make_schedule(optim::StepLR{.lr = options.global_sgd.lr, .step_size = 3, .gamma = 0.1});
  train::FitOptions global = fit;
  if (!global.schedule) global.schedule = falling.get();
  if (fit.resume && fit.resume->numbers.at("stage") == "layers") global.resume = nullptr;
  global.context = state.context();
  result.global = train::fit(
      student, sgd, loader, validation,
      [&](const Tensor<float>& logits, const Tensor<float>& images, const Tensor<Index>&, const data::Batch& batch) {
        return distillation_loss(logits, original(images, batch.indices), {}, loss_options);
      },
      global);
  student.train(training);
  result.interrupted = result.global.interrupted;
  return result;
}

}  // namespace qdistill::inline QDISTILL_ABI::distill
