/// Precompiled for all tests.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qdistill/core/error.hpp"
#include "qdistill/core/isa.hpp"
#include "qdistill/core/parallel.hpp"
#include "qdistill/core/random.hpp"
