#!/usr/bin/env bash
# Installs what is missing, builds everything and runs the whole test suite. Arguments go to CTest, as in
# `scripts/test.sh -R kernels`. QDISTILL_JOBS sets the number of parallel jobs.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

"$root/scripts/setup.sh"
build=$root/build/release
configure "$build" -DCMAKE_BUILD_TYPE=Release -DQDISTILL_BUILD_TESTS=ON
cmake --build "$build" --parallel "$jobs"
ctest --test-dir "$build" --output-on-failure --no-tests=error --parallel "$jobs" "$@"
# How many of the recorded reference cases each topic passed; CTest keeps what a test that passes prints to itself.
grep '^golden ' "$build/Testing/Temporary/LastTest.log" || true
