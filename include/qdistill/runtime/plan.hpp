/// From a network as plain data to a list of checked steps with weights that are ready to run.
///
/// All shapes but the batch are known here, so every error of a network shows before it runs. Operations whose result
/// is not needed are checked and left out; a ReLU behind a convolution, a linear layer, a batch normalisation or a sum
/// that nothing else reads moves into that layer, which gives the same bits. Folding batch normalisations is an option.
#pragma once

#include <array>
#include <utility>
#include <variant>

#include "qdistill/io/packed_model.hpp"
#include "qdistill/runtime/fold_batch_norm.hpp"
#include "qdistill/runtime/pool_layers.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

using Layer = std::variant<
    LinearLayer, ConvLayer<2>, ConvLayer<1>, BatchNormLayer, FlattenLayer, AddLayer, MaxPoolLayer<2>, MaxPoolLayer<1>,
    AveragePoolLayer<2, false>, AveragePoolLayer<1, false>, AveragePoolLayer<2, true>, AveragePoolLayer<1, true>,
    AdaptiveMaxPoolLayer<2>, AdaptiveMaxPoolLayer<1>, ElementwiseLayer<kernels::Relu>, ElementwiseLayer<kernels::Relu6>,
    ElementwiseLayer<kernels::LeakyRelu>, ElementwiseLayer<kernels::Elu>, ElementwiseLayer<kernels::Gelu>,
    ElementwiseLayer<kernels::Silu>, ElementwiseLayer<kernels::Hardswish>, ElementwiseLayer<kernels::Sigmoid>,
    ElementwiseLayer<kernels::Tanh>, ElementwiseLayer<kernels::Softplus>, ElementwiseLayer<kernels::PactRelu<float>>>;

/// Reads one operation. Throws ValueError for one that is not known, and as the layers do.
inline Layer read_layer(const std::string& name, const OpReader& op) {
  if (name == "linear") return LinearLayer(op);
  if (name == "conv2d") return ConvLayer<2>(op);
  if (name == "conv1d") return ConvLayer<1>(op);
  if (name == "batch_norm") return BatchNormLayer(op);
  if (name == "flatten") return FlattenLayer(op);
  if (name == "add") return AddLayer(op);
  if (name == "pact_relu") return pact_layer(op);
  if (name == "max_pool2d") return MaxPoolLayer<2>(op);
  if (name == "max_pool1d") return MaxPoolLayer<1>(op);
  if (name == "avg_pool2d") return AveragePoolLayer<2, false>(op);
  if (name == "avg_pool1d") return AveragePoolLayer<1, false>(op);
  if (name == "adaptive_avg_pool2d") return AveragePoolLayer<2, true>(op);
  if (name == "adaptive_avg_pool1d") return AveragePoolLayer<1, true>(op);
  if (name == "adaptive_max_pool2d") return AdaptiveMaxPoolLayer<2>(op);
  if (name == "adaptive_max_pool1d") return AdaptiveMaxPoolLayer<1>(op);
  if (name == "relu") return ElementwiseLayer<kernels::Relu>(op);
  if (name == "relu6") return ElementwiseLayer<kernels::Relu6>(op);
  if (name == "leaky_relu")
    return ElementwiseLayer<kernels::LeakyRelu>(op, kernels::LeakyRelu{op.get<double>("negative_slope")});
  if (name == "elu") return ElementwiseLayer<kernels::Elu>(op, kernels::Elu{op.get<double>("alpha")});
  if (name == "gelu") return ElementwiseLayer<kernels::Gelu>(op);
  if (name == "silu") return ElementwiseLayer<kernels::Silu>(op);
  if (name == "hardswish") return ElementwiseLayer<kernels::Hardswish>(op);
  if (name == "sigmoid") return ElementwiseLayer<kernels::Sigmoid>(op);
  if (name == "tanh") return ElementwiseLayer<kernels::Tanh>(op);
  if (name == "softplus") {
    const double beta = op.get_or<double>("beta", 1);
    op.require(beta > 0, "got beta ", beta, ", expected it above 0");
    return ElementwiseLayer<kernels::Softplus>(op, kernels::Softplus{beta, op.get_or<double>("threshold", 20)});
  }
  fail(op.where(), "got an operation that this version does not know. HINT: use a newer qdistill");
}

/// One layer at work: which values it reads, which of them nobody reads later, which value it makes.
struct Step {
  Layer layer;
  std::array<int, 2> inputs{};
  std::array<bool, 2> last{};
  std::size_t count = 0;
  int output = 0;
};

struct Plan {
  std::vector<Step> steps;
  Shape input, output;  ///< of one sample
};

struct PlanOptions {
  /// Batch normalisations go into the convolution or linear layer in front of them where that is valid
  /// (runtime/fold_batch_norm.hpp): one pass over memory less, but no longer the bits of training's evaluation.
  bool fold_batch_norm = false;
};

namespace detail {

/// Sets Step::last, and throws ShapeError if the values of one sample need more than max_live_elements at any time.
inline void find_last_uses(std::vector<Step>& steps, const std::vector<Shape>& shapes, int output) {
  std::vector<bool> used(shapes.size(), false);
  used[static_cast<std::size_t>(output)] = true;
  for (std::size_t i = steps.size(); i-- > 0;)
    for (std::size_t k = steps[i].count; k-- > 0;) {
      const auto value = static_cast<std::size_t>(steps[i].inputs[k]);
      steps[i].last[k] = !used[value];
      used[value] = true;
    }
  Index live = shapes[0].numel();
  for (const Step& step : steps) {
    live += shapes[static_cast<std::size_t>(step.output)].numel();
    check<ShapeError>(live <= max_live_elements, "runtime", "got a network whose values take ", live,
                      " elements for one sample at value ", step.output, ", expected at most 2^28");
    for (std::size_t k = 0; k < step.count; ++k)
      if (step.last[k]) live -= shapes[static_cast<std::size_t>(step.inputs[k])].numel();
  }
}

/// Moves a ReLU into the step that makes its input, if that can have one and has none yet; false if not.
inline bool fuse_relu(Step& step) {
  return std::visit(
      [](auto& layer) {
        if constexpr (requires { layer.relu; }) return !std::exchange(layer.relu, true);
        else return false;
      },
      step.layer);
}

/// Moves a batch normalisation into the step that makes its input; false if `layer` is none, or that is not valid.
inline bool fold_batch_norm(Step& step, const Layer& layer) {
  const auto* const norm = std::get_if<BatchNormLayer>(&layer);
  if (!norm) return false;
  if (auto* const linear = std::get_if<LinearLayer>(&step.layer)) return runtime::fold_batch_norm(*linear, *norm);
  if (auto* const conv = std::get_if<ConvLayer<2>>(&step.layer)) return runtime::fold_batch_norm(*conv, *norm);
  if (auto* const conv = std::get_if<ConvLayer<1>>(&step.layer)) return runtime::fold_batch_norm(*conv, *norm);
  return false;
}

}  // namespace detail

/// See the head of this file. Throws ValueError or ShapeError naming the operation.
inline Plan make_plan(const io::PackedModel& model, const PlanOptions& options = {}) {
  const Network& network = model.network;
  validate(network);
  for (const auto& [name, encoding] : model.tensors) validate(encoding, name);
  check<ShapeError>(network.input_shape.size() < max_rank, "runtime", "got an input shape of ",
                    network.input_shape.size(), " dims without the batch, expected at most ", max_rank - 1);
  Plan plan;
  plan.input = Shape(std::span<const Index>(network.input_shape));
  check<ShapeError>(checked_numel("runtime", plan.input) <= max_live_elements, "runtime", "got input shape ",
                    plan.input, ", expected at most 2^28 elements");

  std::vector<int> uses(network.ops.size() + 1, 0);  // by operations whose result is needed, and by the network
  uses[static_cast<std::size_t>(network.output)] = 1;
  for (std::size_t i = network.ops.size(); i-- > 0;)
    if (uses[i + 1] > 0)
      for (const int input : network.ops[i].inputs) ++uses[static_cast<std::size_t>(input)];

  TensorSource tensors(model.tensors);
  std::vector<Shape> shapes{plan.input};
  std::vector<std::size_t> maker(network.ops.size() + 1, network.ops.size());  // value to step
  for (std::size_t i = 0; i < network.ops.size(); ++i) {
    const NetworkOp& op = network.ops[i];
    const OpReader reader(op, i, shapes, tensors);
    Step step{read_layer(op.op, reader), {}, {}, op.inputs.size(), op.output};
    const Shape shape = std::visit([](const auto& layer) { return layer.shape; }, step.layer);
    reader.require<ShapeError>(checked_numel(reader.where(), shape) <= max_live_elements, "got an output of shape ",
                               shape, ", expected at most 2^28 elements");
    shapes.push_back(shape);
    if (uses[i + 1] == 0) continue;
    const std::size_t first = op.inputs.empty() ? 0 : static_cast<std::size_t>(op.inputs[0]);
    if (uses[first] == 1 && maker[first] < plan.steps.size()) {
      Step& before = plan.steps[maker[first]];
      if ((op.op == "relu" && detail::fuse_relu(before)) ||
          (options.fold_batch_norm && detail::fold_batch_norm(before, step.layer))) {
        before.output = op.output;
        maker[i + 1] = maker[first];
        continue;
      }
    }
    for (std::size_t k = 0; k < step.count; ++k) step.inputs[k] = op.inputs[k];
    maker[i + 1] = plan.steps.size();
    plan.steps.push_back(std::move(step));
  }
  plan.output = shapes[static_cast<std::size_t>(network.output)];
  detail::find_last_uses(plan.steps, shapes, network.output);
  tensors.release();
  WeightPacker packer;
  for (Step& step : plan.steps)
    std::visit(
        [&](auto& layer) {
          if constexpr (requires { layer.prepare(packer); }) layer.prepare(packer);
        },
        step.layer);
  return plan;
}

}  // namespace qdistill::inline QDISTILL_ABI::runtime
