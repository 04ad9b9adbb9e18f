#include "qdistill/io/safetensors.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "temporary_folder.hpp"

using namespace qdistill;

namespace {

/// A file of this header (not padded) and `data` zero bytes.
std::vector<std::byte> file_of(const std::string& header, std::size_t data, std::int64_t length_error = 0) {
  std::vector<std::byte> out(8 + header.size() + data);
  const auto length = static_cast<std::uint64_t>(static_cast<std::int64_t>(header.size()) + length_error);
  std::memcpy(out.data(), &length, 8);
  std::memcpy(out.data() + 8, header.data(), header.size());
  return out;
}

io::SafetensorsFile parse_header(const std::string& header, std::size_t data = 0) {
  return io::parse_safetensors(file_of(header, data), "test");
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  return text("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":[", begin, ",", end,
              "]}");
}

std::string header_message(const std::string& header, std::size_t data = 0) {
  try {
    parse_header(header, data);
  } catch (const FileError& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("safetensors: every type, scalars and empty tensors, there and back", "[io][safetensors]") {
  const std::vector<float> f32{1, -2.5f, 3e-20f, 4, 5, 6};
  const std::vector<double> f64{0.1};
  const std::vector<std::int64_t> i64{-(std::int64_t{1} << 60), 7};
  const std::vector<std::int32_t> i32{-1, 2, 3};
  const std::vector<std::int16_t> i16{-300};
  const std::vector<std::int8_t> i8{-5, 5, 6};
  const std::vector<std::uint8_t> u8{255}, flags{0, 1, 1};
  std::vector<io::TensorEntry> entries{
      io::tensor_entry("a", {2, 3}, f32),    io::tensor_entry("scalar", {}, f64),
      io::tensor_entry("long", {2}, i64),    io::tensor_entry("int", {3, 1}, i32),
      io::tensor_entry("short", {1}, i16),   io::tensor_entry("byte", {3}, i8),
      io::tensor_entry("unsigned", {1}, u8), {"bool", io::Dtype::BOOL, {3}, std::as_bytes(std::span(flags))},
      {"empty", io::Dtype::F32, {4, 0}, {}}, {"naïve \"quoted\"\n", io::Dtype::U8, {0}, {}},
  };
  const TemporaryFolder folder;
  const auto layout = io::save_safetensors(folder / "x", entries, {{"who", "a\"b"}, {"when", ""}});
  CHECK(layout.total() == static_cast<Index>(std::filesystem::file_size(folder / "x")));
  CHECK((layout.header + layout.padding) % 8 == 0);
  CHECK(layout.padding < 8);
  const auto file = io::load_safetensors(folder / "x");
  CHECK(file.tensors().size() == entries.size());
  CHECK(file.metadata().size() == 2);
  CHECK(file.metadata().at("who") == "a\"b");
  CHECK(file.values<float>("a") == f32);
  CHECK(file.at("a").shape == std::vector<Index>{2, 3});
  CHECK(file.values<double>("scalar") == f64);
  CHECK(file.at("scalar").shape.empty());
  CHECK(file.values<std::int64_t>("long") == i64);
  CHECK(file.values<std::int32_t>("int") == i32);
  CHECK(file.values<std::int16_t>("short") == i16);
  CHECK(file.values<std::int8_t>("byte") == i8);
  CHECK(file.values<std::uint8_t>("unsigned") == u8);
  CHECK(file.values<std::uint8_t>("bool") == flags);
  CHECK(file.values<float>("empty").empty());
  CHECK(file.has("naïve \"quoted\"\n"));
  CHECK_FALSE(file.has("b"));
  CHECK(io::read_file(folder / "x") == io::to_safetensors(entries, {{"who", "a\"b"}, {"when", ""}}));

  // Conversions that keep the value, and their refusals.
  CHECK(file.values<double>("a")[1] == -2.5);
  CHECK(file.values<float>("scalar")[0] == 0.1f);
  CHECK(file.values<std::int64_t>("byte") == std::vector<std::int64_t>{-5, 5, 6});
  CHECK(file.values<std::uint16_t>("unsigned")[0] == 255);
  CHECK_THROWS_AS(file.values<std::uint8_t>("byte"), FileError);
  CHECK_THROWS_AS(file.values<std::int32_t>("long"), FileError);
  CHECK_THROWS_AS(file.values<float>("int"), FileError);
  CHECK_THROWS_AS(file.values<std::int32_t>("a"), FileError);
  CHECK_THROWS_WITH(file.values<float>("zzz"), Catch::Contains("no tensor 'zzz'"));
  auto moved = io::load_safetensors(folder / "x");
  const auto target = std::move(moved);
  CHECK(target.values<float>("a") == f32);
}

TEST_CASE("safetensors: written as the reference writer does", "[io][safetensors]") {
  const std::vector<float> f{1};
  const std::vector<std::uint8_t> u{1, 2};
  const std::vector<std::int64_t> i{3};
  const std::vector<io::TensorEntry> entries{io::tensor_entry("b", {2}, u), io::tensor_entry("z", {1}, f),
                                             io::tensor_entry("c", {1}, f), io::tensor_entry("y", {1}, i)};
  const auto bytes = io::to_safetensors(entries);
  const std::string header =
      R"({"y":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"c":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
      R"("z":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"b":{"dtype":"U8","shape":[2],"data_offsets":[16,18]}})";
  const std::string got(reinterpret_cast<const char*>(bytes.data()) + 8, header.size());
  CHECK(got == header);
  CHECK(io::to_safetensors({}).size() == 16);
  CHECK(io::parse_safetensors(io::to_safetensors({}), "empty").tensors().empty());
}

TEST_CASE("safetensors: half precision is converted", "[io][safetensors]") {
  CHECK(half_to_float(0x3C00) == 1.0f);
  CHECK(half_to_float(0xC500) == -5.0f);
  CHECK(half_to_float(0x7BFF) == 65504.0f);
  CHECK(half_to_float(0x0001) == 0x1p-24f);
  CHECK(half_to_float(0x83FF) == -1023 * 0x1p-24f);
  CHECK(half_to_float(0x0400) == 0x1p-14f);
  CHECK(std::signbit(half_to_float(0x8000)));
  CHECK(std::isinf(half_to_float(0x7C00)));
  CHECK(std::isnan(half_to_float(0x7E00)));
  CHECK(io::bfloat16_to_float(0x3FC0) == 1.5f);
  CHECK(io::bfloat16_to_float(0xFF80) == -std::numeric_limits<float>::infinity());
  const std::vector<std::uint16_t> half{0x3C00, 0xC500}, brain{0x3FC0};
  const std::vector<io::TensorEntry> entries{{"h", io::Dtype::F16, {2}, std::as_bytes(std::span(half))},
                                             {"b", io::Dtype::BF16, {1}, std::as_bytes(std::span(brain))}};
  const auto file = io::parse_safetensors(io::to_safetensors(entries), "half");
  CHECK(file.values<float>("h") == std::vector<float>{1, -5});
  CHECK(file.values<double>("b") == std::vector<double>{1.5});
}

TEST_CASE("safetensors: the writer refuses what no reader would take", "[io][safetensors]") {
  const std::vector<float> f{1, 2};
  const auto write = [](std::vector<io::TensorEntry> entries) { return io::to_safetensors(entries); };
  CHECK_THROWS_AS(write({io::tensor_entry("a", {3}, f)}), ShapeError);
  CHECK_THROWS_AS(write({io::tensor_entry("a", {-2}, f)}), ShapeError);
  CHECK_THROWS_AS(write({io::tensor_entry("a", {std::numeric_limits<Index>::max() / 2 + 1, 2}, f)}), ShapeError);
  CHECK_THROWS_AS(write({io::tensor_entry("a", {2}, f), io::tensor_entry("a", {2}, f)}), ValueError);
  CHECK_THROWS_AS(write({io::tensor_entry("__metadata__", {2}, f)}), ValueError);
  CHECK_THROWS_AS(write({io::tensor_entry("\xFF", {2}, f)}), ValueError);
  CHECK_THROWS_AS(io::to_safetensors({}, {{"a", "\xC3("}}), ValueError);
}

TEST_CASE("safetensors: the length field is checked before anything is reserved", "[io][safetensors]") {
  const auto read = [](std::vector<std::byte> bytes) { return io::parse_safetensors(std::move(bytes), "test"); };
  CHECK_THROWS_AS(read({}), FileError);
  CHECK_THROWS_AS(read(std::vector<std::byte>(7)), FileError);
  CHECK_THROWS_AS(read(std::vector<std::byte>(8)), FileError);
  CHECK_THROWS_AS(read(std::vector<std::byte>(8, std::byte{0xFF})), FileError);
  CHECK_THROWS_WITH(read(file_of("{}", 0, 1)), Catch::Contains("got a header of 3 bytes in a file of 10"));
  CHECK_THROWS_AS(read(file_of("{}", 0, -1)), FileError);
  CHECK_THROWS_AS(read(file_of("{}", 0, 100'000'000)), FileError);
  CHECK(read(file_of("{}   ", 0)).tensors().empty());
}

TEST_CASE("safetensors: headers that break the format are refused", "[io][safetensors]") {
  CHECK(header_message("{" + tensor("a", "F32", "[2]", 0, 8) + "}", 8) == "no error");
  CHECK(header_message("{" + tensor("a", "F32", "[]", 0, 4) + "}", 4) == "no error");
  CHECK(header_message("{" + tensor("a", "F32", "[0,9223372036854775807,3]", 0, 0) + "}", 0) == "no error");
  CHECK(header_message("{" + tensor("b", "F32", "[1]", 4, 8) + "," + tensor("a", "F32", "[1]", 0, 4) + "}", 8) ==
        "no error");
  const auto refused = [](const std::string& header, std::size_t data, const char* part) {
    CAPTURE(header);
    CHECK_THAT(header_message(header, data), Catch::Contains(part));
  };
  // The beginning and the syntax.
  refused(" {}", 0, "begin with '{'");
  refused("[]", 0, "begin with '{'");
  refused("\xEF\xBB\xBF{}", 0, "begin with '{'");
  refused("{", 0, "not JSON");
  refused("{}{}", 0, "not JSON");
  refused("{}x", 0, "not JSON");
  refused("{\"a\xFF\":1}", 0, "not JSON");
  refused(std::string("{}\0\0", 4), 0, "a zero byte");
  // Ranges.
  const std::string a = tensor("a", "F32", "[2]", 0, 8);
  refused("{" + a + "}", 7, "data_offsets [0, 8]");
  refused("{" + a + "}", 9, "cover 8");
  refused("{}", 1, "cover 0");
  refused("{" + tensor("a", "F32", "[2]", 8, 0) + "}", 8, "data_offsets");
  refused("{" + tensor("a", "F32", "[2]", 1, 9) + "}", 9, "begins at 1");
  refused("{" + a + "," + tensor("b", "F32", "[2]", 4, 12) + "}", 12, "begins at 4, expected 8");
  refused("{" + a + "," + tensor("b", "F32", "[2]", 0, 8) + "}", 8, "begins at 0, expected 8");
  refused("{" + a + "," + tensor("b", "F32", "[1]", 12, 16) + "}", 16, "begins at 12, expected 8");
  // Shapes and types.
  refused("{" + tensor("a", "F32", "[3]", 0, 8) + "}", 8, "do not fit");
  refused("{" + tensor("a", "F32", "[]", 0, 8) + "}", 8, "do not fit");
  refused("{" + tensor("a", "F32", "[2]", 0, 7) + "}", 7, "do not fit");
  refused("{" + tensor("a", "F32", "[4294967296,4294967296,4]", 0, 8) + "}", 8, "do not fit");
  refused("{" + tensor("a", "F32", "[4611686018427387906]", 0, 8) + "}", 8, "do not fit");
  refused("{" + tensor("a", "F32", "[-2]", 0, 8) + "}", 8, "signed number");
  refused("{" + tensor("a", "F32", "[2.0]", 0, 8) + "}", 8, "fraction");
  refused("{" + tensor("a", "F32", "[2e0]", 0, 8) + "}", 8, "fraction");
  refused("{" + tensor("a", "F32", "[18446744073709551616]", 0, 8) + "}", 8, "too large");
  refused("{" + tensor("a", "F32", "[18446744073709551615]", 0, 8) + "}", 8, "63 bits");
  refused("{" + tensor("a", "F32", "[1e999]", 0, 8) + "}", 8, "not JSON");
  refused("{" + tensor("a", "F32", "[[2]]", 0, 8) + "}", 8, "an array");
  refused("{" + tensor("a", "F32", "\"2\"", 0, 8) + "}", 8, "a string");
  refused("{" + tensor("a", "F32", "null", 0, 8) + "}", 8, "null");
  refused("{" + tensor("a", "F32", "[true]", 0, 8) + "}", 8, "a boolean");
  refused("{" + tensor("a", "F31", "[2]", 0, 8) + "}", 8, "'F31', which is not supported");
  refused("{" + tensor("a", "f32", "[2]", 0, 8) + "}", 8, "not supported");
  // Structure.
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "without");
  refused("{\"a\":{}}", 0, "without");
  refused("{\"a\":[]}", 0, "an array");
  refused("{\"a\":3}", 0, "a number");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0]}}", 0, "1 data_offsets");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[]}}", 0, "0 data_offsets");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0,0]}}", 0, "more than 2");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"extra\":1}}", 0, "unknown field 'extra'");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "repeated field 'shape'");
  refused("{" + a + "," + a + "}", 8, "repeated name 'a'");
  refused(
      "{\"a\\u0062\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}," + tensor("ab", "U8", "[0]", 0, 0) + "}",
      0, "repeated name 'ab'");
  refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "repeated name");
  refused("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "repeated metadata key 'k'");
  refused("{\"__metadata__\":{\"k\":1}}", 0, "a number");
  refused("{\"__metadata__\":{\"k\":{}}}", 0, "an object");
  refused("{\"__metadata__\":[]}", 0, "an array");
  refused("{\"__metadata__\":null}", 0, "null");
}

TEST_CASE("safetensors: deep nesting and hostile names end in a short error", "[io][safetensors]") {
  for (const char* open : {"{\"a\":", "[", "{\"__metadata__\":"}) {
    std::string header = "{\"a\":";
    for (int i = 0; i < 200'000; ++i) header += open;
    const std::string error = header_message(header);
    CHECK(error != "no error");
    CHECK(error.size() < 400);
  }
  const std::string error = header_message("{\"" + std::string(50'000, 'n') + "\\u001b\":1}");
  CHECK(error.size() < 400);
  CHECK(header_message("{\"\\u001b[31m\":[]}").find('\x1b') == std::string::npos);
  CHECK(header_message("{" + tensor("\\u001b", "F32", "[3]", 0, 8) + "}", 8).find('\x1b') == std::string::npos);
}

TEST_CASE("safetensors: a file cut anywhere is refused", "[io][safetensors]") {
  const std::vector<float> f{1, 2, 3};
  const std::vector<std::uint8_t> u{1, 2, 3};
  const std::vector<io::TensorEntry> entries{io::tensor_entry("f", {3}, f), io::tensor_entry("u", {3}, u)};
  const auto whole = io::to_safetensors(entries, {{"key", "value"}});
  CHECK_NOTHROW(io::parse_safetensors(whole, "whole"));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK_THROWS_AS(io::parse_safetensors({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)}, "cut"),
                    FileError);
  }
  auto longer = whole;
  longer.push_back(std::byte{0});
  CHECK_THROWS_AS(io::parse_safetensors(longer, "longer"), FileError);
}
