/// The runtime on every kind of encoding: the bits of the same network with its weights decoded to dense tensors.
#include <catch2/catch.hpp>

#include "../encoding/kinds.hpp"
#include "../io/temporary_folder.hpp"
#include "qdistill/runtime/model.hpp"
#include "runtime/trained.hpp"

using namespace qdistill;
using qdistill_test::same_bits;

namespace {

/// conv (product, float16 bias) -> relu -> 1x1 conv (table with scales, table without as bias) -> flatten -> linear
/// (widths per group) -> leaky relu -> linear (uniform, dense bias), on (3, 9, 7).
io::PackedModel every_kind() {
  io::PackedModel m;
  m.network.input_shape = {3, 9, 7};
  int x = m.network.add("conv2d", {0}, {{"padding", std::vector<Index>{1, 1}}},
                        {{"weight", "conv.weight"}, {"bias", "conv.bias"}});
  x = m.network.add("relu", {x});
  x = m.network.add("conv2d", {x}, {}, {{"weight", "mix.weight"}, {"bias", "mix.bias"}});
  x = m.network.add("flatten", {x});
  x = m.network.add("linear", {x}, {}, {{"weight", "fc.weight"}});
  x = m.network.add("leaky_relu", {x}, {{"negative_slope", 0.125}});  // a relu might stop all that comes before it
  m.network.add("linear", {x}, {}, {{"weight", "out.weight"}, {"bias", "out.bias"}});
  m.tensors["conv.weight"] = kinds::product({12, 3, 3, 3}, 9, 17, 1);
  m.tensors["conv.bias"] = kinds::dense({12}, 2, true);
  m.tensors["mix.weight"] = kinds::table({4, 12, 1, 1}, 7, 20, 3);
  m.tensors["mix.bias"] = kinds::table({4}, 3, -1, 4);
  m.tensors["fc.weight"] = kinds::grouped({40, 252}, 8, 2, 6, 5);
  m.tensors["out.weight"] = kinds::uniform({10, 40}, 4, 64, 6);
  m.tensors["out.bias"] = kinds::dense({10}, 7);
  return m;
}

}  // namespace

TEST_CASE("runtime: every kind of encoding, to the last bit", "[runtime]") {
  const io::PackedModel packed = every_kind();
  io::PackedModel decoded = packed;
  for (auto& [name, encoding] : decoded.tensors) encoding.data = DenseEncoding{decode_ref(encoding)};
  const Tensor<float> x = Tensor<float>::normal({5, 3, 9, 7}, {8, 1});
  const Tensor<float> expected = runtime::Model::from(decoded).run(x);
  REQUIRE(expected.shape() == Shape{5, 10});
  CHECK(same_bits(runtime::Model::from(packed).run(x), expected));
  const TemporaryFolder folder;
  for (const bool huffman : {false, true}) {
    io::save_packed(folder / "m", packed, {.huffman = huffman});
    CHECK(same_bits(runtime::load(folder / "m").run(x), expected));
  }
  // Each tensor counts.
  for (const auto& [name, encoding] : packed.tensors) {
    CAPTURE(name);
    io::PackedModel changed = decoded;
    for (float& v : std::get<DenseEncoding>(changed.tensors.at(name).data).values) v = -v;
    CHECK_FALSE(same_bits(runtime::Model::from(changed).run(x), expected));
  }
}

TEST_CASE("runtime: a codebook that decodes to more than memory holds is refused", "[runtime]") {
  io::PackedModel m;
  m.network.input_shape = {Index{1} << 16};
  m.network.add("linear", {0}, {}, {{"weight", "w"}});
  ProductEncoding p;  // 65537 codes of 16384 numbers: 32 KiB and 8 KiB in the file, 4 GiB decoded
  p.block_size = 16384;
  p.codewords.assign(16384, 0.5f);
  p.codes.assign(65537, 0);
  m.tensors["w"] = {{16384, 65537}, p};
  CHECK_THROWS_WITH(runtime::Model::from(m),
                    "[runtime] got tensor 'w' of shape [16384, 65537], expected at most 2^30 elements");
}
