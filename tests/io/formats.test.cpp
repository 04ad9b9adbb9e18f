/// The files in tests/formats: one packed file per format version and coding, which must load for ever, and files that
/// PyTorch 1.13 and the safetensors package wrote.
#include <catch2/catch.hpp>

#include "../formats/formats_model.hpp"
#include "../formats/formats_model_v2.hpp"
#include "qdistill/io/packed.hpp"

using namespace qdistill;

namespace {

std::string formats_path(const std::string& file) {
#if defined(QDISTILL_TEST_DIR)
  return std::string(QDISTILL_TEST_DIR) + "/formats/" + file;
#else
  return "tests/formats/" + file;
#endif
}

}  // namespace

TEST_CASE("formats: packed files of version 1 load", "[io][packed][formats]") {
  const io::PackedModel expected = formats_model();
  for (const char* file : {"packed_v1_plain.safetensors", "packed_v1_huffman.safetensors"}) {
    CAPTURE(file);
    const io::PackedModel model = io::load_packed(formats_path(file));
    CHECK(model.network == expected.network);
    CHECK(model.info == expected.info);
    REQUIRE(model.tensors.size() == expected.tensors.size());
    for (const auto& [name, encoding] : expected.tensors) {
      CAPTURE(name);
      CHECK(model.tensors.at(name).shape == encoding.shape);
      CHECK(decode_ref(model.tensors.at(name)) == decode_ref(encoding));
    }
  }
  CHECK(io::load_safetensors(formats_path("packed_v1_huffman.safetensors")).has("qdistill.huffman.4"));
  // Sums of the values as a decoder written from the format's description alone, in Python, found them in these files.
  const std::pair<const char*, double> sums[] = {{"conv.bias", 1.75},
                                                 {"conv.weight", -47.0833325535059},
                                                 {"fc.weight", -2290.899923030287},
                                                 {"norm.bias", 0.05000000260770321},
                                                 {"other.absmax", 10.25},
                                                 {"other.absnorm", 0.07874015811830759}};
  for (const char* file : {"packed_v1_plain.safetensors", "packed_v1_huffman.safetensors"}) {
    const io::PackedModel model = io::load_packed(formats_path(file));
    for (const auto& [name, expected_sum] : sums) {
      CAPTURE(file, name);
      double sum = 0;
      for (const float value : decode_ref(model.tensors.at(name))) sum += static_cast<double>(value);
      CHECK(sum == Approx(expected_sum).epsilon(1e-7));
    }
  }
}

TEST_CASE("formats: models without anything new are written as version 1 wrote them", "[io][packed][formats]") {
  for (const bool huffman : {false, true})
    CHECK(io::to_packed(formats_model(), {.huffman = huffman}) ==
          io::read_file(formats_path(huffman ? "packed_v1_huffman.safetensors" : "packed_v1_plain.safetensors")));
}

TEST_CASE("formats: packed files of version 2 load, a tensor of each kind", "[io][packed][formats]") {
  const io::PackedModel expected = formats_model_v2();
  // Sums of (1 + i mod 7) w_i as a decoder written from docs/formats.md alone, in Python, found them in both files.
  const std::map<std::string, double> sums{{"conv.bias", -5.875},
                                           {"conv.weight", -149.75},
                                           {"fc.bias", 15.125},
                                           {"fc.weight", 5801.087603899948},
                                           {"mix.bias", -39.125},
                                           {"mix.weight", 333.90625},
                                           {"other.grouped", 0.19999993592500687},
                                           {"other.product", -660.25},
                                           {"other.table", 29.75},
                                           {"other.wide", 2.2379606168223454},
                                           {"out.weight", 420.9416666666662}};
  for (const char* file : {"packed_v2_plain.safetensors", "packed_v2_huffman.safetensors"}) {
    CAPTURE(file);
    const io::PackedModel model = io::load_packed(formats_path(file));
    CHECK(model.network == expected.network);
    CHECK(model.info == expected.info);
    CHECK(model.tensors == expected.tensors);
    REQUIRE(model.tensors.size() == sums.size());
    for (const auto& [name, expected_sum] : sums) {
      CAPTURE(name);
      double sum = 0;
      std::size_t i = 0;
      for (const float value : decode_ref(model.tensors.at(name))) sum += static_cast<double>(1 + i++ % 7) * value;
      CHECK(sum == Approx(expected_sum).epsilon(1e-6));
    }
  }
  const auto file = io::load_safetensors(formats_path("packed_v2_huffman.safetensors"));
  CHECK(file.has("qdistill.huffman.4"));
  CHECK(file.has("qdistill.huffman.product.3"));
  CHECK(file.at("conv.bias").dtype == io::Dtype::F16);
}

TEST_CASE("formats: files written by PyTorch are read", "[io][safetensors][formats]") {
  const auto state = io::load_safetensors(formats_path("pytorch_state_dict.safetensors"));
  CHECK(state.metadata().at("format") == "pt");
  REQUIRE(state.tensors().size() == 9);
  CHECK(state.at("0.weight").shape == std::vector<Index>{4, 3, 3, 3});
  CHECK(state.at("4.weight").shape == std::vector<Index>{5, 144});
  CHECK(state.values<std::int64_t>("1.num_batches_tracked") == std::vector<std::int64_t>{3});
  CHECK(state.at("1.num_batches_tracked").shape.empty());

  const auto types = io::load_safetensors(formats_path("pytorch_dtypes.safetensors"));
  CHECK(types.values<float>("half") == std::vector<float>{1, -2.5f, 65504});
  CHECK(types.values<float>("brain") == std::vector<float>{1.5f, -3});
  CHECK(types.values<std::uint8_t>("flags") == std::vector<std::uint8_t>{1, 0});
  CHECK(types.values<std::int8_t>("bytes") == std::vector<std::int8_t>{-1, 127});
  CHECK(types.values<double>("double") == std::vector<double>{0.1});
  CHECK(types.values<std::int16_t>("short") == std::vector<std::int16_t>{-300});
  CHECK(types.values<std::int32_t>("int") == std::vector<std::int32_t>{7});
  CHECK(types.values<std::uint8_t>("u8") == std::vector<std::uint8_t>{255});
  CHECK(types.values<float>("empty").empty());
}
