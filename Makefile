# The ways into this repository. What takes more than a line stands in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-test build run test lint bench bench-allocations clean

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

bench-allocations: setup ## what probes cost their target, and what the ring bears, as root; PARTS="pairs ungated peer redis python java ring"
	@cargo bench --quiet --locked -p mlh-integration --bench allocations -- $(PARTS)

clean: ## remove what was built; the cache of test servers stays
	@cargo clean
