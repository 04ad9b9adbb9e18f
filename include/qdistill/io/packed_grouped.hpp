/// Scheme "grouped" of the packed file (format 2). The codes of all groups of B bits stand together, in the order of
/// the groups, as NAME.codes.B (U8). NAME.widths (U8) holds each group's width less "min_width", packed with
/// "width_bits" bits; it is missing where these are 0, all groups then having one width.
///
///   {"scheme": "grouped", "group_size", "min_width", "width_bits", "scale", "offset", "shape",
///    "huffman": [the widths whose codes are Huffman coded]}
///
/// Scale and offset are two numbers for a whole tensor, so they stand in the description: as tensors of their own they
/// would take some hundred bytes of header.
#pragma once

#include <algorithm>
#include <array>

#include "qdistill/io/packed_codec.hpp"

namespace qdistill::inline QDISTILL_ABI::io::detail {

template <>
struct Codec<GroupedEncoding> {
  static constexpr const char* scheme = "grouped";
  static int format(const GroupedEncoding&) noexcept { return 2; }
  template <class F>
  static void each_stream(const GroupedEncoding& e, F&& f) {
    const auto n = static_cast<Index>(e.codes.size()), size = e.group_size > 0 ? e.group_size : n;
    std::array<std::vector<std::uint16_t>, 17> streams;
    for (std::size_t g = 0; g < e.widths.size(); ++g) {
      const auto begin = e.codes.begin() + static_cast<Index>(g) * size;
      auto& stream = streams[e.widths[g]];
      stream.insert(stream.end(), begin, begin + size);
    }
    for (int bits = 1; bits <= 16; ++bits) {
      const auto& stream = streams[static_cast<std::size_t>(bits)];
      if (!stream.empty()) f(text('.', bits), CodePool{"", bits}, std::span<const std::uint16_t>(stream));
    }
  }

  static nlohmann::json write(PackedWriter& out, const std::string& name, const std::vector<Index>& shape,
                              const GroupedEncoding& e) {
    const auto field = qdistill::detail::width_field(e.widths);
    if (field.bits > 0) {
      std::vector<std::uint16_t> above;
      for (const auto width : e.widths) above.push_back(static_cast<std::uint16_t>(width - field.least));
      out.bytes(name + ".widths", pack_bits(above, field.bits), out.ledger.widths);
    }
    std::vector<int> huffman;
    each_stream(e, [&](const std::string& suffix, const CodePool& pool, std::span<const std::uint16_t> codes) {
      out.codes(name + ".codes" + suffix, pool, codes);
      if (out.uses_huffman(pool)) huffman.push_back(pool.bits);
    });
    return {{"scheme", scheme},
            {"group_size", e.group_size},
            {"min_width", field.least},
            {"width_bits", field.bits},
            {"scale", static_cast<double>(e.scale)},
            {"offset", static_cast<double>(e.offset)},
            {"shape", shape},
            {"huffman", huffman}};
  }

  static Encoding read(PackedReader& in, const std::string& name, const nlohmann::json& description) {
    GroupedEncoding e;
    e.group_size = json_index(json_field(description, "group_size"), "group_size");
    const int least = json_int(json_field(description, "min_width"), "min_width");
    const int field = json_int(json_field(description, "width_bits"), "width_bits");
    e.scale = json_float(json_field(description, "scale"), "scale");
    e.offset = json_float(json_field(description, "offset"), "offset");
    const auto huffman = json_indices(json_field(description, "huffman"), "huffman");
    auto shape = json_indices(json_field(description, "shape"), "shape");
    const Index n = checked_numel("shape", shape);
    check(least >= 1 && least <= 16 && field >= 0 && field <= 4, scheme, "got min_width ", least, " and width_bits ",
          field, ", expected 1 to 16 and 0 to 4");
    check(e.group_size >= 0 && (e.group_size == 0 || n % e.group_size == 0), scheme, "got group_size ", e.group_size,
          ", expected 0 or a divisor of the ", n, " elements");
    const Index size = e.group_size > 0 ? e.group_size : n, groups = n > 0 ? n / size : 0;

    std::array<Index, 17> count{};  // elements of each width
    if (field > 0) {
      const auto above = unpack_bits(in.bytes(name + ".widths"), groups, field);
      e.widths.reserve(above.size());
      for (const auto a : above) e.widths.push_back(static_cast<std::uint8_t>(least + a));
      qdistill::detail::check_grouped_layout(scheme, n, e.group_size, e.widths);
      for (const auto width : e.widths) count[width] += size;
    } else {
      count[static_cast<std::size_t>(least)] = n;
    }
    std::array<std::vector<std::uint16_t>, 17> streams;  // all n codes are seen to be there before more is reserved
    for (int bits = 1; bits <= 16; ++bits) {
      const auto b = static_cast<std::size_t>(bits);
      const bool coded = std::find(huffman.begin(), huffman.end(), bits) != huffman.end();
      if (count[b] > 0) streams[b] = in.codes(text(name, ".codes.", bits), {"", bits}, count[b], coded);
    }
    if (field == 0) {
      e.widths.assign(static_cast<std::size_t>(groups), static_cast<std::uint8_t>(least));
      e.codes = std::move(streams[static_cast<std::size_t>(least)]);
      return {std::move(shape), std::move(e)};
    }
    e.codes.reserve(static_cast<std::size_t>(n));
    std::array<Index, 17> taken{};
    for (const auto width : e.widths) {
      const auto begin = streams[width].begin() + taken[width];
      e.codes.insert(e.codes.end(), begin, begin + size);
      taken[width] += size;
    }
    return {std::move(shape), std::move(e)};
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::io::detail
