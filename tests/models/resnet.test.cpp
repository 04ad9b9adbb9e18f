/// ResNet-18, 34 and 50: torchvision's names and shapes, and the network written out with plain operations.
#include "qdistill/models/resnet.hpp"

#include <catch2/catch.hpp>

#include "../io/temporary_folder.hpp"
#include "qdistill/ops/activation.hpp"
#include "qdistill/ops/batch_norm.hpp"
#include "qdistill/ops/cross_entropy.hpp"
#include "qdistill/train/state_file.hpp"

namespace qdistill_test {

using namespace qdistill;

namespace {

using State = std::map<std::string, std::vector<Index>>;

void norm_entries(State& s, const std::string& name, Index channels) {
  for (const char* part : {"weight", "bias", "running_mean", "running_var"}) s[name + "." + part] = {channels};
  s[name + ".num_batches_tracked"] = {};
}

/// The state dict of torchvision.models.resnetN with `width` in place of 64 channels, by its rule.
State torchvision_state(std::vector<Index> blocks, bool bottleneck, Index width, Index classes, Index stem_kernel) {
  State s;
  s["conv1.weight"] = {width, 3, stem_kernel, stem_kernel};
  norm_entries(s, "bn1", width);
  Index in = width;
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    const Index mid = width << l, out = bottleneck ? mid * 4 : mid;
    for (Index b = 0; b < blocks[l]; ++b) {
      const std::string name = "layer" + std::to_string(l + 1) + "." + std::to_string(b) + ".";
      if (bottleneck) {
        s[name + "conv1.weight"] = {mid, in, 1, 1};
        s[name + "conv2.weight"] = {mid, mid, 3, 3};
        s[name + "conv3.weight"] = {out, mid, 1, 1};
        norm_entries(s, name + "bn3", out);
      } else {
        s[name + "conv1.weight"] = {mid, in, 3, 3};
        s[name + "conv2.weight"] = {mid, mid, 3, 3};
      }
      norm_entries(s, name + "bn1", mid);
      norm_entries(s, name + "bn2", mid);
      const bool halves = l > 0 && b == 0;
      if (halves || in != out) {
        s[name + "downsample.0.weight"] = {out, in, 1, 1};
        norm_entries(s, name + "downsample.1", out);
      }
      in = out;
    }
  }
  s["fc.weight"] = {classes, in};
  s["fc.bias"] = {classes};
  return s;
}

template <class T>
State state_of(const nn::Module<T>& model) {
  State s;
  for (const auto& e : nn::state_dict(model)) s[e.name] = {e.shape().begin(), e.shape().end()};
  return s;
}

State state_of(const models::ResNetSpec& spec) {
  const nn::init::Skip skip;
  return state_of<float>(models::resnet<float>(spec));
}

/// The network as one would write it with functions alone, from its tensors by name.
template <class T>
struct Plain {
  explicit Plain(const nn::Module<T>& model, bool train) : training(train) {
    for (const auto& [name, p] : model.named_parameters()) tensors[name] = requires_grad(p->data().detach());
    for (const auto& b : model.named_buffers())
      if (b.values) tensors[b.name] = b.values->clone();
  }
  Tensor<T> conv(const Tensor<T>& x, const std::string& name, Index stride, Index padding) {
    return conv2d(x, tensors.at(name + ".weight"), {.stride = stride, .padding = padding});
  }
  Tensor<T> norm(const Tensor<T>& x, const std::string& name) {
    return batch_norm(x, tensors.at(name + ".running_mean"), tensors.at(name + ".running_var"),
                      tensors.at(name + ".weight"), tensors.at(name + ".bias"), training);
  }
  Tensor<T> operator()(Tensor<T> x, const models::ResNetSpec& spec) {
    const bool small = spec.stem == models::ResNetStem::cifar;
    x = relu(norm(conv(x, "conv1", small ? 1 : 2, small ? 1 : 3), "bn1"));
    if (!small) x = max_pool2d(x, 3, {.stride = 2, .padding = 1});
    for (std::size_t l = 0; l < spec.blocks.size(); ++l)
      for (Index b = 0; b < spec.blocks[l]; ++b) {
        const std::string name = "layer" + std::to_string(l + 1) + "." + std::to_string(b) + ".";
        const Index stride = l > 0 && b == 0 ? 2 : 1;
        Tensor<T> y;
        if (spec.bottleneck) {
          y = relu(norm(conv(x, name + "conv1", 1, 0), name + "bn1"));
          y = relu(norm(conv(y, name + "conv2", stride, 1), name + "bn2"));
          y = norm(conv(y, name + "conv3", 1, 0), name + "bn3");
        } else {
          y = relu(norm(conv(x, name + "conv1", stride, 1), name + "bn1"));
          y = norm(conv(y, name + "conv2", 1, 1), name + "bn2");
        }
        if (tensors.count(name + "downsample.0.weight"))
          x = norm(conv(x, name + "downsample.0", stride, 0), name + "downsample.1");
        x = relu(add(y, x));
      }
    return linear(flatten(adaptive_avg_pool2d(x, 1), 1), tensors.at("fc.weight"), tensors.at("fc.bias"));
  }
  std::map<std::string, Tensor<T>> tensors;
  bool training;
};

models::ResNetSpec small(bool bottleneck, models::ResNetStem stem) {
  return {.blocks = {2, 1, 2}, .bottleneck = bottleneck, .width = 0.125, .stem = stem, .classes = 7};
}

}  // namespace

TEST_CASE("ResNets have torchvision's names and shapes", "[models]") {
  CHECK(state_of(models::resnet18()) == torchvision_state({2, 2, 2, 2}, false, 64, 1000, 7));
  CHECK(state_of(models::resnet34()) == torchvision_state({3, 4, 6, 3}, false, 64, 1000, 7));
  CHECK(state_of(models::resnet50()) == torchvision_state({3, 4, 6, 3}, true, 64, 1000, 7));
  CHECK(state_of(models::resnet18(2)) == torchvision_state({2, 2, 2, 2}, false, 128, 1000, 7));
  CHECK(state_of(models::for_cifar(models::resnet18(1.5), 100)) == torchvision_state({2, 2, 2, 2}, false, 96, 100, 3));
  // Some of them as published, in case the rule above has the mistake of the code.
  const State s = state_of(models::resnet50());
  CHECK(s.size() == 320);
  CHECK(s.at("layer1.0.downsample.0.weight") == std::vector<Index>{256, 64, 1, 1});
  CHECK(s.at("layer4.0.conv2.weight") == std::vector<Index>{512, 512, 3, 3});
  CHECK(s.at("layer4.2.bn3.running_var") == std::vector<Index>{2048});
  CHECK(s.at("fc.weight") == std::vector<Index>{1000, 2048});
  CHECK(state_of(models::resnet18()).size() == 122);
  CHECK(state_of(models::resnet18()).count("layer1.0.downsample.0.weight") == 0);
}

TEST_CASE("ResNets load a state of torchvision's names from a file", "[models]") {
  const models::ResNetSpec spec = {.blocks = {1, 1, 1, 1}, .bottleneck = true, .width = 0.0625, .classes = 3};
  const TemporaryFolder folder;
  std::vector<std::vector<float>> values;
  std::vector<io::TensorEntry> entries;
  const State state = torchvision_state({1, 1, 1, 1}, true, 4, 3, 7);
  const std::vector<Index> count{42};
  values.reserve(state.size());
  for (const auto& [name, shape] : state) {
    if (name.find("num_batches") != std::string::npos) {
      entries.push_back(io::tensor_entry(name, shape, std::span<const Index>(count)));
      continue;
    }
    const Tensor<float> t = Tensor<float>::uniform(Shape(std::span<const Index>(shape)), {1, values.size()});
    entries.push_back(io::tensor_entry(name, shape, std::span<const float>(values.emplace_back(t.to_vector()))));
  }
  io::save_safetensors(folder / "resnet", entries, {});
  const nn::init::Skip skip;
  auto net = models::resnet<float>(spec);
  CHECK(train::load_state(net, folder / "resnet").missing.empty());
  std::size_t next = 0;
  std::map<std::string, std::vector<float>> got;
  for (const auto& e : nn::state_dict(net))
    if (e.values.defined()) got[e.name] = e.values.to_vector();
    else CHECK(e.count.item() == 42);
  for (const auto& [name, v] : got) CHECK(v == values[next++]);  // both in order of names
  CHECK(next == values.size());
}

TEST_CASE("ResNets equal the network written with plain operations", "[models]") {
  default_generator() = Generator(11);
  for (const bool bottleneck : {false, true})
    for (const auto stem : {models::ResNetStem::imagenet, models::ResNetStem::cifar})
      for (const bool training : {true, false}) {
        CAPTURE(bottleneck, stem == models::ResNetStem::cifar, training);
        const models::ResNetSpec spec = small(bottleneck, stem);
        auto net = models::resnet<float>(spec);
        net.train(training);
        Plain<float> plain(net, training);
        const Tensor<float> x = Tensor<float>::normal({3, 3, 33, 30}, {2, 1});
        const Tensor<Index> labels = Tensor<Index>::from({6, 0, 3});
        const Tensor<float> y = net(x), z = plain(x, spec);
        REQUIRE(y.shape() == Shape{3, 7});
        CHECK(y.to_vector() == z.to_vector());
        cross_entropy(y, labels).backward();
        cross_entropy(z, labels).backward();
        for (const auto& [name, p] : net.named_parameters()) {
          INFO(name);
          const std::vector<float> a = p->data().grad().to_vector(), b = plain.tensors.at(name).grad().to_vector();
          double worst = 0, scale = 0;
          for (std::size_t i = 0; i < a.size(); ++i) {
            worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
            scale = std::max(scale, std::fabs(static_cast<double>(b[i])));
          }
          CHECK(scale > 0);
          CHECK(worst <= 1e-5 * scale);  // gradients of a shortcut are added in another order
        }
        for (const auto& b : net.named_buffers())
          if (b.values) CHECK(b.values->to_vector() == plain.tensors.at(b.name).to_vector());
      }
}

TEST_CASE("ResNets begin with N(0, 2 / fan_out)", "[models]") {
  default_generator() = Generator(13);
  const auto net = models::resnet<double>(models::for_cifar(models::resnet18(0.5)));
  for (const auto& [name, p] : net.named_parameters()) {
    if (p->kind() != nn::Kind::weight || p->shape().rank() != 4) continue;
    INFO(name);
    const Shape& s = p->shape();
    double sum = 0, squares = 0;
    for (const double v : p->data().to_vector()) sum += v, squares += v * v;
    const double n = static_cast<double>(s.numel()), std = std::sqrt(2.0 / static_cast<double>(s[0] * s[2] * s[3]));
    CHECK(std::fabs(sum / n) < 5 * std / std::sqrt(n));
    CHECK(std::sqrt(squares / n) == Approx(std).epsilon(5 / std::sqrt(2 * n)));
  }
}

TEST_CASE("ResNets refuse other inputs and specifications", "[models]") {
  models::ResNetSpec spec = small(false, models::ResNetStem::cifar);
  for (const double width : {0.0, -1.0, 0.3, 1.0 / 128, 1e9}) {
    spec.width = width;
    CHECK_THROWS_WITH(models::resnet<float>(spec), Catch::Contains("[ResNet] got width"));
  }
  spec = small(false, models::ResNetStem::cifar), spec.blocks = {};
  CHECK_THROWS_AS(models::resnet<float>(spec), ValueError);
  spec.blocks = {1, 0};
  CHECK_THROWS_AS(models::resnet<float>(spec), ValueError);
  auto net = models::resnet<float>(small(false, models::ResNetStem::cifar));
  CHECK_THROWS_AS(net(Tensor<float>::zeros({2, 1, 32, 32})), ShapeError);
}

TEST_CASE("ResNets: one training step, the same bits with 1, 2 and 4 threads", "[models]") {
  const int before = num_threads();
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    default_generator() = Generator(5);
    auto net = models::resnet<float>(small(true, models::ResNetStem::imagenet));
    const Tensor<float> loss =
        cross_entropy(net(Tensor<float>::normal({4, 3, 40, 40}, {5, 1})), Tensor<Index>::from({0, 4, 2, 2}));
    loss.backward();
    std::vector<std::vector<float>> got{loss.to_vector()};
    for (const auto& [name, p] : net.named_parameters()) got.push_back(p->data().grad().to_vector());
    if (first.empty()) first = got;
    CHECK(got == first);
  }
  set_num_threads(before);
}

}  // namespace qdistill_test
