#include "qdistill/io/tensor_ledgers.hpp"

#include <catch2/catch.hpp>

#include "../encoding/kinds.hpp"
#include "temporary_folder.hpp"

using namespace qdistill;

TEST_CASE("ledgers of single tensors add up to the file's", "[io][packed]") {
  const TemporaryFolder folder;
  io::PackedModel model;
  model.tensors["half"] = kinds::dense({60, 3}, 1, true);
  model.tensors["dense"] = kinds::dense({60}, 2);
  model.tensors["uniform"] = kinds::uniform({600, 8}, 4, 16, 3);
  model.tensors["table"] = kinds::table({600, 8}, 11, 20, 4);  // of the same pool
  model.tensors["grouped"] = kinds::grouped({60, 8}, 8, 2, 5, 6);
  model.tensors["product"] = kinds::product({600, 9, 2, 2}, 12, 5, 8);
  model.tensors["empty"] = kinds::table({0, 4}, 2, 8, 9);
  for (const bool huffman : {false, true}) {
    const Ledger file = io::save_packed(folder / "m", model, {.huffman = huffman});
    const io::TensorLedgers ledgers = io::tensor_ledgers(model, {.huffman = huffman});
    REQUIRE(ledgers.tensors.size() == model.tensors.size());
    Ledger sum;
    for (const auto& [name, l] : ledgers.tensors) {
      sum.codes += l.codes, sum.scales += l.scales, sum.tables += l.tables, sum.widths += l.widths;
      sum.full_precision += l.full_precision;
      CHECK(l.huffman_table + l.header + l.padding == 0);
    }
    sum.huffman_table = ledgers.huffman_tables;
    CHECK((sum.huffman_table > 0) == huffman);
    sum.header = file.header, sum.padding = file.padding;
    CHECK(sum == file);
    CHECK(ledgers.tensors.at("half").full_precision == 360);
    CHECK(ledgers.tensors.at("uniform").scales == 300 * 2 * 4);
  }
  model.tensors["grouped"].shape = {3};
  CHECK_THROWS_AS(io::tensor_ledgers(model), Error);
}
