/// Scheme "table" of the packed file (format 2): NAME.codes (U8), NAME.points (F32, in order of their codes) and, where
/// "scaled", NAME.scale and NAME.offset (F32, one per bucket). A code has as many bits as the number of points needs.
///
///   {"scheme": "table", "bucket_size", "scaled": true or false, "shape", "coding": "plain" or "huffman"}
///
/// "scaled" is said and not found out from the names: a model may have another tensor called NAME.scale.
#pragma once

#include "qdistill/io/packed_codec.hpp"

namespace qdistill::inline QDISTILL_ABI::io::detail {

template <>
struct Codec<TableEncoding> {
  static constexpr const char* scheme = "table";
  static int format(const TableEncoding&) noexcept { return 2; }
  template <class F>
  static void each_stream(const TableEncoding& e, F&& f) {
    f("", CodePool{"", e.bits()}, std::span<const std::uint16_t>(e.codes));
  }

  static nlohmann::json write(PackedWriter& out, const std::string& name, const std::vector<Index>& shape,
                              const TableEncoding& e) {
    const CodePool pool{"", e.bits()};
    const auto points = static_cast<Index>(e.points.size()), buckets = static_cast<Index>(e.scale.size());
    out.codes(name + ".codes", pool, e.codes);
    out.floats(name + ".points", {points}, e.points, out.ledger.tables);
    if (buckets > 0) {
      out.floats(name + ".scale", {buckets}, e.scale, out.ledger.scales);
      out.floats(name + ".offset", {buckets}, e.offset, out.ledger.scales);
    }
    return {{"scheme", scheme},
            {"bucket_size", e.bucket_size},
            {"scaled", buckets > 0},
            {"shape", shape},
            {"coding", out.coding(pool)}};
  }

  static Encoding read(PackedReader& in, const std::string& name, const nlohmann::json& description) {
    TableEncoding e;
    e.bucket_size = json_index(json_field(description, "bucket_size"), "bucket_size");
    const auto& scaled = json_field(description, "scaled");
    check<FileError>(scaled.is_boolean(), "json", "got no true or false as scaled");
    e.points = in.floats(name + ".points");
    auto shape = json_indices(json_field(description, "shape"), "shape");
    e.codes = in.codes(name + ".codes", {"", e.bits()}, checked_numel("shape", shape), json_coding(description));
    if (scaled.get<bool>()) {
      e.scale = in.floats(name + ".scale");
      e.offset = in.floats(name + ".offset");
    }
    return {std::move(shape), std::move(e)};
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::io::detail
