/// Whole steps, images per second, peak memory and the share of the machine's peak: the CIFAR-10 networks of Polino et
/// al. (2018), wide residual networks on 32 x 32 pixels, ResNet-18 on 224 x 224. A training step: zero the gradients,
/// forward, loss, backward, SGD with Nesterov's momentum 0.9 and weight decay. Data are random and made beforehand.
/// `bn`: with batch normalisation, as the authors' code has it; the others of that paper are without.
#include "networks.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/pack.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/runtime/model.hpp"
#include "training.hpp"

namespace qdistill_bench {

constexpr Index batch = 128;

/// Training steps with the loss `loss(logits, images)`, of `work` operations an image.
template <class Loss>
void train(benchmark::State& state, nn::Module<float>& model, const Images& images, double work, Loss loss) {
  model.train();
  optim::SGD<float> sgd(model.parameters(), sgd_options);
  finish(state, images, work, timed(state, warm_up, [&] {
           sgd.zero_grad();
           loss(model(images.x), images).backward();
           sgd.step();
         }));
}

template <class Net>
void train_case(const char* name, Net make, Index n = batch, Index side = 32, Index classes = 10) {
  add_case(name, [=](benchmark::State& state) {
    auto model = make();
    const Images images(n, side, classes);
    train(state, model, images, 3 * operations(model, images.x.shape()),
          [](const Tensor<float>& logits, const Images& i) { return cross_entropy(logits, i.labels); });
  });
}

/// Quantized distillation: both forwards, the distillation loss, the gradient passed straight through.
void qdistill_train(benchmark::State& state) {
  auto teacher = plain_cnn(models::polino_teacher()), student = plain_cnn(models::polino_student_1());
  const Images images(batch);
  const double work = operations(teacher, images.x.shape()) + 3 * operations(student, images.x.shape());
  teacher.eval();
  quant::attach(student, quant::Uniform{.bits = 4, .bucket_size = 256});
  train(state, student, images, work, [&](const Tensor<float>& logits, const Images& i) {
    Tensor<float> soft;
    {
      const NoGrad no_grad;
      soft = teacher(i.x);
    }
    return distillation_loss(logits, soft, i.labels, {.temperature = 2, .teacher_weight = 0.7});
  });
}

template <class Net>
void infer_case(const char* name, Index n, Net make, Index side = 32) {
  add_case(name, [=](benchmark::State& state) {
    auto model = make();
    model.eval();
    const Images images(n, side);
    const double work = operations(model, images.x.shape());
    const NoGrad no_grad;
    finish(state, images, work, timed(state, warm_up, [&] { benchmark::DoNotOptimize(model(images.x).data()); }));
  });
}

/// A packed network, batch normalisation and 4-bit weights, in the runtime.
void runtime_case(const char* name, models::PolinoSpec (*spec)(), Index n) {
  add_case(name, [spec, n](benchmark::State& state) {
    const Images images(n);
    auto net = models::polino_cnn<float>(spec());
    const double work = operations(net, images.x.shape());
    quant::attach(net, quant::Uniform{.bits = 4, .bucket_size = 256});
    const runtime::Model model = runtime::Model::from(quant::pack(net, {3, 32, 32}));
    finish(state, images, work, timed(state, warm_up, [&] { benchmark::DoNotOptimize(model.run(images.x).data()); }));
  });
}

void add_cases() {
  const auto teacher = [] { return plain_cnn(models::polino_teacher()); };
  const auto student = [] { return plain_cnn(models::polino_student_1()); };
  const auto with_norm = [](models::PolinoSpec (*spec)()) {
    return [spec] { return models::PolinoCnn<float>(spec()); };
  };
  const auto wide = [](Index depth, Index k) { return [=] { return WideResNet(depth, k); }; };
  const auto resnet18 = [] { return models::resnet<float>(models::resnet18()); };
  train_case("step/teacher_train", teacher);
  train_case("step/teacher_bn_train", with_norm(models::polino_teacher));
  train_case("step/student_train", student);
  train_case("step/student_bn_train", with_norm(models::polino_student_1));
  train_case("step/student3_b25", with_norm(models::polino_student_3), 25);  // the batch that the authors train with
  add_case("step/qdistill_train", qdistill_train);
  train_case("step/wrn16_4_train", wide(16, 4), 32);
  train_case("step/wrn22_8_train", wide(22, 8), 32);
  train_case("step/resnet18_train", resnet18, 8, 224, 1000);
  infer_case("step/teacher_infer", batch, teacher);
  infer_case("step/teacher_infer_b1", 1, teacher);
  infer_case("step/student_infer", batch, student);
  infer_case("step/student_infer_b1", 1, student);
  infer_case("step/wrn16_4_infer", 32, wide(16, 4));
  infer_case("step/resnet18_infer", 8, resnet18, 224);
  infer_case("step/resnet18_infer_b1", 1, resnet18, 224);
  runtime_case("step/teacher_packed_infer", models::polino_teacher, batch);
  runtime_case("step/teacher_packed_infer_b1", models::polino_teacher, 1);
  runtime_case("step/student_packed_infer", models::polino_student_1, batch);
  runtime_case("step/student_packed_infer_b1", models::polino_student_1, 1);
}

}  // namespace qdistill_bench

int main(int argc, char** argv) {
  qdistill_bench::add_cases();
  return qdistill_bench::run(argc, argv);
}
