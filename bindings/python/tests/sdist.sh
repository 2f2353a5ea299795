#!/bin/bash
# The sdist builds from its own files alone: packed, unpacked in an empty folder,
# built and installed by pip in an environment of its own, and used there.
# Called by `make test-sdist`; built in the profile PROFILE (dev).
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$root/.venv/bin/maturin" sdist --manifest-path "$root/bindings/python/Cargo.toml" --out "$folder"
cd "$folder"
tar -xzf kamacache-*.tar.gz
rm kamacache-*.tar.gz
"${PYTHON:-python3}" -m venv venv
# What other crates compile to may be shared; the sources of these two may not.
export CARGO_TARGET_DIR=$root/target MATURIN_PEP517_ARGS="--profile ${PROFILE:-dev}"
venv/bin/python -m pip install --quiet --disable-pip-version-check ./kamacache-*/
rm -rf kamacache-*
venv/bin/python -c '
import kamacache
with kamacache.Node("127.0.0.1:0") as node:
    group = node.group("g", lambda key: key.encode(), max_bytes="1MiB")
    assert group.get("built") == b"built"
print("sdist: kamacache", kamacache.__version__, "built from its sdist works")
'
