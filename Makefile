# The ways into this repository. What takes more than a line stands in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-test build run test lint bench bench-allocations bench-stacks accuracy accuracy-host accuracy-oom accuracy-traces matrix fuzz pictures clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what building needs (Debian, Ubuntu; elsewhere says what to install)
	@scripts/setup build

setup-test: ## install what the tests need besides: podman, cross compilers, real servers
	@scripts/setup test

build: setup ## the sidecar, optimised: target/release/memory-leak-hunter
	@cargo build --release --locked -p memory-leak-hunter

run: setup ## hunt on this host with the built-in configuration; ARGS="--config FILE" for another
	@cargo run --quiet --release --locked -p memory-leak-hunter -- $(ARGS)

test: setup-test ## everything; PARTS="tests end-to-end" for some of it, as root for all of it
	@scripts/test $(PARTS)

lint: setup-test ## format, clippy, documentation, shell scripts, dependencies
	@scripts/test lint

bench: build ## the overhead against its goals, as root; PARTS="pass cgroups start storm crossings oom idle", MINUTES=10 for the last
	@MINUTES=$(MINUTES) cargo bench --quiet --locked -p mlh-integration --bench overhead -- $(PARTS)

bench-allocations: setup ## what probes cost their target, and what the ring bears, as root; PARTS="pairs ungated governed followed peer redis python java ring"
	@cargo bench --quiet --locked -p mlh-integration --bench allocations -- $(PARTS)

bench-stacks: build ## what a sampled stack costs, and naming one of half a gigabyte, as root; PARTS="kernel python agent large"
	@cargo bench --quiet --locked -p mlh-integration --bench stacks -- $(PARTS)

accuracy-traces: build ## how right verdicts are on 4,000 generated traces, as tables and JSON; SETS="train test", TRACES=2000 in each, JSON=FILE
	@cargo bench --quiet --locked -p mlh-integration --bench accuracy-traces -- $(SETS) $(if $(TRACES),traces=$(TRACES)) json=$(or $(abspath $(JSON)),$(CURDIR)/target/accuracy-traces.json)

accuracy: build ## how often verdicts are right, on programs that run for real, as root; SETS="programs corpus" RUNS=8 SEED=1 MINUTES=10 PARALLEL=24
	@SETS="$(SETS)" CASES="$(CASES)" RUNS=$(RUNS) SEED=$(SEED) MINUTES=$(MINUTES) PARALLEL=$(PARALLEL) OUT="$(OUT)" SETTINGS="$(SETTINGS)" \
	cargo bench --quiet --locked -p mlh-integration --bench accuracy

accuracy-host: build ## an hour of a host with twenty services, of which five leak, as root; MINUTES=60 SEED=1 OUT=
	@MINUTES=$(MINUTES) SEED=$(SEED) OUT="$(OUT)" SETTINGS="$(SETTINGS)" cargo bench --quiet --locked -p mlh-integration --bench accuracy-host

accuracy-oom: build ## how well the end of memory is foretold, over 33 leaks with limits, as root; SEED=1, CASES="threads load" for some
	@SEED=$(SEED) CASES="$(CASES)" cargo bench --quiet --locked -p mlh-integration --bench accuracy-oom

matrix: setup-test ## whom stacks blame, by compiler and runtime, as root; RIVALS=1 with memleak and perf beside, ROWS="gcc python" for some
	@RIVALS=$(RIVALS) ROWS="$(ROWS)" scripts/matrix

fuzz: setup-test ## every parser of foreign bytes; SECONDS=60 for each, TARGETS="symbols trace" for some, KEEP=1 keeps what is new
	@PATH=$${XDG_CACHE_HOME:-$$HOME/.cache}/memory-leak-hunter/cargo-fuzz/bin:$$PATH scripts/fuzz $(or $(SECONDS),60) $(TARGETS)

pictures: setup-test ## make the pictures of README and docs anew, from real runs, as root
	@scripts/pictures

clean: ## remove what was built; the cache of test servers stays
	@cargo clean
