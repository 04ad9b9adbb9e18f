/// A network as it was, as a teacher of what it becomes.
#pragma once

#include <utility>
#include <vector>

#include "qdistill/nn/module.hpp"

namespace qdistill::inline QDISTILL_ABI::distill {

/// `network` without the parametrizations that it gets later, with the running statistics of the time when this was
/// made, in evaluation mode. It shares the weights, which must not change: the teacher of differentiable quantization,
/// which trains only the points. The network must outlive it, and is left as it was by each forward.
class SelfTeacher final : public nn::Module<float> {
 public:
  explicit SelfTeacher(nn::Module<float>& network) : network_(network) {
    for (const auto& p : network.named_parameters())
      parameters_.push_back({p.parameter, p.parameter->parametrization()});
    for (const auto& b : network.named_buffers())
      if (b.values) buffers_.push_back({b.values, b.values->clone()});
  }
  Tensor<float> forward(const Tensor<float>& x) override {
    const AsItWas guard(*this);
    return network_.forward(x);
  }
  const char* type() const noexcept override { return "SelfTeacher"; }

 private:
  struct AsItWas {
    explicit AsItWas(SelfTeacher& t) : teacher(t), training(t.network_.training()) {
      teacher.exchange();
      teacher.network_.eval();
    }
    AsItWas(const AsItWas&) = delete;
    AsItWas& operator=(const AsItWas&) = delete;
    ~AsItWas() {
      teacher.exchange();
      teacher.network_.train(training);
    }
    SelfTeacher& teacher;
    bool training;
  };
  void exchange() {
    for (auto& [parameter, held] : parameters_) {
      auto now = parameter->parametrization();
      if (now == held) continue;  // its cached weight stays
      parameter->set_parametrization(std::exchange(held, std::move(now)));
    }
    for (auto& [buffer, held] : buffers_) std::swap(*buffer, held);
  }
  nn::Module<float>& network_;
  std::vector<std::pair<nn::ParameterPtr<float>, std::shared_ptr<nn::Parametrization<float>>>> parameters_;
  std::vector<std::pair<std::shared_ptr<Tensor<float>>, Tensor<float>>> buffers_;
};

}  // namespace qdistill::inline QDISTILL_ABI::distill
