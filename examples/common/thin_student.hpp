/// The student of the quick presets.
#pragma once

#include "qdistill/models/polino_cnn.hpp"

namespace examples {

/// Student 3 at half its width, and without dropout, which so thin a network does not bear.
inline qdistill::models::PolinoSpec thin_student() {
  qdistill::models::PolinoSpec s = qdistill::models::polino_student_3();
  s.name = "thin student";
  s.convs = {12, 5, 5, 3}, s.linear = {100}, s.dropout = {};
  return s;
}

}  // namespace examples
