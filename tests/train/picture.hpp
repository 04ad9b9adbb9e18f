/// What holds for every picture, whatever its figures were.
#pragma once

#include <catch2/catch.hpp>
#include <limits>

#include "qdistill/train/plot.hpp"
#include "xml_check.hpp"

namespace qdistill_test {

inline constexpr double none = std::numeric_limits<double>::quiet_NaN();
inline constexpr double infinite = std::numeric_limits<double>::infinity();

/// No number in the picture is "nan" or "inf", and it is well formed.
inline void check_picture(const qdistill::train::Svg& s) {
  CHECK(xml_check::problem(s.text) == "");
  for (const char* bad : {"\"nan", "Mnan", " nan", "inf\"", "Hnan"}) {
    INFO(bad);
    CHECK(s.text.find(bad) == std::string::npos);
  }
}

}  // namespace qdistill_test
