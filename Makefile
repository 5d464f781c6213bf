# One way to do each thing; CI (.ci/run) runs these same targets. `make help` lists them.
# Everything that is built or installed once per machine is outside of the checkout, see deploy/setup/env.sh.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test build run stop lab lab-down lab-clean test-lab test test-applications fresh-machine demo verify fix bench bench-grpc bench-recovery bench-memory bench-pauses bench-crowd chaos soak sim plants fuzz test-differential failpoints test-upgrade conformance conformance-check ledger build-tools install

ENV := source deploy/setup/env.sh
# `cargo build` that also estimates the minutes left.
BUILD := deploy/setup/cargo-build.sh --locked
DEV_DIR := $(if $(FASTNESS_DEV_DIR),$(FASTNESS_DEV_DIR),$(CURDIR)/.fastness-dev)
PREFIX ?= $(HOME)/.local

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

setup: ## install what a build needs, Rust too, and build RocksDB, once per machine
	@deploy/setup/system.sh
	@deploy/setup/rust.sh
	@deploy/setup/rocksdb.sh

setup-test: setup ## setup, and the client libraries and reference server that tests use
	@deploy/setup/system.sh test
	@deploy/setup/python.sh

build: setup ## build the release binary
	@$(ENV); $(BUILD) --release -p fastness
	@$(ENV); if grep -q -e FASTNESS_PLANT -e FASTNESS_TEST_TYPE "$$CARGO_TARGET_DIR/release/fastness"; then \
		echo "the binary contains code of tests (planted bugs, a data type), because it was built together with the test kit" >&2; exit 1; fi
	@$(ENV); echo "built $$CARGO_TARGET_DIR/release/fastness"

run: build ## a three-AZ cluster on this machine, in the background
	@$(ENV); "$$CARGO_TARGET_DIR/release/fastness" dev --detach --dir '$(DEV_DIR)'

stop: ## stop the cluster that `make run` started; its data stays
	@$(ENV); "$$CARGO_TARGET_DIR/release/fastness" dev stop --dir '$(DEV_DIR)'

lab: build ## the same cluster in containers, three networks as AZs, with Prometheus; prints what to try (deploy/lab/README.md)
	@deploy/lab/lab.sh up

lab-down: ## stop the containers of `make lab`; their data stays
	@deploy/lab/lab.sh down

lab-clean: ## remove the containers, the data and the keys of `make lab`
	@deploy/lab/lab.sh clean

test-lab: setup-test ## the lab in containers, from start to removal, with faults under load; skipped, with the reason, without a Docker engine
	@$(ENV); $(BUILD) --workspace --bins --tests
	@$(ENV); export FASTNESS_BIN="$$CARGO_TARGET_DIR/debug/fastness" FASTNESS_TEST_LAB=yes; \
		cargo test --locked --workspace --test compose_lab -- --nocapture

# One profile for unit tests and for the processes under test. Both commands select the same
# packages and targets, so that cargo resolves the same features and compiles everything once.
test: setup-test ## all tests, on real processes too
	@$(ENV); $(BUILD) --workspace --bins --tests
	@$(ENV); export FASTNESS_BIN="$$CARGO_TARGET_DIR/debug/fastness"; \
		cargo test --locked --workspace $(if $(CI),--no-fail-fast); \
		echo "real clients (redis-cli, redis-py, valkey-py, GLIDE):"; "$$FASTNESS_PYTHON" tests/clients/test_clients.py; \
		"$$FASTNESS_PYTHON" tests/clients/test_lag.py; "$$FASTNESS_PYTHON" tests/clients/test_grpc.py; \
		echo "applications (celery, rq, django-redis and others):"; "$$FASTNESS_PYTHON_APPLICATIONS" tests/applications/run.py plain

test-applications: setup-test ## task queues, sessions, limits and other applications, through failovers too: NAME='celery rq' for some (tests/applications/README.md)
	@$(ENV); $(BUILD) --workspace --bins
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/debug/fastness" "$$FASTNESS_PYTHON_APPLICATIONS" tests/applications/run.py all $(NAME)

fresh-machine: ## `make run` in a bare Debian container, as root and as a user with sudo: FRESH_TEST=yes also runs `make test` there; more in deploy/setup/fresh-machine.sh
	@deploy/setup/fresh-machine.sh

demo: build ## faults under load on clusters of their own, each with a verdict: NAME=az-loss for one, ARGS='--help' lists the options
	@$(ENV); "$$CARGO_TARGET_DIR/release/fastness" lab demo $(or $(NAME),all) $(ARGS)

verify: setup ## check formatting, lints, layers, docs and licences; writes nothing to the checkout
	@$(ENV); set -x; cargo fmt --all --check
	@$(ENV); set -x; cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(ENV); set -x; RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	@$(ENV); set -x; cargo test --locked --no-fail-fast --workspace --test layers --test structure --test style --test licences
	@$(ENV); if command -v cargo-deny >/dev/null; then cargo deny --locked check licenses bans sources; \
	else echo "verify: SKIPPED cargo deny (not installed: cargo install cargo-deny); licences were checked by the test above"; fi

fix: setup ## format, and apply the lints that can be applied
	@$(ENV); cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged
	@$(ENV); set -x; cargo fmt --all

# Benchmarks and chaos runs use the release binary as it is shipped. It is built separately from the tools, whose
# simulation enables features of tokio that the shipped binary does not have.
build-tools: setup-test
	@$(ENV); $(BUILD) --release -p fastness
	@$(ENV); $(BUILD) --release -p fastness-testkit --bins

bench: build-tools ## speed against a real Valkey in the same run: ARGS=--types for the commands of all data types; ARGS='--help' lists the options
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness" "$$CARGO_TARGET_DIR/release/bench" $(ARGS)

bench-grpc: build-tools ## what a call over gRPC costs beside the same command over the protocol; ARGS='SECONDS ROUNDS'
	@$(ENV); export FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness"; \
		cargo bench --locked -p fastness-testkit --bench grpc_cost -- $(ARGS)

bench-recovery: build-tools ## restarts and undos with many keys, compared with a real Valkey's; ARGS='--keys 1000000'
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness" "$$CARGO_TARGET_DIR/release/recovery" $(ARGS)

bench-memory: build-tools ## memory of a million small values of each type, compared with a real Valkey's; ARGS='--only hash'
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness" "$$CARGO_TARGET_DIR/release/memory" $(ARGS)

bench-pauses: build-tools ## what large commands cost other clients, and how long clients notice the loss of a primary; ARGS='--help'
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness" "$$CARGO_TARGET_DIR/release/pauses" $(ARGS)

bench-crowd: build-tools ## what 10,000 idle connections and 1,000 clients that never read cost other clients; ARGS='--help'
	@$(ENV); export FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness"; \
		cargo bench --locked -p fastness-testkit --bench crowd -- $(ARGS)

chaos: build-tools ## faults, or with PROFILE=adversary hostile clients, on real processes under load, checked; PROFILE=mixed SECONDS=60 (or FAULTS=n) SEED=n NODES=3 CLIENTS=mixed (or resp, grpc, sdk), ARGS='--help' lists the options
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness" "$$CARGO_TARGET_DIR/release/chaos" --ledger \
		$(if $(SEED),--seed $(SEED)) $(if $(PROFILE),--profile $(PROFILE)) $(if $(NODES),--nodes $(NODES)) $(if $(CLIENTS),--clients $(CLIENTS)) \
		$(if $(FAULTS),--faults $(FAULTS),$(if $(SECONDS),--seconds $(SECONDS))) $(ARGS)

soak: build-tools ## full load for MINUTES=30, checked: no election may happen in that time
	@$(ENV); FASTNESS_BIN="$$CARGO_TARGET_DIR/release/fastness" "$$CARGO_TARGET_DIR/release/soak" \
		--minutes $(or $(MINUTES),30) $(ARGS)

sim: build-tools ## whole shards in simulated time, while everything goes wrong: SEED=n replays one run, SEEDS=1000 JOBS=2 does many
	@$(ENV); "$$CARGO_TARGET_DIR/release/simulate" --ledger $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) \
		--jobs $(or $(JOBS),2) $(ARGS)

plants: build-tools ## hunt planted bugs, mistakes in the path of a write, with the simulation; ARGS='--help'
	@$(ENV); "$$CARGO_TARGET_DIR/release/plants" --page tests/PLANTS.md $(ARGS)

# The crates of the workspace count their branches, so that inputs that reach something new are kept (crates/fuzz/coverage.sh).
fuzz: setup ## arbitrary input to every decoder, checked: TIME=60 seconds or EXECUTIONS=n, SEED=n, TARGET=name; ARGS='--help' lists the options
	@$(ENV); export RUSTC_WORKSPACE_WRAPPER='$(CURDIR)/crates/fuzz/coverage.sh'; \
		$(BUILD) --profile fuzz -p fastness-fuzz --bin fuzz
	@$(ENV); "$$CARGO_TARGET_DIR/fuzz/fuzz" --ledger $(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED)) \
		$(if $(EXECUTIONS),--executions $(EXECUTIONS),--seconds $(or $(TIME),60)) $(ARGS)

test-differential: build-tools ## random commands beside a real Valkey, compared: COMMANDS=10000000 SEED=n; ARGS='--help' lists the options
	@$(ENV); "$$CARGO_TARGET_DIR/release/differential" --ledger $(if $(COMMANDS),--commands $(COMMANDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

failpoints: setup-test ## nodes that die at each step of a write, a snapshot, a hand-over, an undo
	@$(ENV); $(BUILD) --workspace --bins
	@$(ENV); FASTNESS_FAILPOINTS=all cargo test --locked --workspace --test failpoints -- --nocapture

test-upgrade: setup-test ## upgrade a cluster of an older version node by node: OLD=PATH of its debug or release binary
	@$(ENV); $(BUILD) --workspace --bins
	@$(ENV); export FASTNESS_BIN="$$CARGO_TARGET_DIR/debug/fastness" FASTNESS_OLD_BIN='$(abspath $(OLD))'; \
		cargo test --locked --workspace --test upgrade -- --nocapture

# Before the build, which takes minutes: whether there is a suite to run.
conformance-check:
	@tests/conformance/run.sh check

# A variable on make's command line is in the environment of the recipe.
conformance: conformance-check build ## Valkey's own test suite against one shard: VALKEY_SRC=DIR, a checkout of Valkey 8.0.1 that was built; UNIT='unit/type/list …' for some units, OUT=DIR for the logs (tests/conformance/README.md)
	@tests/conformance/run.sh

ledger: setup ## regenerate tests/LEDGER.md from the rows that the long runs wrote
	@$(ENV); cargo run --locked --release -q -p fastness-testkit --bin proof -- page

install: build ## install the release binary into PREFIX/bin (default: ~/.local/bin)
	@$(ENV); install -D -m 755 "$$CARGO_TARGET_DIR/release/fastness" '$(PREFIX)/bin/fastness'
	@echo "installed $(PREFIX)/bin/fastness"
