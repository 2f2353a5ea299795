# Every task of this repository. `make help` lists them; CI and the README call
# only these. A recipe here is one line: what is longer lives in scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Where `make install` puts the C library, and what stands in front of that while
# a package is made.
PREFIX ?= /usr/local
DESTDIR ?=
# The profile of all that is built for tests and the demo; `make wheel`,
# `make npm-pack` and `make install` build for release.
PROFILE ?= dev
PYTHON ?= python3
# The demo's ports.
PORT1 ?= 8001
PORT2 ?= 8002
PORT3 ?= 8003
HTTP_PORT ?= 9999
# KEEP=1 leaves the demo's cluster up.
KEEP ?=
# Benchmarks or rows of the suites of faults and upgrades to run, as ONLY=P1,P2; all of them by default.
ONLY ?=
# Seeds of `make sim`: how many of each test, or the one that failed; also the
# one of `make faults`.
SEEDS ?= 1000
SEED ?=
# How long `make soak` runs.
MINUTES ?= 10
# How long `make faults` and `make test-upgrade` run: small or full.
SIZE ?= full
# How long `make fuzz` runs each target.
SECONDS ?= 60

export DESTDIR PROFILE PYTHON PORT1 PORT2 PORT3 HTTP_PORT KEEP ONLY SIZE SEED MINUTES

##@ First steps

help: ## This list
	@awk -f scripts/help.awk $(firstword $(MAKEFILE_LIST))

setup: ## Check the tools and install what is missing: Debian packages, .venv, node_modules
	@scripts/setup

demo: nodes ## A cluster of Python, Node.js and C on 127.0.0.1 over SQLite; KEEP=1 leaves it up
	@exec $(PYTHON) examples/demo/demo.py

demo-stop: ## Stop the cluster that `make demo KEEP=1` left up
	@$(PYTHON) examples/demo/demo.py --stop

##@ Tests

test: ## Everything: lints, and the tests of every language; under 20 minutes
	@scripts/test

test-rust: setup ## Rust unit, integration and doc tests
	@scripts/test rust

test-c: setup ## Header, library file, C tests and conformance rows, the C example
	@scripts/test c

test-python: setup ## pytest against the wheel; mypy --strict
	@scripts/test python

test-nodejs: setup ## node --test against the addon; tsc --strict
	@scripts/test nodejs

soak-nodejs: setup ## Node.js: memory over a million operations
	@scripts/build addon
	@OPERATIONS=1000000 node --test bindings/nodejs/test/memory.test.mjs

test-cluster: setup ## Nodes of all languages in one ring
	@scripts/test cluster

test-faults: setup ## The fault suite in its small size
	@scripts/test faults

test-readme: setup ## The README's quick starts, the guide's programs and commands, all links
	@scripts/test readme

test-deploy: setup ## Images, manifests, chart and compose file, without Docker and without a cluster; several minutes
	@scripts/setup deploy
	@.venv/bin/python tests/deploy/images.py
	@scripts/test readme

faults: setup ## Rings of all languages under load, a fault each, and a table: SIZE=small SEED=7 ONLY=kill,stop; under 10 minutes
	@scripts/build faults
	@exec .venv/bin/python tests/faults/suite.py

attack: ## Strangers at the port of real nodes, an attack each, and a table: SIZE=small ONLY=hello; about 6 minutes
	@cargo run --quiet --release --package kamacache-attack -- $(ONLY)

soak: setup ## A ring of all languages with full caches under a mixed load, MINUTES=10: memory stays flat
	@scripts/build faults
	@exec .venv/bin/python tests/faults/suite.py --only soak

test-upgrade: setup ## This release and the previous one in one ring, upgraded node by node and back: SIZE=small ONLY=up; builds the previous one first
	@scripts/test upgrade

test-discovery: setup ## Every kind of discovery, also k8s and nacos, which only Rust has
	@scripts/test discovery

sim: ## The cluster in simulation, SEEDS=1000 of each test; SEED=7 runs that one
	@SEEDS=$(SEEDS) SEED=$(SEED) cargo test --profile sim --package kamacache-core --test sim -- --nocapture

scaling: ## Rings of 10 to 200 nodes in one process: the table of docs/scaling.md
	@cargo test --profile sim --package kamacache-core --test scaling -- --ignored --nocapture

fuzz: ## What arrives on the port, and the store, fed with bytes: SECONDS=60 each
	@scripts/fuzz $(SECONDS)

test-otel: setup ## Spans reach an OpenTelemetry collector (the command with the feature otel)
	@cargo test --quiet --package kamacache-cli --features otel --test otel

test-nogil: ## Whether the native module compiles for Python 3.14 without the GIL
	@PYO3_CONFIG_FILE="$(CURDIR)/bindings/python/free-threaded.cfg" cargo check --package kamacache-python --target-dir target/free-threaded

test-sdist: setup ## The Python sdist, built from its own files alone, installed and used
	@bindings/python/tests/sdist.sh

lint: setup ## rustfmt --check and clippy, warnings denied
	@scripts/test lint

fmt: ## Format the Rust code
	@cargo fmt --all

abi: ## The C ABI against its baseline; a .deb installed and removed; several minutes
	@sh tests/c/abi.sh && sh tests/c/deb.sh

stress: ## A million C operations under cancels, time-outs, kills and closes; also under sanitizers and valgrind
	@sh tests/c/long.sh

bench: setup ## Benchmarks against named peers: a table, and target/bench/results.json
	@cargo run --quiet --release --package kamacache-benches --bin suite

book: ## The guide and the reference as HTML, in target/book (installs mdbook into target/tools)
	@scripts/book

deny: ## Licences, banned crates and sources of all dependencies (installs cargo-deny into target/tools)
	@scripts/deny

##@ Packages

wheel: setup ## The Python wheel: one .whl in dist/
	@PROFILE=release scripts/build wheel dist

npm-pack: setup ## The npm packages, main and linux-x64-gnu: two .tgz in dist/
	@PROFILE=release scripts/build npm-pack dist

install: ## The C library, headers, pkg-config and CMake files, man pages, examples: into DESTDIR/PREFIX
	@PREFIX='$(PREFIX)' PROFILE=release sh ffi/install.sh

deb: ## The same as a Debian package: one .deb in dist/
	@PROFILE=release sh ffi/deb.sh

cli-install: ## The kamacache command, its completions and manual pages: into DESTDIR/PREFIX
	@PREFIX='$(PREFIX)' PROFILE=release sh cli/install.sh

##@ Housekeeping

nodes: ## Build the example programs of every language
	@scripts/setup demo
	@scripts/build nodes

clean: ## Remove all that was built or installed into this folder
	@rm -rf target dist build .venv bindings/nodejs/node_modules examples/nodejs/node_modules benches/nodejs/node_modules bindings/nodejs/*.node

.PHONY: help setup demo demo-stop test test-rust test-c test-python test-nodejs test-cluster test-faults test-readme test-deploy test-discovery test-upgrade test-sdist test-nogil test-otel soak-nodejs faults attack soak sim scaling fuzz \
	lint fmt book deny abi stress bench wheel npm-pack install deb cli-install nodes clean
