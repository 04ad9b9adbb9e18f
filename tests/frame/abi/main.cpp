#include "other.hpp"

int main() {
  qdistill::Generator generator(1);
  generator.next();
  return draws(generator) == 1 ? 0 : 1;
}
