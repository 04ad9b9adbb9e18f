#!/usr/bin/env bash
# Builds and runs one small program in each of the five ways in which a user may consume the library, from an installed
# copy that was moved after its installation, and from the source tree. Usage: run.sh WORK_FOLDER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../../.." && pwd)
mkdir -p "$1"
work=$(cd "$1" && pwd)
compiler=${CXX:-c++}
unset CMAKE_PREFIX_PATH PKG_CONFIG_PATH
if command -v ninja >/dev/null; then export CMAKE_GENERATOR=Ninja; fi

build() { # NAME OPTIONS...
  local name=$1
  shift
  rm -rf "${work:?}/$name"
  if ! { cmake -S "$here/$name" -B "$work/$name" -DCMAKE_CXX_COMPILER="$compiler" "$@" &&
    cmake --build "$work/$name"; } >"$work/$name.log" 2>&1; then
    cat "$work/$name.log" >&2
    return 1
  fi
  "$work/$name/app"
  local program
  for program in app_compiled app_images; do
    if [[ -x $work/$name/$program ]]; then "$work/$name/$program"; fi
  done
  echo "consumer $name: passed"
}

rm -rf "$work/install" "$work/first" "$work/moved"
cmake -S "$source" -B "$work/install" -DCMAKE_CXX_COMPILER="$compiler" -DQDISTILL_BUILD_TESTS=OFF \
  -DQDISTILL_BUILD_EXAMPLES=OFF -DQDISTILL_BUILD_BENCHMARKS=OFF >/dev/null
cmake --install "$work/install" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
if grep -rlF -e "$source" -e "$work" "$work/moved"; then
  echo "the installed files above name the folder of the build" >&2
  exit 1
fi

build find_package -DCMAKE_PREFIX_PATH="$work/moved"
build add_subdirectory -DQDISTILL_SOURCE="$source"
build fetch_content -DQDISTILL_SOURCE="$source"

export PKG_CONFIG_PATH="$work/moved/share/pkgconfig"
read -ra flags < <(pkg-config --cflags --libs qdistill)
"$compiler" -std=c++20 "$here/app.cpp" "${flags[@]}" -o "$work/pkg_config_app"
"$work/pkg_config_app"
echo "consumer pkg_config: passed"

"$compiler" -std=c++20 -I"$source/include" "$here/app.cpp" -pthread -o "$work/bare_app"
"$work/bare_app"
echo "consumer bare: passed"
