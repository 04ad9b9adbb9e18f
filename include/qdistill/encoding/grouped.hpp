/// Uniform levels between the tensor's smallest and largest value, with a bit width of its own for each group of
/// consecutive elements (Defossez, Adi, Synnaeve 2022, section 3.2).
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "qdistill/encoding/encoding_checks.hpp"
#include "qdistill/kernels/cpu/uniform_formula.hpp"

namespace qdistill::inline QDISTILL_ABI {

struct GroupedEncoding {
  Index group_size = 0;              ///< elements of a group, a divisor of their number; 0: the whole tensor is one
  std::vector<std::uint8_t> widths;  ///< bits of each group's codes, 1 to 16
  std::vector<std::uint16_t> codes;  ///< one per element, row-major
  float scale = 1;                   ///< max - min of the tensor
  float offset = 0;                  ///< min of the tensor

  bool operator==(const GroupedEncoding&) const = default;
};

namespace detail {

/// How widths are stored: as the distance from the smallest one, each in as few bits as the largest distance needs (0
/// to 4). No widths: 1 and 0 bits.
struct WidthField {
  int least = 1, bits = 0;
};
inline WidthField width_field(std::span<const std::uint8_t> widths) {
  if (widths.empty()) return {};
  const auto [least, most] = std::minmax_element(widths.begin(), widths.end());
  return {*least, static_cast<int>(std::bit_width(static_cast<unsigned>(*most - *least)))};
}

/// Bits of all parts, none rounded up to bytes: codes, widths and the width of their field (8), scale and offset (64),
/// as Defossez et al. count them.
inline Index plain_bits(const GroupedEncoding& e) {
  const auto groups = static_cast<Index>(e.widths.size()), n = static_cast<Index>(e.codes.size());
  const Index size = e.group_size > 0 ? e.group_size : n;
  Index bits = 64 + 8 + groups * width_field(e.widths).bits;
  for (const auto width : e.widths) bits += width * size;
  return bits;
}

/// What holds whether the codes are in memory yet or not.
inline void check_grouped_layout(std::string_view op, Index n, Index group_size, std::span<const std::uint8_t> widths) {
  check(group_size >= 0, op, "got group_size ", group_size, ", expected 0 (one group) or more");
  check<ShapeError>(group_size == 0 || n % group_size == 0, op, "got group_size ", group_size,
                    ", expected a divisor of the ", n, " elements");
  const Index groups = n == 0 ? 0 : group_size == 0 ? 1 : n / group_size;
  check<ShapeError>(static_cast<Index>(widths.size()) == groups, op, "got ", widths.size(), " widths, expected ",
                    groups);
  for (std::size_t i = 0; i < widths.size(); ++i)
    check(widths[i] >= 1 && widths[i] <= 16, op, "got width ", static_cast<int>(widths[i]), " of group ", i,
          ", expected 1 to 16");
}

inline void check_encoding(std::string_view op, Index n, const GroupedEncoding& e) {
  check_grouped_layout(op, n, e.group_size, e.widths);
  check<ShapeError>(static_cast<Index>(e.codes.size()) == n, op, "got ", e.codes.size(), " codes, expected ", n,
                    " for the shape");
  check_finite(op, "scale", std::span<const float>(&e.scale, 1));
  check_finite(op, "offset", std::span<const float>(&e.offset, 1));
  const Index size = e.group_size > 0 ? e.group_size : n;
  for (Index i = 0; i < n; ++i)
    check(e.codes[i] < std::uint32_t{1} << e.widths[i / size], op, "got code ", e.codes[i], " at element ", i,
          ", expected ", static_cast<int>(e.widths[i / size]), " bits");
}

inline std::vector<float> decode(const GroupedEncoding& e) {
  const Index n = static_cast<Index>(e.codes.size()), size = e.group_size > 0 ? e.group_size : n;
  std::vector<float> out(e.codes.size());
  for (Index i = 0; i < n; ++i) {
    const auto divisor = static_cast<float>((1 << e.widths[i / size]) - 1);
    out[i] = dequantize<float>(e.codes[i], divisor, e.scale, e.offset);
  }
  return out;
}

}  // namespace detail

}  // namespace qdistill::inline QDISTILL_ABI
