#!/bin/bash
# Builds the wheel for release, puts it beside its peers in a virtual environment
# of its own, and prints the rows of P5. `make setup` comes first.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=target/bench/venv
{
  PROFILE=release scripts/build wheel target/bench/wheel
  [ -x $venv/bin/python ] || "${PYTHON:-python3}" -m venv $venv
  $venv/bin/python -m pip install --quiet --disable-pip-version-check -r benches/python/requirements.txt
  $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall target/bench/wheel/*.whl
} >&2
exec $venv/bin/python benches/python/bench.py
