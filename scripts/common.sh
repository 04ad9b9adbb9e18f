# shellcheck shell=bash disable=SC2034
# For the other scripts: the folder of the project, the generator, time.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=${QDISTILL_JOBS:-$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}

# configure FOLDER OPTIONS...: a folder that was configured before keeps its generator. A program's sources are compiled
# in groups, which takes half the time; without CMAKE_UNITY_BUILD, as in the preset "dev", they are compiled one by one.
configure() {
  local folder=$1 generator=()
  shift
  if [[ ! -e $folder/CMakeCache.txt ]] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
  cmake -S "$root" -B "$folder" ${generator[@]+"${generator[@]}"} -DCMAKE_UNITY_BUILD=ON "$@"
}

# Threads that wait at the end of a short loop sleep instead of spinning: with several processes on few cores, as when
# tests run in parallel, spinning costs a hundred times the work itself.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
