#pragma once

#include "qdistill/core/random.hpp"

/// Numbers of streams handed out by `generator`. Its symbol carries the settings of the unit that sees it.
qdistill::Index draws(const qdistill::Generator& generator);
