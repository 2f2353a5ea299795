#!/bin/sh
# The long runs of the C library: a million operations, and a part of them under
# sanitizers and under valgrind. Several minutes.
#
#   sh tests/c/long.sh [OPERATIONS] [SEED]
set -eu
cd "$(dirname "$0")/../.."
operations=${1:-1000000}
seed=${2:-$(date +%s)}
prefix=$PWD/target/c-long/prefix
bin=$PWD/target/c-long
PREFIX=$prefix PROFILE=dev sh ffi/install.sh
flags="-std=c11 -D_GNU_SOURCE -g -O1 $(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs kamacache) -Wl,-rpath,$prefix/lib -lpthread"

# shellcheck disable=SC2086
{
  gcc tests/c/stress.c -o "$bin/stress" $flags
  gcc tests/c/stress.c -fsanitize=address,undefined -fno-sanitize-recover=all -o "$bin/stress-san" $flags
}
echo "stress, $operations operations, seed $seed"
"$bin/stress" "$operations" "$seed"
echo "the same under ASan and UBSan, a tenth"
"$bin/stress-san" $((operations / 10)) "$seed"
if command -v valgrind > /dev/null; then
  echo "the same under valgrind, a fiftieth"
  valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=9 \
    "$bin/stress" $((operations / 50)) "$seed"
fi
