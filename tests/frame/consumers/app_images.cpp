// A program of a user that decodes images: this one, of text, is refused.
#include <cstdio>

#include "qdistill/qdistill.hpp"

int main() {
  const std::uint8_t text[] = {'t', 'e', 'x', 't'};
  try {
    qdistill::data::decode_image(text, "a.png");
  } catch (const qdistill::FileError& e) {
    std::printf("%s\n", e.what());
    return 0;
  }
  return 1;
}
