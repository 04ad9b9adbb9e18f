#include "qdistill/io/packed.hpp"

#include <catch2/catch.hpp>

#include "packed_bytes.hpp"
#include "qdistill/core/random.hpp"
#include "temporary_folder.hpp"

using namespace qdistill;
using io::PackedModel;
using nlohmann::json;
using qdistill_test::packed_message, qdistill_test::parse_packed;

namespace {

Encoding uniform(std::vector<Index> shape, int bits, Index bucket_size, std::uint64_t seed,
                 Scaling scaling = Scaling::linear) {
  const RandomStream random{seed, 0};
  UniformEncoding u;
  u.bits = bits;
  u.bucket_size = bucket_size;
  u.scaling = scaling;
  const Index n = checked_numel("test", shape);
  const double middle = std::ldexp(0.5, bits), width = std::ldexp(0.1, bits);
  for (Index i = 0; i < n; ++i)
    u.codes.push_back(
        static_cast<std::uint16_t>(std::clamp(middle + width * random.normal(i), 0.0, std::ldexp(1.0, bits) - 1.0)));
  for (Index b = 0; b < bucket_count(n, bucket_size); ++b) {
    u.scale.push_back(random.uniform(b) + 0.1f);
    if (scaling == Scaling::linear) u.offset.push_back(-random.uniform(b));
  }
  return {std::move(shape), std::move(u)};
}

PackedModel small(Index channels = 4) {
  PackedModel model;
  model.network.input_shape = {3, 8, 8};
  const int x = model.network.add("conv2d", {0},
                                  {{"padding", std::vector<Index>{1, 1}},
                                   {"groups", 1},
                                   {"eps", 0.1},
                                   {"whole", 1.0},
                                   {"bias", true},
                                   {"mode", "zeros"},
                                   {"none", std::vector<Index>{}}},
                                  {{"weight", "conv.weight"}, {"bias", "conv.bias"}});
  model.network.add("linear", {x, 0}, {{"least", std::numeric_limits<std::int64_t>::min()}}, {{"weight", "fc.weight"}});
  model.tensors["conv.weight"] = uniform({channels, 3, 3, 3}, 4, 16, 1);
  model.tensors["conv.bias"] = {{channels},
                                DenseEncoding{std::vector<float>(static_cast<std::size_t>(channels), 0.1f)}};
  model.tensors["fc.weight"] = uniform({10, channels}, 4, 0, 2);
  std::get<UniformEncoding>(model.tensors["fc.weight"].data).mean = 0.3f;
  model.tensors["extra.absmax"] = uniform({5}, 3, 2, 3, Scaling::absmax);
  model.tensors["extra.absnorm"] = uniform({7}, 9, 4, 4, Scaling::absnorm);
  model.tensors["extra.empty"] = uniform({0, 4}, 4, 16, 5);
  model.tensors["extra.scalar"] = uniform({}, 16, 16, 6);
  model.info = {{"trained on", "digits"}, {"accuracy", "0.93 \"test\""}};
  return model;
}

void check_equal(const PackedModel& a, const PackedModel& b) {
  CHECK(a.network == b.network);
  CHECK(a.info == b.info);
  REQUIRE(a.tensors.size() == b.tensors.size());
  for (const auto& [name, encoding] : a.tensors) {
    CAPTURE(name);
    const Encoding& other = b.tensors.at(name);
    CHECK(encoding.shape == other.shape);
    CHECK(encoding.data.index() == other.data.index());
    CHECK(decode_ref(encoding) == decode_ref(other));
    if (const auto* u = std::get_if<UniformEncoding>(&encoding.data)) {
      const auto& v = std::get<UniformEncoding>(other.data);
      CHECK(u->bits == v.bits);
      CHECK(u->bucket_size == v.bucket_size);
      CHECK(u->scaling == v.scaling);
      CHECK(u->codes == v.codes);
      CHECK(u->scale == v.scale);
      CHECK(u->offset == v.offset);
      CHECK(u->mean == v.mean);
    }
  }
}

template <class F>
std::string message(F&& change, bool huffman = false) {
  return packed_message(small(), change, huffman);
}

}  // namespace

TEST_CASE("packed: there and back, and the ledger is the file's size", "[io][packed]") {
  const TemporaryFolder folder;
  for (const bool huffman : {false, true}) {
    for (const Index channels : {1, 4, 300}) {
      CAPTURE(huffman, channels);
      const PackedModel model = small(channels);
      const Ledger ledger = io::save_packed(folder / "m", model, {.huffman = huffman});
      CHECK(ledger.total() == static_cast<Index>(std::filesystem::file_size(folder / "m")));
      CHECK(ledger.full_precision == 4 * channels);
      CHECK(ledger.codes > 0);
      CHECK(ledger.scales > 0);
      CHECK((ledger.huffman_table > 0) == (huffman && channels == 300));
      check_equal(model, io::load_packed(folder / "m"));
      CHECK(io::read_file(folder / "m") == io::to_packed(model, {.huffman = huffman}));
    }
  }
  const Ledger plain = io::save_packed(folder / "p", small(300), {.huffman = false});
  const Ledger coded = io::save_packed(folder / "h", small(300));
  CHECK(coded.total() < plain.total());
  CHECK(folder.files() == 3);
}

TEST_CASE("packed: one Huffman code for all tensors of a width, as long as the paper counts", "[io][packed]") {
  PackedModel model;
  model.tensors["a"] = uniform({3000}, 4, 256, 1);
  model.tensors["b"] = uniform({500, 4}, 4, 256, 2);
  model.tensors["c"] = uniform({2000}, 2, 256, 2);
  const TemporaryFolder folder;
  const Ledger ledger = io::save_packed(folder / "m", model);
  const auto file = io::load_safetensors(folder / "m");
  CHECK(file.has("qdistill.huffman.4"));
  CHECK(file.has("qdistill.huffman.2"));
  CHECK(ledger.huffman_table == (16 * 5 + 7) / 8 + (4 * 5 + 7) / 8);
  std::vector<std::uint64_t> counts(16, 0);
  for (const char* name : {"a", "b"})
    for (const auto code : std::get<UniformEncoding>(model.tensors[name].data).codes) ++counts[code];
  const double bits = mean_bit_length(counts) * 5000;
  const auto stored = static_cast<double>(file.at("a.codes").bytes.size() + file.at("b.codes").bytes.size()) * 8;
  CHECK(stored >= bits);
  CHECK(stored <= bits + 2 * 7);
  check_equal(model, io::load_packed(folder / "m"));
}

TEST_CASE("packed: codes of a lone value are stored plain", "[io][packed]") {
  PackedModel model;
  UniformEncoding u;
  u.bits = 8;
  u.codes.assign(100'000, 7);
  u.scale = {1};
  u.offset = {0};
  model.tensors["w"] = {{100'000}, u};
  const auto bytes = io::to_packed(model);
  CHECK(bytes.size() > 100'000);
  check_equal(model, parse_packed(bytes));
  // A hostile file that says otherwise cannot make the reader reserve what it claims.
  const HuffmanCode lone(std::vector<std::uint64_t>{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  const auto table = lone.to_bytes();
  CHECK_THAT(message([&](json& d, auto& entries) {
               d["tensors"]["conv.weight"]["coding"] = "huffman";
               entries.push_back(io::tensor_entry("qdistill.huffman.4", {static_cast<Index>(table.size())}, table));
             }),
             Catch::Contains("lone symbol"));
}

TEST_CASE("packed: an ill-formed model is not written", "[io][packed]") {
  const TemporaryFolder folder;
  const auto save = [&](auto&& change) {
    PackedModel model = small();
    change(model);
    io::save_packed(folder / "m", model);
  };
  CHECK_NOTHROW(save([](PackedModel&) {}));
  std::filesystem::remove(folder / "m");
  CHECK_THROWS_WITH(save([](PackedModel& m) { m.tensors.erase("fc.weight"); }),
                    Catch::Contains("no tensor 'fc.weight', which the weight of linear names"));
  CHECK_THROWS_AS(save([](PackedModel& m) { m.network.ops[0].inputs = {9}; }), ValueError);
  CHECK_THROWS_AS(save([](PackedModel& m) { m.tensors["fc.weight"].shape = {41}; }), ShapeError);
  CHECK_THROWS_AS(save([](PackedModel& m) { m.info["\xFF"] = "x"; }), ValueError);
  CHECK_THROWS_AS(save([](PackedModel& m) { m.info["x"] = "\xFF"; }), ValueError);
  CHECK_THROWS_AS(save([](PackedModel& m) { m.tensors["conv.weight.codes"] = m.tensors["conv.bias"]; }), ValueError);
  CHECK(folder.files() == 0);
}

TEST_CASE("packed: a newer format is refused clearly", "[io][packed]") {
  CHECK(message([](json& d, auto&) { d["format"] = 3; }) ==
        "[load_packed] test: the description: [format] got version 3, expected at most 2. HINT: use a newer qdistill");
  CHECK_THAT(message([](json& d, auto&) { d["network"]["version"] = 2; }), Catch::Contains("use a newer qdistill"));
  CHECK_THAT(message([](json& d, auto&) { d["format"] = 0; }), Catch::Contains("version 0"));
  CHECK_THAT(message([](json& d, auto&) { d["format"] = "1"; }), Catch::Contains("no 64-bit integer"));
  CHECK_THAT(message([](json& d, auto&) { d["format"] = 1e30; }), Catch::Contains("no 64-bit integer"));
  CHECK_THAT(message([](json& d, auto&) { d.erase("format"); }), Catch::Contains("no field 'format'"));
}

TEST_CASE("packed: descriptions that do not fit the stored tensors are refused", "[io][packed]") {
  CHECK(message([](json&, auto&) {}) == "no error");
  const auto tensor = [](const char* name, const char* key, json value) {
    return message([&](json& d, auto&) { d["tensors"][name][key] = value; });
  };
  const auto refused = [](const std::string& got, const char* part) { CHECK_THAT(got, Catch::Contains(part)); };
  refused(tensor("conv.weight", "bits", 0), "tensor 'conv.weight': [uniform] got 0 bits");
  refused(tensor("conv.weight", "bits", 40), "got 40 bits");
  refused(tensor("conv.weight", "bits", -4), "got -4 bits");
  refused(tensor("conv.weight", "bits", 4294967300), "32-bit");
  refused(tensor("conv.weight", "bits", 5), "got 54 bytes for 108 codes of 5 bits");
  refused(tensor("conv.weight", "bits", "4"), "no 64-bit integer");
  refused(tensor("conv.weight", "bucket_size", -1), "bucket_size -1");
  refused(tensor("conv.weight", "bucket_size", 0), "7 scales, expected 1");
  refused(tensor("conv.weight", "bucket_size", std::numeric_limits<std::int64_t>::max()), "7 scales, expected 1");
  refused(tensor("conv.weight", "bucket_size", std::numeric_limits<std::uint64_t>::max()), "no 64-bit integer");
  refused(tensor("conv.weight", "shape", {108, 2}), "54 bytes for 216 codes");
  refused(tensor("conv.weight", "shape", {1 << 30, 1 << 30}), "54 bytes for");
  refused(tensor("conv.weight", "shape", {1 << 30, 1 << 30, 1 << 30}), "63 bits");
  refused(tensor("conv.weight", "shape", {-108}), "negative extent");
  refused(tensor("conv.weight", "shape", "108"), "no list");
  refused(tensor("conv.weight", "coding", "zip"), "got 'zip'");
  refused(tensor("conv.weight", "coding", "huffman"), "no tensor 'qdistill.huffman.4'");
  refused(tensor("conv.weight", "scheme", "magic"), "got 'magic'");
  refused(tensor("conv.weight", "scheme", "dense"), "no tensor 'conv.weight'");
  refused(tensor("conv.weight", "scaling", "cubic"), "got 'cubic'");
  refused(tensor("conv.weight", "scaling", "absmax"), "stored tensors, of which");
  refused(tensor("conv.weight", "mean", "x"), "no number");
  refused(tensor("conv.weight", "mean", 1e300), "beyond float");
  refused(message([](json& d, auto&) { d["tensors"].erase("extra.empty"); }), "stored tensors, of which");
  refused(message([](json& d, auto&) { d["tensors"].erase("conv.bias"); }), "no tensor 'conv.bias'");
  refused(message([](json& d, auto&) { d["tensors"]["more"] = {{"scheme", "dense"}}; }), "no tensor 'more'");
  refused(message([](json& d, auto&) { d["tensors"] = 3; }), "no object");
  // json::object and json::array, since clang 14 loses the old value where a generic lambda assigns a list in braces.
  refused(message([](json& d, auto&) { d["info"] = json::object({{"a", 1}}); }), "no string");
  refused(message([](json& d, auto&) { d["network"]["ops"][0]["inputs"][0] = 1; }), "input value 1");
  refused(message([](json& d, auto&) { d["network"]["ops"][0]["inputs"][0] = 5000000000; }), "input value 5000000000");
  refused(message([](json& d, auto&) { d["network"]["ops"][0]["attributes"]["x"] = nullptr; }), "an attribute");
  refused(message([](json& d, auto&) { d["network"]["ops"][0]["attributes"]["x"] = {0.5}; }), "an attribute's list");
  refused(message([](json& d, auto&) { d["network"]["ops"][0]["attributes"] = 1; }), "no object of attributes");
  refused(message([](json& d, auto&) { d["network"]["ops"] = json::array({1}); }), "no object where one with 'op'");
  refused(message([](json& d, auto&) { d["network"]["output"] = 3; }), "output value 3");
  refused(message([](json& d, auto&) { d["network"]["input_shape"] = json::array({0}); }), "input shape [0]");
  refused(message([](json& d, auto&) { d = json::array({1}); }), "no object");
  refused(message([](json& d, auto&) {
            json deep = 1;
            for (int i = 0; i < 50; ++i) deep = json::array({deep});
            d["info"] = deep;
          }),
          "nested deeper");
  refused(message([](json&, auto& entries) {
            for (auto& e : entries)
              if (e.dtype == io::Dtype::F32) e.dtype = io::Dtype::I32;
          }),
          "got I32 for");
}

TEST_CASE("packed: other JSON in the metadata is refused", "[io][packed]") {
  const auto read = [](const io::SafetensorsFile::Metadata& metadata) {
    parse_packed(io::to_safetensors({}, metadata));
  };
  CHECK_THROWS_WITH(read({}), Catch::Contains("not a packed model"));
  CHECK_THROWS_WITH(read({{"format", "pt"}}), Catch::Contains("not a packed model"));
  CHECK_THROWS_WITH(read({{"qdistill", ""}}), Catch::Contains("not valid JSON at byte"));
  CHECK_THROWS_WITH(read({{"qdistill", "{\"format\":1,\"format\":1}"}}), Catch::Contains("repeated key"));
  CHECK_THROWS_WITH(read({{"qdistill", "{\"format\":1e999}"}}), Catch::Contains("out of range"));
  CHECK_THROWS_WITH(read({{"qdistill", std::string("{}\0", 3)}}), Catch::Contains("zero byte"));
  CHECK_THROWS_WITH(read({{"qdistill", std::string(200'000, '[')}}), Catch::Contains("nested deeper"));
}

TEST_CASE("packed: a file cut anywhere, or with any byte changed, is refused or still well formed", "[io][packed]") {
  for (const bool huffman : {false, true}) {
    PackedModel model;
    model.network.add("linear", {0}, {}, {{"weight", "w"}});
    model.tensors["w"] = uniform({40, 10}, 4, 0, 1);
    model.tensors["b"] = {{2}, DenseEncoding{{1, 2}}};
    const auto whole = io::to_packed(model, {.huffman = huffman});
    CHECK_NOTHROW(parse_packed(whole));
    for (std::size_t n = 0; n < whole.size(); ++n) {
      CAPTURE(n);
      CHECK_THROWS_AS(parse_packed({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)}), FileError);
    }
    std::size_t read = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      auto changed = whole;
      changed[n] ^= std::byte{0x11};
      try {
        validate(parse_packed(changed));
        ++read;
      } catch (const FileError&) {
      }
    }
    CHECK(read < whole.size());
  }
}
