#!/bin/sh
# The binary interface beside the committed one, ffi/abi/libkamacache.abi: every
# struct of the header down to its offsets, every function, every parameter that
# is no handle. Then the same with one struct changed, which must be seen.
#
#   sh tests/c/abi.sh
#   KAMACACHE_BLESS=1 sh tests/c/abi.sh     writes the committed one anew
#
# Both are read from a build with full debugging information (debug = 2): with
# less there is nothing to see.
set -eu
cd "$(dirname "$0")/../.."
baseline=ffi/abi/libkamacache.abi
work=target/abi
for tool in abidw abidiff; do
  command -v $tool > /dev/null || { echo "abi.sh: there is no $tool: on Debian, apt-get install abigail-tools" >&2; exit 1; }
done

# dump MANIFEST OUT: the interface of the library that this workspace gives.
dump() {
  cargo build --quiet --manifest-path "$1" --package kamacache-ffi --lib --target-dir "$work" --config 'profile.dev.package.kamacache-ffi.debug=2'
  abidw --suppressions ffi/abi/private.suppr --no-corpus-path --no-comp-dir-path --no-show-locs --out-file "$2" "$work/debug/libkamacache.so"
  grep -q "class-decl name='kamacache_stats'" "$2" || { echo "abi.sh: no struct in $2: it was built without debugging information" >&2; exit 1; }
}

mkdir -p "$work"
dump Cargo.toml "$work/now.abi"
if [ -n "${KAMACACHE_BLESS:-}" ]; then
  cp "$work/now.abi" "$baseline"
  echo "written: $baseline"
fi
code=0
abidiff "$baseline" "$work/now.abi" || code=$?
if [ $code != 0 ]; then
  echo "FAILED: the interface has changed, as abidiff says above. Functions that were only added are fine: KAMACACHE_BLESS=1 make abi." >&2
  echo "Anything else breaks programs that were built before: undo it, or give the library another number (ffi/build.rs)" >&2
  exit 1
fi
echo "ok the interface is the committed one"

# The two fields of a frozen struct change places: nothing in Rust minds.
changed=$work/changed
rm -rf "$changed"
mkdir -p "$changed"
cp -r Cargo.toml Cargo.lock proto kamacache-core ffi "$changed"
sed -i 's/^members = .*/members = ["kamacache-core", "ffi"]/; /^exclude = /d' "$changed/Cargo.toml"
sed -i '/^pub struct kamacache_slice {/,/^}/ { s/pub data: \*const c_void,/pub LEN: usize,/; s/pub len: usize,/pub data: *const c_void,/; s/pub LEN:/pub len:/ }' \
  "$changed/ffi/src/group_many.rs"
if cmp -s ffi/src/group_many.rs "$changed/ffi/src/group_many.rs"; then
  echo "FAILED: abi.sh found no kamacache_slice to change" >&2
  exit 1
fi
dump "$changed/Cargo.toml" "$work/changed.abi"
code=0
abidiff "$baseline" "$work/changed.abi" > "$work/changed.txt" || code=$?
if ! grep -q kamacache_slice "$work/changed.txt" || [ $((code & 4)) = 0 ]; then
  echo "FAILED: a struct with two fields exchanged was not seen (abidiff says $code)" >&2
  exit 1
fi
echo "ok a changed struct is seen: $(grep -c . "$work/changed.txt") lines of abidiff"
