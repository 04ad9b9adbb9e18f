/// The code of docs/tutorial.md. The regions are shown there as they stand here (snippets.test.cpp).
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>

#include "data/image_samples.hpp"
#include "data/temp_dir.hpp"
#include "qdistill/qdistill.hpp"

#if !defined(QDISTILL_TEST_IMAGES)
#define QDISTILL_TEST_IMAGES 0
#endif

using namespace qdistill;

// [snippet own function]
/// y = x^3.  dL/dx = 3 x^2 dL/dy.
template <class T>
Tensor<T> cube(const Tensor<T>& x) {
  const Tensor<T> in = contiguous(x).detach();
  Tensor<T> y = Tensor<T>::empty(x.shape());
  for (Index i = 0; i < x.numel(); ++i) y.data()[i] = in.data()[i] * in.data()[i] * in.data()[i];
  return record("cube", y, inputs(x), [x = save(in)](const Tensor<T>& dy, Gradients<T>& dx) {
    Tensor<T> g = Tensor<T>::empty(dy.shape());
    for (Index i = 0; i < g.numel(); ++i) g.data()[i] = 3 * x.data()[i] * x.data()[i] * dy.data()[i];
    dx[0].accumulate(g);
  });
}
// [end]

// [snippet own module]
struct SmallNet final : nn::Module<float> {
  nn::Conv2d<float>& conv = add("conv", nn::Conv2d<float>(3, 8, 3, {.stride = 2, .padding = 1}));
  nn::BatchNorm2d<float>& norm = add("norm", nn::BatchNorm2d<float>(8));
  nn::Linear<float>& head = add("head", nn::Linear<float>(8 * 16 * 16, 10));

  Tensor<float> forward(const Tensor<float>& x) override { return head(flatten(norm(conv.forward_relu(x)), 1)); }
  const char* type() const noexcept override { return "SmallNet"; }
  int describe(Network& net, int x, const std::string& prefix) const override {  // needed only to pack it
    x = net.add("relu", {conv.describe(net, x, prefix + "conv.")});
    x = norm.describe(net, x, prefix + "norm.");
    return head.describe(net, net.add("flatten", {x}), prefix + "head.");
  }
};
// [end]

// [snippet own dataset]
struct Squares {  // two classes: a bright square at the left or at the right of a dark image
  std::vector<float> pixels;
  explicit Squares(Index count) : pixels(static_cast<std::size_t>(count * 8 * 16), 0.1f) {
    for (Index i = 0; i < count; ++i)
      for (Index k = 0; k < 64; ++k)
        pixels[static_cast<std::size_t>(i * 128 + k / 8 * 16 + k % 8 + 8 * label(i))] = 0.9f;
  }
  Index size() const { return static_cast<Index>(pixels.size()) / 128; }
  data::ImageShape shape() const { return {1, 8, 16}; }
  Index classes() const { return 2; }
  std::span<const float> image(Index i) const { return {pixels.data() + i * 128, 128}; }
  Index label(Index i) const { return i % 2; }
};
// [end]

namespace qdistill_test {

namespace {

/// A file that is gone when the test ends.
struct TemporaryFile {
  explicit TemporaryFile(const std::string& name)
      : path((std::filesystem::temp_directory_path() / ("qdistill_tutorial_" + name)).string()) {
    std::filesystem::remove(path);
  }
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  std::string path;
};

}  // namespace

TEST_CASE("tutorial: tensors", "[docs]") {
  // [snippet tensors]
  const auto a = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  const auto b = Tensor<float>::full({3}, 10);
  const Tensor<float> c = a + b;                              // broadcast to [2, 3]
  const Tensor<float> d = matmul(a, transpose(a, 0, 1));      // [2, 2]; the transpose is a view
  const Tensor<float> column = select(c, 1, -1);              // [2], a view of the last column: 13, 16
  const float total = sum(c).item();                          // 81
  const Tensor<Index> best = argmax(a, 1);                    // [2]: 2, 2
  const auto noise = Tensor<float>::normal({2, 3}, {42, 0});  // seed 42, stream 0: the same in every run
  const std::string shown = to_string(d);                     // "[[14., 32.],\n [32., 77.]]"
  // [end]
  CHECK(column.to_vector() == std::vector<float>{13, 16});
  CHECK(total == 81);
  CHECK(best.to_vector() == std::vector<Index>{2, 2});
  CHECK(noise.shape() == Shape{2, 3});
  CHECK(shown == "[[14., 32.],\n [32., 77.]]");

  std::string message;
  // [snippet errors]
  try {
    matmul(a, a);  // [2, 3] times [2, 3]
  } catch (const ShapeError& e) {
    message = e.what();  // names the operation, what it got and what it expected
  }
  // [end]
  CHECK(message.find("[matmul]") == 0);
  CHECK(message.find("[2, 3]") != std::string::npos);
}

TEST_CASE("tutorial: gradients", "[docs]") {
  // [snippet gradients]
  const auto w = requires_grad(Tensor<float>::from({1, -2, 3}));
  const Tensor<float> loss = mean(square(w)) + 0.5 * sum(abs(w));
  loss.backward();
  const std::vector<float> g = w.grad().to_vector();  // 2 w / 3 + sign(w) / 2
  w.zero_grad();

  const NoGrad no_grad;  // from here to the end of the scope nothing is recorded
  const bool recorded = sum(w).requires_grad();
  // [end]
  CHECK(g[0] == Approx(2.0 / 3 + 0.5));
  CHECK(g[1] == Approx(-4.0 / 3 - 0.5));
  CHECK(!recorded);
}

TEST_CASE("tutorial: a function of one's own", "[docs]") {
  // [snippet gradcheck]
  const auto at = Tensor<double>::uniform({4, 5}, {1, 0}, -1.0, 1.0);
  const GradcheckResult result = gradcheck([](const auto& x) { return cube(x[0]); }, {at});
  if (!result.ok) throw std::runtime_error(result.message());  // says where and by how much
  // [end]
  CHECK(result.compared == 20);
  const auto x = requires_grad(Tensor<float>::full({2}, 2));
  sum(cube(transpose(reshape(x, {1, 2}), 0, 1))).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{12, 12});
}

TEST_CASE("tutorial: train a network by hand", "[docs]") {
  // [snippet training loop]
  const data::ImageSet digits = data::make_digits({.count = 200, .difficulty = 0});
  data::DataLoader loader(digits, {.batch_size = 20, .shuffle = true, .seed = 1});
  manual_seed(1);  // of initialisation and dropout
  SmallNet net;
  optim::Adam<float> adam(net.parameters(), {.lr = 3e-3});
  double before = 0, after = 0;
  for (Index epoch = 0; epoch < 4; ++epoch) {
    net.train();
    for (const data::Batch& batch : loader) {
      const auto [images, labels] = data::to_tensors(batch);
      adam.zero_grad();
      cross_entropy(net(images), labels).backward();
      adam.step();
    }
    after = train::evaluate(net, loader).loss();  // in evaluation mode, without a graph
    if (epoch == 0) before = after;
  }
  // [end]
  CHECK(after < before);
  // [snippet summary]
  const std::string table = nn::summary(net);  // layer, type, parameter shapes, parameters, bytes, quantized
  // [end]
  CHECK(table.find("Conv2d") != std::string::npos);
  const runtime::Model packed = runtime::Model::from(quant::pack(net, {3, 32, 32}));  // by its describe()
  data::DataLoader again(digits, {.batch_size = 20});
  CHECK(train::tally(packed, again).loss() == train::evaluate(net, again).loss());
}

TEST_CASE("tutorial: a dataset of one's own", "[docs]") {
  // [snippet using a dataset]
  const Squares squares(40);
  data::DataLoader loader(squares, {.batch_size = 8, .shuffle = true, .seed = 3});
  manual_seed(3);
  nn::Sequential<float> net(nn::Flatten<float>(), nn::Linear<float>(128, 2));
  optim::SGD<float> sgd(net.parameters(), {.lr = 0.1});
  const auto labels_only = [](const auto& logits, const auto&, const auto& labels, const auto&) {
    return cross_entropy(logits, labels);
  };
  const train::FitResult result = train::fit(net, sgd, loader, loader, labels_only, {.epochs = 5});
  // [end]
  CHECK(result.best_accuracy == 1);
}

#if QDISTILL_TEST_IMAGES
TEST_CASE("tutorial: images in folders", "[docs]") {
  const test::TempDir dir;
  for (const char* folder : {"train", "train/cat", "train/dog", "val", "val/cat", "val/dog"})
    dir.make_directory(folder);
  for (const char* file : {"train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png"})
    dir.write(file, test::pattern_png(40, 30));
  const std::string photos = dir.path();
  // [snippet image folder]
  const data::ImageFolder train(photos + "/train", {.fit = data::RandomResizedCrop{}});
  const data::ImageFolder val(photos + "/val");  // short side to 256, then the central 224 x 224
  data::DataLoader batches(train, {.batch_size = 64,
                                   .shuffle = true,
                                   .augment = data::imagenet_augment,  // mirrors every second image
                                   .normalize = data::imagenet_normalize(),
                                   .seed = 1});
  data::DataLoader held_out(val, {.batch_size = 64, .normalize = data::imagenet_normalize()});
  // [end]
  CHECK(train.class_names() == std::vector<std::string>{"cat", "dog"});
  CHECK(batches.next().images.size() == 2 * 3 * 224 * 224);
  CHECK((batches.draws() && !held_out.draws()));
}
#endif

TEST_CASE("tutorial: distill, quantize, pack, run, resume", "[docs]") {
  const TemporaryFile packed_file("packed.safetensors"), checkpoint_file("checkpoint.safetensors"),
      state_file("state.safetensors");
  const std::string packed_path = packed_file.path, checkpoint_path = checkpoint_file.path,
                    state_path = state_file.path;
  manual_seed(7);
  // [snippet teacher]
  const data::ImageSet digits = data::make_digits({.count = 240, .difficulty = 0});
  const data::TrainValidation parts = data::split_validation(digits, 40, /*seed=*/1);
  data::DataLoader batches(parts.train, {.batch_size = 20, .shuffle = true, .seed = 1});
  data::DataLoader held_out(parts.validation);

  auto teacher = models::polino_cnn<float>({.convs = {6, 8}, .pool_after = {0, 1}, .linear = {32}});
  distill::Options options{.sgd = {.lr = 0.02, .momentum = 0.9, .nesterov = true}, .fit = {.epochs = 2}};
  distill::fit(teacher, batches, held_out, options);  // cross entropy on the labels
  // [end]

  // [snippet distillation]
  auto student = models::polino_cnn<float>({.convs = {4, 4}, .pool_after = {0, 1}, .linear = {16}});
  options.loss = {.temperature = 5, .teacher_weight = 0.7};
  options.cache_teacher = true;  // the images are the same in every epoch, so the teacher looks at each only once
  const train::FitResult result = distill::fit(student, {&teacher}, batches, held_out, options);
  // [end]
  CHECK(result.history.size() == 2);

  // [snippet post-mortem]
  quant::attach(student, quant::Uniform{.bits = 8, .bucket_size = 256});
  const double at_8_bits = train::evaluate(student, held_out).accuracy();
  quant::attach(student, quant::Uniform{.bits = 2, .bucket_size = 0});  // in place of the first; 0: no buckets
  const double at_2_bits = train::evaluate(student, held_out).accuracy();
  quant::detach(student);  // the stored weights were never touched
  // [end]
  CHECK((at_8_bits >= 0 && at_2_bits >= 0));

  // [snippet quantized distillation]
  quant::attach(student, quant::Uniform{.bits = 4}, quant::weights_only());
  distill::fit(student, {&teacher}, batches, held_out, options);
  // [end]

  // [snippet diffq]
  auto shrinking = models::polino_cnn<float>(student.spec());
  quant::attach(shrinking, quant::DiffQ{.group_size = 8}, quant::divisible_by(8, quant::larger_than_mb(0.001)));
  quant::attach(shrinking, quant::Half{}, quant::not_quantized());  // the small tensors as float16
  distill::Options priced = options;
  priced.penalty_weight = 1;     // loss + 1 x MB
  priced.fit.keep_best = false;  // it shrinks while it trains: its last epoch is wanted
  distill::fit(shrinking, {&teacher}, batches, held_out, priced);
  // [end]
  CHECK(shrinking.parameters("bits").size() >= 1);

  // [snippet pack]
  const Ledger bytes = quant::save_packed(student, packed_path, {3, 32, 32}, {{"trained on", "240 digits"}});
  const std::string table = to_string(bytes);  // codes, scales, Huffman table, full precision, header, padding, total
  // [end]
  CHECK(static_cast<std::uintmax_t>(bytes.total()) == std::filesystem::file_size(packed_path));
  CHECK(table.find("total") != std::string::npos);

  // [snippet run]
  const runtime::Model model = runtime::load(packed_path);  // may be another program, without the network's class
  const auto images = Tensor<float>::uniform({5, 3, 32, 32}, {1, 0}, -1.0f, 1.0f);
  const Tensor<float> logits = model.run(images);  // [5, 10]
  // [end]
  student.eval();
  CHECK(logits.to_vector() == student(images).to_vector());
  CHECK(model.info().at("trained on") == "240 digits");

  // [snippet stop]
  std::atomic<bool> stop{false};  // a program sets it in its handler of Ctrl-C
  options.fit = {.epochs = 4, .checkpoint = checkpoint_path, .stop = &stop};
  // [end]
  stop = true;
  const auto start = student.parameters()[0].to_vector();
  CHECK(distill::fit(student, {&teacher}, batches, held_out, options).interrupted);
  CHECK(student.parameters()[0].to_vector() != start);
  stop = false;
  // [snippet resume]
  const train::Checkpoint checkpoint = train::Checkpoint::load(checkpoint_path);
  options.fit.resume = &checkpoint;
  const train::FitResult resumed = distill::fit(student, {&teacher}, batches, held_out, options);
  // [end]
  CHECK(!resumed.interrupted);
  CHECK(resumed.history.size() == 4);

  // [snippet state dict]
  train::save_state(student, state_path);  // safetensors under PyTorch's names
  auto copy = models::polino_cnn<float>(student.spec());
  const nn::LoadReport report = train::load_state(copy, state_path);  // strict: throws on missing or unexpected names
  // [end]
  CHECK((report.missing.empty() && report.unexpected.empty()));
  CHECK(copy.named_parameters()[0].parameter->data().to_vector() ==
        student.named_parameters()[0].parameter->data().to_vector());
}

}  // namespace qdistill_test
