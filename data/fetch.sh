# Shared by the scripts beside it: downloads and checks. Sourced, not run; `set -eu` is on and `name` is set.

say() { printf '[%s] %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }

# verified DIR SUMS: true if every file named in SUMS (sha256 lines) is in DIR and has its checksum.
verified() { [ -d "$1" ] && (cd "$1" && printf '%s\n' "$2" | sha256_check) >/dev/null 2>&1; }

sha256_check() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum -c -; else shasum -a 256 -c -; fi
}

# download URL FILE: writes FILE whole or not at all.
download() {
  say "downloading $1"
  if command -v curl >/dev/null 2>&1; then
    curl --fail --location --retry 2 --connect-timeout 20 --silent --show-error --output "$2.part" "$1" || return 1
  elif command -v wget >/dev/null 2>&1; then
    wget --tries=3 --timeout=20 --no-verbose --output-document="$2.part" "$1" || return 1
  else
    die "neither curl nor wget is installed. HINT: install one of them (Debian: apt-get install curl)"
  fi
  mv "$2.part" "$2"
}

# no_network WHERE WHAT: the message when nothing could be downloaded.
no_network() {
  die "could not download the set: is there a network? HINT: put $2 into $1 by hand and run this script again"
}

# need COMMAND...
need() {
  for c in "$@"; do command -v "$c" >/dev/null 2>&1 || die "the command $c is missing. HINT: install it"; done
}

# fetch_archive FOLDER: brings $archive from $url, unpacks it beside the goal, checks it against $sums, and only then
# moves it to FOLDER/$set_dir.
fetch_archive() {
  need tar gzip
  mkdir -p "$1"
  if verified "$1/$set_dir" "$sums"; then
    say "$1/$set_dir is there and its checksums are right"
    return 0
  fi
  if [ ! -f "$1/$archive" ]; then
    download "$url" "$1/$archive" || no_network "$1" "$archive from $url"
  fi
  work=$1/.$set_dir.unpacking
  rm -rf "$work"
  mkdir "$work"
  trap 'rm -rf "$work"' EXIT
  if ! tar -xzf "$1/$archive" -C "$work"; then
    rm -f "$1/$archive"
    die "$archive is damaged and was removed. HINT: run this script again"
  fi
  if ! verified "$work/$set_dir" "$sums"; then
    rm -f "$1/$archive"
    die "the files in $archive do not have the expected checksums; the archive was removed. HINT: run this script again"
  fi
  rm -rf "${1:?}/$set_dir"
  mv "$work/$set_dir" "$1/$set_dir"
  rm -f "$1/$archive"
  say "$1/$set_dir is ready"
}
