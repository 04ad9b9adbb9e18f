/// Whole steps on the CIFAR-10 networks of Polino et al. (2018), images per second and peak memory. A training step:
/// zero the gradients, forward, loss, backward, SGD with Nesterov's momentum 0.9 and weight decay. Data are random and
/// made beforehand. `bn`: with batch normalisation, as the authors' code has it; the others are without.
#include "common.hpp"
#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/runtime/model.hpp"

namespace qdistill_bench {

/// A specification's network without batch normalisation.
class PlainCnn final : public nn::Module<float> {
 public:
  explicit PlainCnn(const models::PolinoSpec& spec) {
    Index c = spec.channels, h = spec.height, w = spec.width, position = 0;
    const auto is_in = [&](const std::vector<Index>& list) {
      for (const Index p : list)
        if (p == position) return true;
      return false;
    };
    const auto rate_here = [&] {
      for (const auto& [p, rate] : spec.dropout)
        if (p == position) return rate;
      return 0.0;
    };
    for (const Index out : spec.convs) {
      blocks_.push_back(
          {&add(text("conv", position), nn::Conv2d<float>(c, out, spec.kernel, {.padding = spec.kernel / 2})), nullptr,
           is_in(spec.pool_after), rate_here()});
      if (blocks_.back().pool) h /= 2, w /= 2;
      c = out, ++position;
    }
    Index features = c * h * w;
    for (const Index out : spec.linear) {
      blocks_.push_back(
          {nullptr, &add(text("linear", position), nn::Linear<float>(features, out)), false, rate_here()});
      features = out, ++position;
    }
    blocks_.push_back({nullptr, &add("out", nn::Linear<float>(features, spec.classes)), false, 0});
  }
  Tensor<float> forward(const Tensor<float>& x) override {
    Tensor<float> y = x;
    for (const Block& b : blocks_) {
      if (b.linear && y.rank() > 2) y = flatten(y, 1);
      y = b.conv ? b.conv->forward_relu(y) : b.linear->forward_relu(y);
      if (b.pool) y = max_pool2d(y, 2);
      if (b.rate > 0) y = b.conv ? dropout2d(y, b.rate, training()) : dropout(y, b.rate, training());
    }
    return y;
  }
  const char* type() const noexcept override { return "PlainCnn"; }

 private:
  struct Block {
    nn::Conv2d<float>* conv;
    nn::Linear<float>* linear;
    bool pool;
    double rate;
  };
  std::vector<Block> blocks_;
};

/// The same network out of ready-made layers, where ReLUs are operations of their own.
nn::Sequential<float> layers_of(const models::PolinoSpec& spec) {
  nn::Sequential<float> net;
  Index c = spec.channels, side = spec.height;
  for (std::size_t i = 0; i < spec.convs.size(); ++i) {
    net.push_back(nn::Conv2d<float>(c, spec.convs[i], spec.kernel, {.padding = spec.kernel / 2}));
    net.push_back(nn::ReLU<float>());
    for (const Index p : spec.pool_after)
      if (p == static_cast<Index>(i)) net.push_back(nn::MaxPool2d<float>(2)), side /= 2;
    for (const auto& [p, rate] : spec.dropout)
      if (p == static_cast<Index>(i)) net.push_back(nn::Dropout2d<float>(rate));
    c = spec.convs[i];
  }
  net.push_back(nn::Flatten<float>());
  Index features = c * side * side;
  for (std::size_t i = 0; i < spec.linear.size(); ++i) {
    net.push_back(nn::Linear<float>(features, spec.linear[i]));
    net.push_back(nn::ReLU<float>());
    for (const auto& [p, rate] : spec.dropout)
      if (p == static_cast<Index>(spec.convs.size() + i)) net.push_back(nn::Dropout<float>(rate));
    features = spec.linear[i];
  }
  net.push_back(nn::Linear<float>(features, spec.classes));
  net.push_back(nn::ReLU<float>());
  return net;
}

struct Images {
  explicit Images(Index n) : x(Tensor<float>::normal({n, 3, 32, 32}, {1, 1})), labels(Tensor<Index>::empty({n})) {
    for (Index i = 0; i < n; ++i) labels.data()[i] = i * 7 % 10;
  }
  Tensor<float> x;
  Tensor<Index> labels;
};

constexpr Index batch = 128;
constexpr int warm_up = 2;

void finish(benchmark::State& state, Index images, double seconds) {
  rate(state, "images_per_second", static_cast<double>(images), seconds);
  memory_counters(state);
}

/// Training steps with the loss `loss(logits, images)`.
template <class Loss>
void train(benchmark::State& state, nn::Module<float>& model, Loss loss) {
  const Images images(batch);
  model.train();
  optim::SGD<float> sgd(model.parameters(), {.lr = 1e-3, .momentum = 0.9, .weight_decay = 2.2e-4, .nesterov = true});
  finish(state, batch, timed(state, warm_up, [&] {
           sgd.zero_grad();
           loss(model(images.x), images).backward();
           sgd.step();
         }));
}

template <class Net>
void train_case(const char* name, Net make) {
  add_case(name, [make](benchmark::State& state) {
    auto model = make();
    train(state, model, [](const Tensor<float>& logits, const Images& i) { return cross_entropy(logits, i.labels); });
  });
}

/// Quantized distillation: both forwards, the distillation loss, the gradient passed straight through.
void qdistill_train(benchmark::State& state) {
  PlainCnn teacher(models::polino_teacher()), student(models::polino_student_1());
  teacher.eval();
  quant::attach(student, quant::Uniform{.bits = 4, .bucket_size = 256});
  train(state, student, [&](const Tensor<float>& logits, const Images& i) {
    Tensor<float> soft;
    {
      const NoGrad no_grad;
      soft = teacher(i.x);
    }
    return distillation_loss(logits, soft, i.labels, {.temperature = 2, .teacher_weight = 0.7});
  });
}

template <class Net>
void infer_case(const char* name, Index n, Net make) {
  add_case(name, [make, n](benchmark::State& state) {
    auto model = make();
    model.eval();
    const Images images(n);
    const NoGrad no_grad;
    finish(state, n, timed(state, warm_up, [&] { benchmark::DoNotOptimize(model(images.x).data()); }));
  });
}

/// The packed student, batch normalisation and 4-bit weights, in the runtime.
void runtime_case(const char* name, Index n) {
  add_case(name, [n](benchmark::State& state) {
    auto student = models::polino_cnn<float>(models::polino_student_1());
    quant::attach(student, quant::Uniform{.bits = 4, .bucket_size = 256});
    const runtime::Model model = runtime::Model::from(quant::pack(student, {3, 32, 32}));
    const Images images(n);
    finish(state, n, timed(state, warm_up, [&] { benchmark::DoNotOptimize(model.run(images.x).data()); }));
  });
}

void add_cases() {
  const auto teacher = [] { return PlainCnn(models::polino_teacher()); };
  const auto student = [] { return PlainCnn(models::polino_student_1()); };
  train_case("step/teacher_train", teacher);
  train_case("step/teacher_bn_train", [] { return models::polino_cnn<float>(models::polino_teacher()); });
  train_case("step/student_train", student);
  train_case("step/student_bn_train", [] { return models::polino_cnn<float>(models::polino_student_1()); });
  train_case("step/student_train_sequential", [] { return layers_of(models::polino_student_1()); });
  add_case("step/qdistill_train", qdistill_train);
  infer_case("step/teacher_infer", batch, teacher);
  infer_case("step/teacher_infer_b1", 1, teacher);
  infer_case("step/student_infer", batch, student);
  infer_case("step/student_infer_b1", 1, student);
  runtime_case("step/student_packed_infer", batch);
  runtime_case("step/student_packed_infer_b1", 1);
}

}  // namespace qdistill_bench

int main(int argc, char** argv) {
  qdistill_bench::add_cases();
  return qdistill_bench::run(argc, argv);
}
