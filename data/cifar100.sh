#!/bin/sh
# Downloads CIFAR-100 (binary version, 170 MB) and checks it: data/cifar100.sh [FOLDER]
# The set comes to FOLDER/cifar-100-binary (FOLDER: this script's own by default). Safe to run again: files that are
# there and have the right checksums are kept.
# Source: https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky 2009). Cite the report when you use it.
set -eu
name=cifar100
here=$(cd "$(dirname "$0")" && pwd)
. "$here/fetch.sh"

set_dir=cifar-100-binary
archive=cifar-100-binary.tar.gz
md5=03b5dce01913d631647c71ecec9e9cb8
url=https://www.cs.toronto.edu/~kriz/$archive
sums='f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29  train.bin
d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a  test.bin'

fetch_archive "${1:-$here}"
