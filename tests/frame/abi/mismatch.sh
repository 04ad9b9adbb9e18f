#!/usr/bin/env bash
# Two units built with equal settings link and run; with different ones they must not link, and the linker must name
# the settings. Usage: mismatch.sh COMPILER INCLUDE_FOLDER
set -euo pipefail
compiler=$1 include=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { # OUTPUT SOURCE FLAGS...
  "$compiler" -std=c++20 -I"$include" "${@:3}" -c "$here/$2" -o "$work/$1"
}
compile main.o main.cpp -DQDISTILL_OPENMP=0
compile same.o other.cpp -DQDISTILL_OPENMP=0
compile openmp.o other.cpp -DQDISTILL_OPENMP=1
compile cuda.o other.cpp -DQDISTILL_OPENMP=0 -DQDISTILL_CUDA=1
compile newer.o other.cpp -DQDISTILL_OPENMP=0 -include "$here/newer.hpp"

"$compiler" "$work/main.o" "$work/same.o" -o "$work/same"
"$work/same"
for other in openmp cuda newer; do
  if "$compiler" "$work/main.o" "$work/$other.o" -o "$work/$other" 2>"$work/errors"; then
    echo "units that differ in '$other' linked" >&2
    exit 1
  fi
  grep -q 'undefined reference.*_omp0_cuda0::Generator' "$work/errors" || {
    echo "the linker's message does not name the settings:" >&2
    cat "$work/errors" >&2
    exit 1
  }
done
echo "equal settings link, different ones do not"
