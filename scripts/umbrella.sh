#!/usr/bin/env bash
# Writes the includes of include/qdistill/qdistill.hpp: every header but those that its head comment names as
# "Opt-in: qdistill/x/y.hpp". A test checks that it is up to date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../include"
umbrella=qdistill/qdistill.hpp
head=$(sed '/^#pragma once/,$d' "$umbrella")
{
  printf '%s\n#pragma once\n\n' "$head"
  find qdistill -mindepth 2 -name '*.hpp' | LC_ALL=C sort | while IFS= read -r header; do
    if ! grep -qF "Opt-in: $header" <<<"$head"; then printf '#include "%s"\n' "$header"; fi
  done
} >"$umbrella.new"
mv "$umbrella.new" "$umbrella"
