# `make run` and `make test` are all that one needs; `make help` lists the rest.
#
# Every step builds with one profile (--release) and one set of features (--workspace), so that RocksDB and all other
# dependencies are compiled once, whatever is run first. Build output lies outside the work tree and outlives it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(HOME)/.cache/streamhouse/target
# Incremental builds would leave the optimizer fewer chances; a developer may set it to 1.
export CARGO_INCREMENTAL ?= 0

# rustup's installer changes the PATH of new shells only.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo

# make run
LISTENER ?= 127.0.0.1:9092
HTTP ?= 127.0.0.1:9464
DATA ?= ./data
ARGS ?=
export LISTENER HTTP DATA ARGS

.PHONY: help run test build install install-test fmt fmt-check lint deny doc unit compat tidy bench crash crash-groups \
        docker docker-check docker-check-full clean-data

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, build, start a broker on LISTENER (127.0.0.1:9092), data in DATA (./data); ARGS='--set key=value'
	@scripts/install run
	@scripts/run

test: ## Install what is missing, then run all that CI runs
	@scripts/install test
	@scripts/test

build: ## The broker's binary
	$(CARGO) build --locked --release --workspace --bin streamhouse

install: ## The packages that `make run` needs
	@scripts/install run

install-test: ## The packages that `make test` needs
	@scripts/install test

fmt: ## Format the sources
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

lint: ## Clippy, warnings are errors
	$(CARGO) clippy --locked --release --workspace --all-targets -- -D warnings

deny: ## Licences, bans and sources of the dependencies
	@scripts/deny

doc: ## Documentation of all crates, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --release --workspace --no-deps

unit: ## Tests that need no broker process
	$(CARGO) test --locked --release --workspace --exclude streamhouse-compat-tests

tidy: ## Text checks over the sources
	$(CARGO) test --locked --release --workspace --test tidy

compat: build ## Real clients against the real binary; TEST=name runs one test program only
	$(CARGO) test --locked --release -p streamhouse-compat-tests $(if $(TEST),--test $(TEST))

bench: build ## Our benchmark: StreamHouse and Apache Kafka in turn on this machine; ARGS=... goes to it
	$(CARGO) run --locked --release -p streamhouse-compat-tests --bin bench -- $(ARGS)

crash: build ## kill -9 at random moments: ROUNDS=1000 SEED=number
	CRASH_ROUNDS=$(or $(ROUNDS),1000) $(if $(SEED),CRASH_SEED=$(SEED)) $(CARGO) test --locked --release -p streamhouse-compat-tests --test crash -- --nocapture

crash-groups: build ## kill -9 at random moments of rebalances and commits: ROUNDS=1000 SEED=number
	GROUP_CRASH_ROUNDS=$(or $(ROUNDS),1000) $(if $(SEED),GROUP_CRASH_SEED=$(SEED)) $(CARGO) test --locked --release -p streamhouse-compat-tests --test group_crash -- --nocapture

docker: ## Build the container image with the local engine
	docker build --tag streamhouse:$(or $(TAG),latest) .

docker-check: build ## Prove the Dockerfile's runtime stage without an engine (root, Debian): 1 minute, 10 s when cached
	@scripts/docker-check runtime

docker-check-full: ## The same with the build stage, compiled inside a Debian tree: 20 minutes, 3 when cached
	@scripts/docker-check full

clean-data: ## Remove the data of `make run` (asks first)
	@scripts/clean-data "$(DATA)"
