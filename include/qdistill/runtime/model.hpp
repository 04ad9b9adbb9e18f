/// Runs a network straight from its packed file, without the C++ class that it came from and without autograd.
///
///   const runtime::Model net = runtime::load("student.safetensors");
///   const Tensor<float> logits = net.run(images);   // [N, 3, 32, 32] -> [N, 10]
///
/// The results have the same bits as the trained model's forward in evaluation with its quantizers attached, but not
/// those of load(path, {.fold_batch_norm = true}), which is faster. Weights are decoded to float and packed for the
/// kernels once, when the model is made. Attributes of an operation that the runtime does not know are ignored;
/// operations and roles of tensors that it does not know are refused.
#pragma once

#include "qdistill/io/packed.hpp"
#include "qdistill/runtime/plan.hpp"

namespace qdistill::inline QDISTILL_ABI::runtime {

/// A network that is ready to run. Copies share their weights. `run` may be called from several threads at a time.
class Model {
 public:
  /// Checks the network and decodes its weights. Throws ValueError or ShapeError that name the operation.
  static Model from(io::PackedModel packed, const PlanOptions& options = {}) {
    Model model;
    model.plan_ = make_plan(packed, options);
    model.network_ = std::move(packed.network);
    model.info_ = std::move(packed.info);
    return model;
  }

  Tensor<float> operator()(const Tensor<float>& x) const { return run(x); }
  /// The network's output for a batch x [N, input shape...]: [N, output shape...], in a buffer of its own. Throws
  /// ShapeError for other shapes.
  Tensor<float> run(const Tensor<float>& x) const {
    check(x.defined(), "runtime", "got an undefined tensor, expected ", expected_input());
    check<DeviceError>(x.device() == Device::cpu, "runtime", "got a tensor on ", name(x.device()), ", expected cpu");
    bool fits = x.rank() == plan_.input.rank() + 1;
    for (int d = 0; fits && d < plan_.input.rank(); ++d) fits = x.shape()[d + 1] == plan_.input[d];
    check<ShapeError>(fits, "runtime", "got shape ", x.shape(), ", expected ", expected_input());

    std::vector<Tensor<float>> values(network_.ops.size() + 1);
    values[0] = x.contiguous() ? x.detach() : x.clone();
    for (const Step& step : plan_.steps) {
      Tensor<float> in[2];
      for (std::size_t k = 0; k < step.count; ++k) {
        Tensor<float>& value = values[static_cast<std::size_t>(step.inputs[k])];
        in[k] = step.last[k] ? std::exchange(value, {}) : value;
      }
      values[static_cast<std::size_t>(step.output)] =
          std::visit([&](const auto& layer) { return layer.run(x.shape()[0], std::span(in, step.count)); }, step.layer);
    }
    Tensor<float> y = std::move(values[static_cast<std::size_t>(network_.output)]);
    return y.shares_storage(x) ? y.clone() : y;
  }

  /// Of one sample, without the batch.
  const Shape& input_shape() const noexcept { return plan_.input; }
  const Shape& output_shape() const noexcept { return plan_.output; }
  /// The packed file's free fields.
  const std::map<std::string, std::string>& info() const noexcept { return info_; }
  const Network& network() const noexcept { return network_; }

 private:
  Model() = default;
  std::string expected_input() const {
    std::string out = "[N";
    for (const Index d : plan_.input) out += text(", ", d);
    return out + ']';
  }
  Plan plan_;
  Network network_;
  std::map<std::string, std::string> info_;
};

/// Reads a packed file. Throws FileError for a file that is missing or damaged, and as Model::from.
inline Model load(const std::string& path, const PlanOptions& options = {}) {
  return Model::from(io::load_packed(path), options);
}

}  // namespace qdistill::inline QDISTILL_ABI::runtime
