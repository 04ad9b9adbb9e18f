#!/usr/bin/env bash
# Installs what is missing to build and test. Debian and Ubuntu: through apt-get, with sudo where needed; elsewhere
# prints what to install and exits with 1. With --ci also what .ci/run needs beside it.
set -euo pipefail

# "PACKAGE PROBE": a command, or a file that the package brings below one of the usual prefixes.
needs=(
  "g++ command:c++"
  "cmake command:cmake"
  "ninja-build command:ninja"
  "catch2 file:include/catch2/catch.hpp"
  "nlohmann-json3-dev file:include/nlohmann/json.hpp"
  "libcli11-dev file:include/CLI/CLI.hpp"
  "libeigen3-dev file:include/eigen3/Eigen/Core"
  "libbenchmark-dev file:include/benchmark/benchmark.h"
  "libstb-dev file:include/stb/stb_image.h"
)
if [[ ${1:-} == --ci ]]; then
  needs+=(
    "clang command:clang++"
    "libomp-dev clang-links:-fopenmp"
    "libclang-rt-dev clang-links:-fsanitize=address,undefined"
    "clang-format command:clang-format"
    "pkg-config command:pkg-config"
    "ccache command:ccache"
  )
elif [[ -n ${1:-} ]]; then
  echo "usage: scripts/setup.sh [--ci]" >&2
  exit 2
fi

present() {
  case $1 in
    command:*) command -v "${1#command:}" >/dev/null ;;
    file:*)
      local prefix
      for prefix in /usr /usr/local /opt/homebrew; do
        if [[ -e $prefix/${1#file:} ]]; then return 0; fi
      done
      return 1
      ;;
    clang-links:*) # Whatever version clang has, the runtime of this option must link.
      command -v clang++ >/dev/null && echo 'int main() {}' | clang++ "${1#clang-links:}" -x c++ - -o /dev/null 2>/dev/null
      ;;
  esac
}

missing=()
for need in "${needs[@]}"; do
  read -r package probe <<<"$need"
  if ! present "$probe"; then missing+=("$package"); fi
done
if ((${#missing[@]} == 0)); then
  echo "setup: nothing is missing"
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "setup: please install these (names as in Debian): ${missing[*]}" >&2
  exit 1
fi
run=(env DEBIAN_FRONTEND=noninteractive)
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "setup: neither root nor sudo. As root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  run=(sudo "${run[@]}")
fi
echo "setup: installing ${missing[*]}"
"${run[@]}" apt-get update -q </dev/null ||
  echo "setup: apt-get update failed; trying with the lists that are there" >&2
"${run[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null
