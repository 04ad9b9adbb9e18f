/// From the third training step on, forward, loss, backward and optimizer step ask the system for no memory: every call
/// of malloc and its kin in this process is counted (operator new ends there too, and so does mmap, which only the
/// allocator itself calls). Not under a sanitizer, which brings its own allocator, and not outside of glibc.
#include <catch2/catch.hpp>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define QDISTILL_COUNT_MALLOC 0
#endif
#endif
#if !defined(QDISTILL_COUNT_MALLOC)
#define QDISTILL_COUNT_MALLOC 1
#endif
#else
#define QDISTILL_COUNT_MALLOC 0
#endif

#if QDISTILL_COUNT_MALLOC

#include <atomic>
#include <cstdlib>

#include "qdistill/models/polino_cnn.hpp"
#include "qdistill/models/resnet.hpp"
#include "qdistill/models/wide_resnet.hpp"
#include "qdistill/nn/checkpoint.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/ops/distillation_loss.hpp"
#include "qdistill/optim/adam.hpp"
#include "qdistill/optim/joint.hpp"
#include "qdistill/optim/sgd.hpp"
#include "qdistill/quant/attach.hpp"
#include "qdistill/quant/binary_connect.hpp"
#include "qdistill/quant/diffq.hpp"
#include "qdistill/quant/dorefa.hpp"
#include "qdistill/quant/half.hpp"
#include "qdistill/quant/lsq.hpp"
#include "qdistill/quant/projected.hpp"
#include "qdistill/quant/quant_noise.hpp"
#include "qdistill/quant/size.hpp"
#include "qdistill/quant/ternary.hpp"
#include "qdistill/quant/uniform.hpp"
#include "qdistill/quant/weight_sharing.hpp"

namespace {
std::atomic<bool> counting{false};
std::atomic<long> calls{0};
void count() {
  if (counting.load(std::memory_order_relaxed)) calls.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t n) {
  count();
  return __libc_malloc(n);
}
void* calloc(std::size_t n, std::size_t size) {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* p, std::size_t n) {
  count();
  return __libc_realloc(p, n);
}
void* aligned_alloc(std::size_t alignment, std::size_t n) {
  count();
  return __libc_memalign(alignment, n);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t n) {
  count();
  *out = __libc_memalign(alignment, n);
  return *out ? 0 : 12;
}
}

namespace qdistill_test {

using namespace qdistill;

namespace {

/// Six training steps with distillation and 4-bit weights, for each number of threads, of which the last four are
/// counted.
void check_steps(nn::Module<float>& student, nn::Module<float>& teacher) {
  teacher.eval();
  quant::attach(student, quant::Uniform{.bits = 4});
  optim::SGD<float> sgd(student.parameters(), {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4, .nesterov = true});
  const Tensor<float> x = Tensor<float>::uniform({16, 3, 32, 32}, {1, 1}, -1.0f, 1.0f);
  const Tensor<Index> y = Tensor<Index>::full({16}, 3);
#if defined(__clang__) && QDISTILL_OPENMP
  const std::vector<int> thread_counts{1};  // LLVM's OpenMP runtime itself allocates for every parallel loop
#else
  const std::vector<int> thread_counts{1, 2};
#endif
  for (const int threads : thread_counts) {
    const int before = num_threads();
    set_num_threads(threads);
    for (int step = 0; step < 6; ++step) {
      if (step == 2) calls = 0, counting = true;
      sgd.zero_grad();
      Tensor<float> targets;
      {
        const NoGrad no_grad;
        targets = teacher(x);
      }
      distillation_loss(student(x), targets, y).backward();
      sgd.step();
    }
    counting = false;
    set_num_threads(before);
    INFO(student.type() << ", " << threads << " threads");
    CHECK(calls == 0);
  }
}

}  // namespace

TEST_CASE("from the third step on a training step allocates nothing", "[train]") {
  models::PolinoSpec spec{.name = "tiny",
                          .kernel = 5,
                          .convs = {8, 6},
                          .pool_after = {0, 1},
                          .linear = {20},
                          .dropout = {{0, .2}, {2, .3}}};
  models::PolinoCnn<float> student(spec), teacher(spec);
  check_steps(student, teacher);
  models::WideResNet<float> wide({.depth = 10, .widen_factor = 1});
  models::ResNet<float> residual(
      {.blocks = {1, 1}, .bottleneck = true, .width = 0.125, .stem = models::ResNetStem::imagenet, .classes = 10});
  check_steps(wide, residual);
  models::ResNet<float> other({.blocks = {1, 2}, .width = 0.125, .stem = models::ResNetStem::cifar, .classes = 10});
  check_steps(other, teacher);
  // More weights than a node has room for, one stage inside another, and a sweep inside a sweep.
  using nn::Checkpointed, nn::Conv2d, nn::Sequential;
  Sequential<float> stage(Conv2d<float>(4, 4, 3, {.padding = 1}), nn::BatchNorm2d<float>(4), nn::ReLU<float>(),
                          Checkpointed<float>(Sequential<float>(Conv2d<float>(4, 4, 3), nn::BatchNorm2d<float>(4))),
                          nn::Dropout2d<float>(0.2), Conv2d<float>(4, 4, 3), nn::BatchNorm2d<float>(4));
  Sequential<float> recomputing(Conv2d<float>(3, 4, 3), Checkpointed<float>(std::move(stage)), nn::Flatten<float>(),
                                nn::Linear<float>(4 * 26 * 26, 10));
  check_steps(recomputing, teacher);
  // The counter does count.
  counting = true;
  void* volatile p = std::malloc(10);
  counting = false;
  std::free(p);
  CHECK(calls == 1);
}

TEST_CASE("nor does one with any other quantizer on the weights, nor the size penalty", "[train]") {
  const models::PolinoSpec spec{.name = "tiny", .kernel = 3, .convs = {8}, .pool_after = {0}, .linear = {20}};
  const Tensor<float> x = Tensor<float>::uniform({4, 3, 32, 32}, {1, 1}, -1.0f, 1.0f);
  const Tensor<Index> y = Tensor<Index>::full({4}, 3);
  const auto count_calls = [&](const auto& quantizer, const quant::Select& select) {
    models::PolinoCnn<float> student(spec);
    quant::attach(student, quantizer, select);
    const auto bits = student.parameters("bits");
    std::vector<std::unique_ptr<optim::Optimizer<float>>> parts;
    parts.push_back(std::make_unique<optim::SGD<float>>(student.parameters(""), optim::SgdOptions{.lr = 0.01}));
    if (!bits.empty()) parts.push_back(std::make_unique<optim::Adam<float>>(bits, optim::AdamOptions{}));
    optim::Joint<float> joint(std::move(parts));
    const quant::SizePenalty<float> size(student);
    const int before = num_threads();
    set_num_threads(1);
    for (int step = 0; step < 6; ++step) {
      if (step == 2) calls = 0, counting = true;
      joint.zero_grad();
      add(cross_entropy(student(x), y), mul(size(), 5)).backward();
      joint.step();
    }
    counting = false;
    set_num_threads(before);
    return calls.load();
  };
  const auto all = quant::all_parameters(), weights = quant::weights_only();
  for (const Index group : {0, 4})
    CHECK(count_calls(quant::DiffQ{.group_size = group}, quant::divisible_by(group)) == 0);
  CHECK(count_calls(quant::Half{}, all) == 0);
  CHECK(count_calls(quant::Lsq{}, all) == 0);
  CHECK(count_calls(quant::Ternary{}, weights) == 0);
  CHECK(count_calls(quant::DoReFa{}, weights) == 0);
  CHECK(count_calls(quant::BinaryConnect{}, weights) == 0);
  CHECK(count_calls(quant::WeightSharing{}, weights) == 0);
  CHECK(count_calls(quant::Projected{}, weights) == 0);
  CHECK(count_calls(quant::Product{.codewords = 16}, weights) == 0);
  CHECK(count_calls(quant::QuantNoise<quant::Product>{.inner = {.codewords = 16}}, weights) == 0);
  CHECK(count_calls(quant::QuantNoise<quant::Uniform>{}, all) == 0);
}

}  // namespace qdistill_test

#endif
