#!/usr/bin/env bash
# The main job on the generated images: installs what is missing, builds examples/cifar10, runs its quick preset, then
# evaluates its packed students in a fresh process. Usage: scripts/demo.sh [ARGUMENTS OF examples/cifar10]
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
arguments=("$@")
if (($# == 0)); then arguments=(--preset quick); fi

# The run's name: the one given, else the first of demo, demo-2, ... that is free.
name=
for ((i = 0; i < ${#arguments[@]}; ++i)); do
  case ${arguments[i]} in
    --name) name=${arguments[i + 1]:-} ;;
    --name=*) name=${arguments[i]#--name=} ;;
    --runs | --runs=* | sweep | compare | verify | -h | --help)
      echo "scripts/demo.sh: got '${arguments[i]}', which is for build/release/examples/cifar10 itself. HINT:" \
        "cmake --build build/release --target cifar10" >&2
      exit 2
      ;;
  esac
done
if [[ -z $name ]]; then
  name=demo
  for ((n = 2; ; ++n)); do
    if [[ ! -e $root/runs/$name ]]; then break; fi
    name=demo-$n
  done
  arguments+=(--name "$name")
fi

start=$SECONDS
"$root/scripts/setup.sh"
build=$root/build/release
configure "$build" -DCMAKE_BUILD_TYPE=Release
cmake --build "$build" --parallel "$jobs" --target cifar10
built=$SECONDS

"$build/examples/cifar10" "${arguments[@]}" --runs "$root/runs"
ran=$SECONDS

echo
echo "In a fresh process, from the packed files alone:"
"$build/examples/cifar10" verify "$root/runs/$name"
echo
echo "set-up and build $((built - start)) s, run $((ran - built)) s, verification $((SECONDS - ran)) s"
