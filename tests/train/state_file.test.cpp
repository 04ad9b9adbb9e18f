/// State dicts in files: round trip, PyTorch's own file, name maps, errors that name keys and shapes.
#include "qdistill/train/state_file.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "error_of.hpp"
#include "qdistill/nn/activation.hpp"
#include "qdistill/nn/batch_norm.hpp"
#include "qdistill/nn/conv.hpp"
#include "qdistill/nn/linear.hpp"
#include "qdistill/nn/sequential.hpp"
#include "qdistill/nn/shape.hpp"

#if !defined(QDISTILL_TEST_DIR)
#define QDISTILL_TEST_DIR "tests"
#endif

namespace qdistill_test {

using namespace qdistill;

namespace {

std::string temporary(const char* name) { return (std::filesystem::temp_directory_path() / name).string(); }

}  // namespace

TEST_CASE("a state dict survives a file", "[train]") {
  const std::string path = temporary("qdistill-state.safetensors");
  nn::Sequential<float> a(nn::Conv2d<float>(3, 4, 3), nn::BatchNorm2d<float>(4)),
      b(nn::Conv2d<float>(3, 4, 3), nn::BatchNorm2d<float>(4));
  a(Tensor<float>::uniform({2, 3, 6, 6}, {1, 1}));
  train::save_state(a, path);
  train::load_state(b, path);
  const auto x = nn::state_dict(a), y = nn::state_dict(b);
  REQUIRE(x.size() == y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(x[i].values.to_vector() == y[i].values.to_vector());
    CHECK(x[i].count.to_vector() == y[i].count.to_vector());
  }
  std::filesystem::remove(path);
}

TEST_CASE("keys and shapes that do not fit are named, and nothing is changed", "[train]") {
  const std::string path = temporary("qdistill-state-2.safetensors");
  nn::Sequential<float> source(nn::Linear<float>(3, 4), nn::Linear<float>(4, 2));
  train::save_state(source, path);
  nn::Sequential<float> more(nn::Linear<float>(3, 4), nn::Linear<float>(4, 2), nn::Linear<float>(2, 2));
  nn::Sequential<float> fewer{nn::Linear<float>(3, 4)};
  nn::Sequential<float> other(nn::Linear<float>(3, 5), nn::Linear<float>(4, 2));
  const std::string missing = error_of<FileError>([&] { train::load_state(more, path); });
  CHECK(missing.find("2.weight") != std::string::npos);
  CHECK(error_of<FileError>([&] { train::load_state(fewer, path); }).find("1.bias") != std::string::npos);
  const auto before = other.named_parameters()[2].parameter->data().to_vector();
  const std::string shape = error_of<FileError>([&] { train::load_state(other, path); });
  CHECK(shape.find("0.weight") != std::string::npos);
  CHECK(shape.find("[4, 3]") != std::string::npos);
  CHECK(shape.find("[5, 3]") != std::string::npos);
  CHECK(other.named_parameters()[2].parameter->data().to_vector() == before);
  const nn::LoadReport report = train::load_state(more, path, {.strict = false});
  CHECK(report.missing == std::vector<std::string>{"2.weight", "2.bias"});
  CHECK(report.unexpected.empty());
  nn::Sequential<float> mapped{nn::Linear<float>(4, 2)};
  CHECK(
      train::load_state(mapped, path, {.strict = false, .rename = {{"1.*", "0.*"}, {"0.*", "old.*"}}}).missing.empty());
  CHECK(mapped.named_parameters()[0].parameter->data().to_vector() ==
        source.named_parameters()[2].parameter->data().to_vector());
  std::filesystem::remove(path);
}

TEST_CASE("a state dict that PyTorch wrote loads strictly and gives PyTorch's output", "[train]") {
  const std::string folder = QDISTILL_TEST_DIR "/formats/";
  nn::Sequential<float> net(nn::Conv2d<float>(3, 4, 3), nn::BatchNorm2d<float>(4), nn::ReLU<float>(),
                            nn::Flatten<float>(), nn::Linear<float>(4 * 6 * 6, 5));
  const nn::LoadReport report = train::load_state(net, folder + "pytorch_state_dict.safetensors");
  CHECK(report.missing.empty());
  CHECK(report.unexpected.empty());
  net.eval();
  const io::SafetensorsFile io = io::load_safetensors(folder + "pytorch_state_dict_io.safetensors");
  const auto y = net(Tensor<float>::from(io.values<float>("input"), {2, 3, 8, 8})).to_vector();
  const auto want = io.values<float>("output");
  REQUIRE(y.size() == want.size());
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == Approx(want[i]).epsilon(1e-4).margin(1e-5));
  for (const auto& e : nn::state_dict(net))
    if (e.count.defined()) CHECK(e.count.item() == 3);
}

}  // namespace qdistill_test
