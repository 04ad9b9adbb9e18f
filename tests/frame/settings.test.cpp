/// Build settings: the version, and the namespace that carries what changes layout or inline code.
#include <catch2/catch.hpp>
#include <string>
#include <typeinfo>

#include "qdistill/core/error.hpp"

namespace {
#define QDISTILL_TEST_TEXT2(...) #__VA_ARGS__
#define QDISTILL_TEST_TEXT(...) QDISTILL_TEST_TEXT2(__VA_ARGS__)
}  // namespace

TEST_CASE("the version's parts and its text agree") {
  CHECK(std::string(QDISTILL_VERSION_STRING) ==
        qdistill::text(QDISTILL_VERSION_MAJOR, '.', QDISTILL_VERSION_MINOR, '.', QDISTILL_VERSION_PATCH));
}

TEST_CASE("symbol names carry the version and the settings") {
  const std::string abi = QDISTILL_TEST_TEXT(QDISTILL_ABI);
  CHECK(abi == qdistill::text('v', QDISTILL_VERSION_MAJOR, '_', QDISTILL_VERSION_MINOR, "_omp", QDISTILL_OPENMP,
                              "_cuda", QDISTILL_CUDA));
  CHECK(std::string(typeid(qdistill::Error).name()).find(abi) != std::string::npos);
}
