/// Scheme "uniform" of the packed file (format 1): NAME.codes (U8), NAME.scale and, with linear scaling, NAME.offset
/// (F32, one per bucket).
///
///   {"scheme": "uniform", "bits", "bucket_size", "scaling", "shape", "coding": "plain" or "huffman", "mean" if any}
#pragma once

#include "qdistill/io/packed_codec.hpp"

namespace qdistill::inline QDISTILL_ABI::io::detail {

template <>
struct Codec<UniformEncoding> {
  static constexpr const char* scheme = "uniform";
  static int format(const UniformEncoding&) noexcept { return 1; }
  template <class F>
  static void each_stream(const UniformEncoding& e, F&& f) {
    f("", CodePool{"", e.bits}, std::span<const std::uint16_t>(e.codes));
  }

  static nlohmann::json write(PackedWriter& out, const std::string& name, const std::vector<Index>& shape,
                              const UniformEncoding& e) {
    const CodePool pool{"", e.bits};
    const auto buckets = static_cast<Index>(e.scale.size());
    out.codes(name + ".codes", pool, e.codes);
    out.floats(name + ".scale", {buckets}, e.scale, out.ledger.scales);
    if (e.scaling == Scaling::linear) out.floats(name + ".offset", {buckets}, e.offset, out.ledger.scales);
    nlohmann::json description{{"scheme", scheme},
                               {"bits", e.bits},
                               {"bucket_size", e.bucket_size},
                               {"scaling", qdistill::name(e.scaling)},
                               {"shape", shape},
                               {"coding", out.coding(pool)}};
    if (e.mean) description["mean"] = static_cast<double>(*e.mean);
    return description;
  }

  static Encoding read(PackedReader& in, const std::string& name, const nlohmann::json& description) {
    UniformEncoding e;
    e.bits = json_int(json_field(description, "bits"), "bits");
    e.bucket_size = json_index(json_field(description, "bucket_size"), "bucket_size");
    e.scaling = scaling(json_text(json_field(description, "scaling"), "scaling"));
    qdistill::detail::check_uniform_layout(scheme, e.bits, e.bucket_size, e.scaling);
    if (description.contains("mean")) e.mean = json_float(json_field(description, "mean"), "mean");
    auto shape = json_indices(json_field(description, "shape"), "shape");
    e.codes = in.codes(name + ".codes", {"", e.bits}, checked_numel("shape", shape), json_coding(description));
    e.scale = in.floats(name + ".scale");
    if (e.scaling == Scaling::linear) e.offset = in.floats(name + ".offset");
    return {std::move(shape), std::move(e)};
  }

 private:
  static Scaling scaling(const std::string& name) {
    for (const Scaling s : {Scaling::linear, Scaling::absmax, Scaling::absnorm})
      if (name == qdistill::name(s)) return s;
    fail<FileError>("scaling", "got '", shown(name), "', expected linear, absmax or absnorm");
  }
};

}  // namespace qdistill::inline QDISTILL_ABI::io::detail
