#include "other.hpp"

qdistill::Index draws(const qdistill::Generator& generator) {
  return static_cast<qdistill::Index>(generator.counter());
}
