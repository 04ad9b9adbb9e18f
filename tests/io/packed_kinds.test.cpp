/// The packed file with every kind of encoding: bits that come back, bytes that add up, claims that are refused.
#include <catch2/catch.hpp>
#include <limits>

#include "../encoding/kinds.hpp"
#include "packed_bytes.hpp"
#include "qdistill/io/packed.hpp"
#include "temporary_folder.hpp"

using namespace qdistill;
using io::PackedModel;
using nlohmann::json;
using qdistill_test::packed_message, qdistill_test::parse_packed;

namespace {

PackedModel lone(Encoding e) {
  PackedModel model;
  model.tensors["w"] = std::move(e);
  return model;
}

/// One tensor of each kind, some empty or of one element.
PackedModel all_kinds(Index rows = 6) {
  PackedModel model;
  model.network.add("linear", {0}, {}, {{"weight", "table"}});
  model.tensors["half"] = kinds::dense({rows, 3}, 1, true);
  model.tensors["dense"] = kinds::dense({rows}, 2);
  model.tensors["uniform"] = kinds::uniform({rows, 8}, 4, 16, 3);
  model.tensors["table"] = kinds::table({rows, 8}, 11, 20, 4);
  model.tensors["table.bare"] = kinds::table({rows, 5}, 3, -1, 5);
  model.tensors["grouped"] = kinds::grouped({rows, 8}, 8, 2, 5, 6);
  model.tensors["grouped.one"] = kinds::grouped({rows, 4}, 0, 3, 3, 7);
  model.tensors["product"] = kinds::product({rows, 9, 2, 2}, 12, 5, 8);
  model.tensors["empty.table"] = kinds::table({0, 4}, 2, 8, 9);
  model.tensors["empty.grouped"] = kinds::grouped({0, 8}, 8, 2, 5, 9);
  model.tensors["empty.product"] = kinds::product({0, 8}, 4, 2, 9);
  model.tensors["scalar.grouped"] = kinds::grouped({}, 1, 16, 16, 9);
  model.tensors["scalar.table"] = kinds::table({}, 1, 0, 9);
  return model;
}

json description_of(const std::vector<std::byte>& bytes) {
  return json::parse(io::parse_safetensors(bytes, "test").metadata().at("qdistill"));
}

/// What the reader says when one field of tensor "w" is `value`.
std::string field(const PackedModel& model, const char* key, const json& value, bool huffman = false) {
  return packed_message(
      model, [&](json& d, auto&) { d["tensors"]["w"][key] = value; }, huffman);
}

void refused(const std::string& got, const char* part) { CHECK_THAT(got, Catch::Contains(part)); }

}  // namespace

TEST_CASE("packed kinds: there and back to the bit, and the ledger is the file's size", "[io][packed]") {
  const TemporaryFolder folder;
  for (const bool huffman : {false, true})
    for (const Index rows : {1, 6, 400}) {
      const PackedModel all = all_kinds(rows);
      std::vector<PackedModel> models{all};
      for (const auto& [name, encoding] : all.tensors) models.push_back(lone(encoding));
      for (const PackedModel& model : models) {
        CAPTURE(huffman, rows, model.tensors.size(), model.tensors.begin()->second.data.index());
        const Ledger ledger = io::save_packed(folder / "m", model, {.huffman = huffman});
        CHECK(ledger.total() == static_cast<Index>(std::filesystem::file_size(folder / "m")));
        const PackedModel loaded = io::load_packed(folder / "m");
        CHECK(loaded.tensors == model.tensors);
        CHECK(io::to_packed(loaded, {.huffman = huffman}) == io::read_file(folder / "m"));  // signs of zeros too
      }
    }
}

TEST_CASE("packed kinds: what each item of the ledger holds", "[io][packed]") {
  const TemporaryFolder folder;
  const auto ledger = [&](Encoding e, bool huffman = false) {
    return io::save_packed(folder / "m", lone(std::move(e)), {.huffman = huffman});
  };
  const Ledger half = ledger(kinds::dense({50, 3}, 1, true));
  CHECK(half.full_precision == 300);
  const Ledger table = ledger(kinds::table({1000}, 11, 64, 1));
  CHECK(table.codes == 500);
  CHECK(table.tables == 44);
  CHECK(table.scales == 16 * 2 * 4);
  CHECK(ledger(kinds::table({1000}, 11, -1, 1)).scales == 0);
  const Ledger product = ledger(kinds::product({100, 9}, 9, 30, 1));
  CHECK(product.codes == (100 * 5 + 7) / 8);
  CHECK(product.tables == 30 * 9 * 2);
  const Encoding grouped = kinds::grouped({1000}, 8, 2, 7, 1);
  const auto& widths = std::get<GroupedEncoding>(grouped.data).widths;
  Index codes = 0;
  for (int bits = 2; bits <= 7; ++bits) {
    const Index groups = std::count(widths.begin(), widths.end(), bits);
    REQUIRE(groups > 0);
    codes += packed_bytes(groups * 8, bits);
  }
  const Ledger g = ledger(grouped);
  CHECK(g.codes == codes);
  CHECK(g.widths == (125 * 3 + 7) / 8);
  CHECK(g.scales == 0);
  CHECK(ledger(kinds::grouped({1000}, 8, 5, 5, 1)).widths == 0);
  CHECK(ledger(kinds::grouped({1000}, 8, 15, 16, 1)).widths == 16);
  // Huffman codes make each smaller, tables included.
  for (const Encoding& e :
       {kinds::table({9000}, 11, 64, 1), kinds::grouped({9000}, 8, 2, 7, 1), kinds::product({9000, 9}, 9, 256, 1)}) {
    const Ledger plain = ledger(e), coded = ledger(e, true);
    CHECK(coded.huffman_table > 0);
    CHECK(coded.codes + coded.huffman_table < plain.codes);
    CHECK(coded.total() < plain.total());
    CHECK(coded.tables == plain.tables);
    CHECK(coded.widths == plain.widths);
  }
}

TEST_CASE("packed kinds: a file says the smallest format that has what it holds", "[io][packed]") {
  const auto format = [](const PackedModel& model) { return description_of(io::to_packed(model))["format"]; };
  CHECK(format({}) == 1);
  CHECK(format(lone(kinds::dense({4}, 1))) == 1);
  CHECK(format(lone(kinds::uniform({4}, 4, 0, 1))) == 1);
  CHECK(format(lone(kinds::dense({4}, 1, true))) == 2);
  CHECK(format(lone(kinds::table({4}, 4, 0, 1))) == 2);
  CHECK(format(lone(kinds::grouped({4}, 2, 2, 4, 1))) == 2);
  CHECK(format(lone(kinds::product({4}, 2, 2, 1))) == 2);
  CHECK(format(all_kinds()) == 2);
  for (const char* name : {"half", "table", "grouped", "product"}) {
    CAPTURE(name);
    refused(packed_message(lone(all_kinds().tensors.at(name)), [](json& d, auto&) { d["format"] = 1; }),
            "tensor 'w': [scheme] got what format 2 has, in a file of format 1");
  }
}

TEST_CASE("packed kinds: numbers in the description keep their bits", "[io][packed]") {
  using limits = std::numeric_limits<float>;
  for (const float v : {0.1f, -0.0f, 1e-40f, limits::denorm_min(), limits::min(), limits::max(), -limits::max(),
                        1.0f / 3, 16777217.0f, 1e10f}) {
    CAPTURE(v);
    Encoding e = kinds::grouped({4}, 2, 2, 4, 1);
    std::get<GroupedEncoding>(e.data).scale = v;
    std::get<GroupedEncoding>(e.data).offset = -v;
    const auto bytes = io::to_packed(lone(e));
    const PackedModel loaded = parse_packed(bytes);
    const auto& g = std::get<GroupedEncoding>(loaded.tensors.at("w").data);
    CHECK(std::bit_cast<std::uint32_t>(g.scale) == std::bit_cast<std::uint32_t>(v));
    CHECK(std::bit_cast<std::uint32_t>(g.offset) == std::bit_cast<std::uint32_t>(-v));
  }
}

TEST_CASE("packed kinds: levels of one width share a Huffman code, product codes have their own", "[io][packed]") {
  PackedModel model;
  model.tensors["u"] = kinds::uniform({4000}, 4, 256, 1);
  model.tensors["t"] = kinds::table({4000}, 11, 256, 2);
  model.tensors["g"] = kinds::grouped({8000}, 8, 4, 5, 3);
  model.tensors["p"] = kinds::product({4000, 4}, 4, 16, 4);
  const auto bytes = io::to_packed(model);
  const auto file = io::parse_safetensors(bytes, "test");
  CHECK(file.has("qdistill.huffman.4"));
  CHECK(file.has("qdistill.huffman.5"));
  CHECK(file.has("qdistill.huffman.product.4"));
  CHECK_FALSE(file.has("qdistill.huffman.product.5"));
  CHECK(description_of(bytes)["tensors"]["g"]["huffman"] == json::array({4, 5}));
  // The pool of 4-bit levels takes what one code for all of them takes.
  std::vector<std::uint64_t> counts(16, 0);
  double total = 0;
  const auto count = [&](std::uint16_t code) { ++counts[code], ++total; };
  for (const auto code : std::get<UniformEncoding>(model.tensors["u"].data).codes) count(code);
  for (const auto code : std::get<TableEncoding>(model.tensors["t"].data).codes) count(code);
  const auto& g = std::get<GroupedEncoding>(model.tensors["g"].data);
  for (std::size_t i = 0; i < g.codes.size(); ++i)
    if (g.widths[i / 8] == 4) count(g.codes[i]);
  const auto stored = [&](const char* name) { return static_cast<double>(file.at(name).bytes.size()) * 8; };
  const double bits = mean_bit_length(counts) * total,
               took = stored("u.codes") + stored("t.codes") + stored("g.codes.4");
  CHECK(took >= bits - 1e-6);
  CHECK(took <= bits + 3 * 7);
  CHECK(parse_packed(bytes).tensors == model.tensors);

  // A width that does not gain stays plain beside one that does.
  GroupedEncoding flat;
  flat.group_size = 4;
  for (int i = 0; i < 8000; ++i) {
    if (i % 4 == 0) flat.widths.push_back(i < 4000 ? 3 : 2);
    flat.codes.push_back(static_cast<std::uint16_t>(i < 4000 ? i % 8 : i % 16 == 0));
  }
  model = lone({{8000}, flat});
  const auto mixed = io::to_packed(model);
  CHECK(description_of(mixed)["tensors"]["w"]["huffman"] == json::array({2}));
  CHECK(parse_packed(mixed).tensors == model.tensors);
}

TEST_CASE("packed kinds: names of other tensors do not mislead", "[io][packed]") {
  PackedModel model;
  model.tensors["w"] = kinds::table({6}, 4, -1, 1);
  model.tensors["w.scale"] = kinds::dense({1}, 1);
  model.tensors["w.offset"] = kinds::dense({1}, 2);
  CHECK(parse_packed(io::to_packed(model)).tensors == model.tensors);
  model.tensors["w.points"] = kinds::dense({4}, 3);
  CHECK_THROWS_WITH(io::to_packed(model), Catch::Contains("got tensor name 'w.points' twice"));
}

TEST_CASE("packed kinds: ill-formed encodings are not written", "[io][packed]") {
  for (const auto& [name, encoding] : all_kinds().tensors) {
    if (checked_numel("test", encoding.shape) == 0) continue;
    CAPTURE(name);
    Encoding e = encoding;
    e.shape.push_back(2);
    CHECK_THROWS_AS(io::to_packed(lone(e)), ShapeError);
  }
}

TEST_CASE("packed kinds: tables that do not fit are refused", "[io][packed]") {
  PackedModel table = lone(kinds::table({5, 8}, 11, 16, 1));
  std::get<TableEncoding>(table.tensors["w"].data).codes[7] = 10;
  refused(field(table, "bucket_size", -1), "bucket_size -1");
  refused(field(table, "bucket_size", 8), "3 scales and 3 offsets, expected 5");
  refused(field(table, "scaled", false), "without scales");
  refused(field(table, "scaled", 1), "no true or false");
  refused(field(table, "shape", {5, 9}), "20 bytes for 45 codes");
  refused(field(table, "shape", {Index{1} << 31, Index{1} << 31}), "20 bytes for");
  refused(field(table, "coding", "huffman"), "no tensor 'qdistill.huffman.4'");
  refused(field(table, "coding", nullptr), "no string");
  const auto points = [&](std::vector<float> values) {
    return packed_message(table, [&](json&, auto& entries) {
      for (auto& e : entries)
        if (e.name == "w.points") e = io::tensor_entry("w.points", {static_cast<Index>(values.size())}, values);
    });
  };
  refused(points({}), "20 bytes for 40 codes of 1 bits");
  refused(points({1, 2, 3}), "20 bytes for 40 codes of 2 bits");
  refused(points({1, 2, 3, 4, 5, 6, 7, 8, 9}), "expected less than 9");
  refused(points({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, std::numeric_limits<float>::infinity()}), "expected a finite number");
  refused(points(std::vector<float>(65537, 1)), "20 bytes for 40 codes of 16 bits");
}

TEST_CASE("packed kinds: groups that do not fit are refused", "[io][packed]") {
  const PackedModel grouped = lone(kinds::grouped({10, 8}, 8, 3, 6, 1));
  const PackedModel one = lone(kinds::grouped({10, 8}, 8, 3, 3, 1));
  CHECK(packed_message(one, [](json&, auto&) {}) == "no error");
  const Index most = std::numeric_limits<Index>::max();
  refused(field(grouped, "group_size", 7), "group_size 7");
  refused(field(grouped, "group_size", -8), "group_size -8");
  refused(field(grouped, "group_size", 4), "got 3 bytes for 20 codes of 2 bits");
  refused(field(grouped, "group_size", most), "expected 0 or a divisor");
  refused(field(grouped, "min_width", 0), "min_width 0");
  refused(field(grouped, "min_width", 17), "min_width 17");
  refused(field(grouped, "min_width", 14), "got width 17 of group");
  refused(field(grouped, "min_width", 4), "codes of");
  refused(field(grouped, "width_bits", 5), "width_bits 5");
  refused(field(grouped, "width_bits", -1), "width_bits -1");
  refused(field(grouped, "width_bits", 1), "got 3 bytes for 10 codes of 1 bits");
  refused(field(grouped, "width_bits", 0), "bytes for 80 codes of 3 bits");
  refused(field(grouped, "shape", {Index{1} << 40, 8}), "got 3 bytes for");
  refused(field(grouped, "shape", {20, 8}), "got 3 bytes for 20 codes of 2 bits");
  refused(field(grouped, "scale", "1"), "no number as scale");
  refused(field(grouped, "offset", 1e39), "got a number beyond float as offset");
  refused(field(grouped, "huffman", {3}), "no tensor 'qdistill.huffman.3'");
  refused(field(grouped, "huffman", "3"), "no list");
  // Without stored widths the number of groups has to be seen from the codes.
  refused(field(one, "shape", {Index{1} << 50, 8}), "got 30 bytes for");
  refused(field(one, "min_width", 4), "no tensor 'w.codes.4'");
  CHECK(field(one, "group_size", 1) == "no error");
  refused(packed_message(grouped, [](json&, auto& entries) { entries.front().name = "w.codes.9"; }), "no tensor 'w.");
}

TEST_CASE("packed kinds: codebooks that do not fit are refused", "[io][packed]") {
  const PackedModel product = lone(kinds::product({10, 8}, 4, 5, 1));
  const auto words = [&](std::vector<Index> shape) {
    return packed_message(product, [&](json&, auto& entries) {
      for (auto& e : entries)
        if (e.name == "w.codewords") e.shape = shape;
    });
  };
  CHECK(words({5, 4}) == "no error");
  refused(words({20}), "got codewords of shape [20], expected [k, d]");
  refused(words({5, 4, 1}), "expected [k, d]");
  refused(words({4, 5}), "got 8 bytes for 16 codes of 2 bits");
  refused(words({1, 20}), "got 8 bytes for 4 codes of 1 bits");
  refused(field(product, "shape", {10, 9}), "expected a divisor of the 90 elements");
  refused(field(product, "shape", {10, 80}), "got 8 bytes for 200 codes");
  refused(field(product, "shape", {Index{1} << 60, 4}), "got 8 bytes for");
  refused(field(product, "shape", {Index{1} << 61, 4}), "63 bits");
  refused(field(product, "coding", "huffman"), "no tensor 'qdistill.huffman.product.3'");
  refused(packed_message(product,
                         [](json&, auto& entries) {
                           for (auto& e : entries)
                             if (e.name == "w.codewords") e.dtype = io::Dtype::I16;
                         }),
          "got I16 for 'w.codewords', expected F16");
  refused(packed_message(product,
                         [&](json&, auto& entries) {
                           for (auto& e : entries)
                             if (e.name == "w.codewords") e.shape = {0, 4}, e.bytes = {};
                         }),
          "got codewords of shape [0, 4]");
  // Halves that are infinite or not a number.
  const std::vector<std::int16_t> bad(20, 0x7C00);
  refused(packed_message(product,
                         [&](json&, auto& entries) {
                           for (auto& e : entries)
                             if (e.name == "w.codewords") e.bytes = std::as_bytes(std::span(bad));
                         }),
          "expected a finite float16 number");
}

TEST_CASE("packed kinds: a file with any byte changed is refused or still well formed", "[io][packed]") {
  for (const bool huffman : {false, true}) {
    PackedModel model = all_kinds(2);
    if (huffman) {
      model.tensors["table"] = kinds::table({900}, 3, -1, 1);
      model.tensors["product"] = kinds::product({900}, 1, 4, 1);
    }
    const auto whole = io::to_packed(model, {.huffman = huffman});
    CHECK(io::parse_safetensors(whole, "test").has("qdistill.huffman.product.2") == huffman);
    CHECK_NOTHROW(parse_packed(whole));
    for (std::size_t n = 0; n < whole.size(); n += 7) {
      CAPTURE(n);
      CHECK_THROWS_AS(parse_packed({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)}), FileError);
    }
    std::size_t read = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      auto changed = whole;
      changed[n] ^= std::byte{0x11};
      try {
        const PackedModel m = parse_packed(changed);
        for (const auto& [name, encoding] : m.tensors) CHECK_NOTHROW(decode_ref(encoding));
        ++read;
      } catch (const FileError&) {
      }
    }
    CHECK(read > 0);
    CHECK(read < whole.size());
  }
}
