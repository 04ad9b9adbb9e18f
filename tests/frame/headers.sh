#!/usr/bin/env bash
# Checks each header of the library by itself. Usage: headers.sh alone|budget COMPILER INCLUDE_FOLDER [FLAGS...]
#   alone   compiles it, twice included, with warnings as errors; and, unless it includes a library of others that
#           cannot take it, with macros of one letter and other names that system headers are known to define.
#   budget  its preprocessed lines stay within the limit of include_budget.txt.
set -euo pipefail
check=$1 compiler=$2 include=$3
shift 3
flags=(-std=c++20 -I"$include" "$@")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# T, N, C, H, W, D, V and other letters are the library's template parameters and dimensions, and cannot be macros
# before it; these can, <complex.h> defines I and <termios.h> B0.
hostile=(-DG=@ -DI=@ -DJ=@ -DX=@ -DY=@ -DB0=@ -DOVERFLOW=@ -DDOMAIN=@ -DERROR=@ -DBool=@ -DStatus=@ -DSuccess=@
  -DNone=@ -DAlways=@ -Dlinux=@ -Dunix=@)

alone() {
  local header=$1 errors=$2 macros=() needs
  needs=$(printf '#include "%s"\n' "$header" | "$compiler" "${flags[@]}" -M -x c++ -) || return 1
  if ! [[ $needs =~ /(nlohmann|Eigen)/ ]]; then macros=("${hostile[@]}"); fi
  if ! printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
    "$compiler" "${flags[@]}" ${macros[@]+"${macros[@]}"} -Wall -Wextra -Wpedantic -Wshadow -Wconversion \
      -Wno-sign-conversion -Werror -fsyntax-only -x c++ - 2>"$errors"; then
    head -n 8 "$errors"
    echo "$header does not compile alone (with ${#macros[@]} hostile macros)"
    return 1
  fi
}

# The limit of the longest pattern of include_budget.txt that is a prefix of the header's path.
limit_of() {
  awk -v path="$1" '!/^#/ && NF == 2 && index(path, $1) == 1 && length($1) > best { best = length($1); limit = $2 }
                    END { print limit + 0 }' "$here/include_budget.txt"
}

budget() {
  local header=$1 errors=$2 lines limit
  printf '#include "%s"\n' "$header" | "$compiler" "${flags[@]}" -E -P -x c++ - >"$errors" || {
    echo "$header cannot be preprocessed" >&2
    return 1
  }
  lines=$(grep -c . "$errors" || true)  # a header of macros alone leaves nothing
  limit=$(limit_of "$header")
  printf '%7d of %7d  %s\n' "$lines" "$limit" "$header"
  if ((lines > limit)); then
    echo "$header: $lines preprocessed lines, expected at most $limit (include_budget.txt)" >&2
    return 1
  fi
}

# As many at a time as there are processors.
jobs=$(nproc 2>/dev/null || echo 2)
failed=0 checked=0
while IFS= read -r header; do
  if ((checked >= jobs)); then wait -n || failed=$((failed + 1)); fi
  checked=$((checked + 1))
  "$check" "$header" "$work/$checked" &
done < <(cd "$include" && find qdistill -name '*.hpp' | LC_ALL=C sort)
for ((i = 0; i < jobs && i < checked; ++i)); do wait -n || failed=$((failed + 1)); done
echo "$check: $checked headers, $failed failed"
((checked > 0 && failed == 0))
