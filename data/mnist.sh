#!/bin/sh
# Downloads MNIST (11 MB) and checks it: data/mnist.sh [FOLDER]
# The four idx files come to FOLDER/mnist (FOLDER: this script's own by default). Safe to run again: files that are
# there and have the right checksums are kept.
# Source: LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist/; that server often refuses, so public mirrors of the
# same files are tried first.
set -eu
name=mnist
here=$(cd "$(dirname "$0")" && pwd)
. "$here/fetch.sh"

mirrors='https://ossci-datasets.s3.amazonaws.com/mnist
https://storage.googleapis.com/cvdf-datasets/mnist
http://yann.lecun.com/exdb/mnist'
sums='ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte'

need gzip
goal=${1:-$here}/mnist
mkdir -p "$goal"
printf '%s\n' "$sums" | while read -r sum file; do
  line="$sum  $file"
  if verified "$goal" "$line"; then
    say "$goal/$file is there and its checksum is right"
    continue
  fi
  if [ ! -f "$goal/$file.gz" ]; then
    for mirror in $mirrors; do
      if download "$mirror/$file.gz" "$goal/$file.gz"; then break; fi
    done
    [ -f "$goal/$file.gz" ] || no_network "$goal" "$file.gz"
  fi
  if ! gzip -dc "$goal/$file.gz" >"$goal/$file.part"; then
    rm -f "$goal/$file.gz" "$goal/$file.part"
    die "$file.gz is damaged and was removed. HINT: run this script again"
  fi
  mv "$goal/$file.part" "$goal/$file"
  if ! verified "$goal" "$line"; then
    rm -f "$goal/$file" "$goal/$file.gz"
    die "$file does not have the expected checksum and was removed. HINT: run this script again"
  fi
  rm -f "$goal/$file.gz"
  say "$goal/$file is ready"
done
