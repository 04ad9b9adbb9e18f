# Shared by the scripts beside it: downloads and checks. Sourced, not run; `set -eu` is on and `name` is set.

say() { printf '[%s] %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }

# verified DIR SUMS: true if every file named in SUMS (sha256 lines) is in DIR and has its checksum.
verified() { [ -d "$1" ] && (cd "$1" && printf '%s\n' "$2" | sha256_check) >/dev/null 2>&1; }

sha256_check() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum -c -; else shasum -a 256 -c -; fi
}

md5_of() {
  if command -v md5sum >/dev/null 2>&1; then md5sum <"$1" | cut -d ' ' -f 1; else md5 -q "$1"; fi
}

# download URL FILE: writes FILE whole or not at all.
download() {
  say "downloading $1"
  if command -v curl >/dev/null 2>&1; then
    curl --fail --location --retry 2 --connect-timeout 20 --silent --show-error --output "$2.part" "$1" || { rm -f "$2.part"; return 1; }
  elif command -v wget >/dev/null 2>&1; then
    wget --tries=3 --timeout=20 --no-verbose --output-document="$2.part" "$1" || { rm -f "$2.part"; return 1; }
  else
    die "neither curl nor wget is installed. HINT: install one of them (Debian: apt-get install curl)"
  fi
  mv "$2.part" "$2"
}

# no_network FOLDER FILE: ends with what to do when nothing could be downloaded.
no_network() {
  die "could not download the set: is there a network? HINT: put $2 into $1 by hand and run this script again"
}

# need COMMAND...
need() {
  for c in "$@"; do command -v "$c" >/dev/null 2>&1 || die "the command $c is missing. HINT: install it"; done
}

# fetch_archive FOLDER: brings $archive from $url, or takes it from FOLDER if it lies there, unpacks it beside the goal,
# checks it, and only then moves it to FOLDER/$set_dir. The archive's official md5 or the files' sha256 must be right.
fetch_archive() {
  need tar gzip
  mkdir -p "$1"
  if verified "$1/$set_dir" "$sums"; then
    say "$1/$set_dir is there and its checksums are right"
    return 0
  fi
  work=$1/.$set_dir.part
  rm -rf "$work"
  mkdir "$work"
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM
  file=$1/$archive
  if [ ! -f "$file" ]; then
    file=$work/$archive
    download "$url" "$file" || no_network "$1" "$archive from $url"
  fi
  tar -xzf "$file" -C "$work" || die "$file is damaged. HINT: remove it and run this script again"
  if ! verified "$work/$set_dir" "$sums" && [ "$(md5_of "$file")" != "$md5" ]; then
    die "the files in $file do not have the expected checksums. HINT: remove it and run this script again"
  fi
  rm -rf "${1:?}/$set_dir"
  mv "$work/$set_dir" "$1/$set_dir"
  say "$1/$set_dir is ready"
}
