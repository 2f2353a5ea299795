#!/bin/bash
# Measures P6 with an addon built for release, and prints its rows. The peers are installed into this folder, the
# package from its tarballs, as a user would have it.
set -euo pipefail
cd "$(dirname "$0")"
{
  PROFILE=release ../../scripts/build npm-pack ../../target/bench/npm
  npm ci --no-audit --no-fund --loglevel=error
  npm install --no-save --no-audit --no-fund --loglevel=error ../../target/bench/npm/*.tgz
} >&2
exec node bench.mjs
