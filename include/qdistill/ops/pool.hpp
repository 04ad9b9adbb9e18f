/// All pooling functions.
#pragma once

#include "qdistill/ops/pool_adaptive_max.hpp"
#include "qdistill/ops/pool_average.hpp"
#include "qdistill/ops/pool_max.hpp"
