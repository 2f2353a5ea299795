#!/bin/bash
# Measures P6 with an addon built for release, and prints its rows. The peers are installed beside the bench, the
# package from its tarballs, as a user would have it.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=benches/nodejs
packages=$PWD/target/bench/npm
{
  PROFILE=release scripts/build npm-pack "$packages"
  npm --prefix $here ci --no-audit --no-fund --loglevel=error
  npm --prefix $here install --no-save --no-audit --no-fund --loglevel=error "$packages"/*.tgz
} >&2
exec node $here/bench.mjs
