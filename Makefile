# Everything a newcomer types. Needed beforehand: Python 3.11 or later with venv, and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
NODES ?= 1
DRILLS ?= repair restore join labs
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help
help:  ## Show these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: run
run: $(INSTALLED)  ## Start the store on a real Cassandra of its own (NODES=3 for three nodes)
	@exec $(BIN)/store-manager run --nodes $(NODES) --die-with-parent

.PHONY: reset
reset: $(INSTALLED)  ## Remove the data of `make run`
	@$(BIN)/store-manager reset --yes

.PHONY: test
test: $(INSTALLED)  ## Run the tests on a real Cassandra (TESTS=… for some, ARGS=… for pytest)
	@$(BIN)/python -m pytest --numprocesses=2 $(ARGS) $(TESTS)

.PHONY: chaos
chaos: $(INSTALLED)  ## Sell while servers and nodes are killed and frozen, then check every promise; times: make failover (ARGS="--orders 100000")
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

.PHONY: failover
failover: $(INSTALLED)  ## Measure what callers notice while nodes fail (ARGS="--short", or --faults all --json FILE)
	@$(BIN)/python -m benchmarks.failover $(ARGS)

.PHONY: bench
bench: $(INSTALLED)  ## Measure how fast one product sells, against other ways to sell it (ARGS="--seconds 10")
	@$(BIN)/python -m benchmarks.hot_product $(ARGS)

.PHONY: bench-million
bench-million: $(INSTALLED)  ## Sell one product a million times, and measure whether that made it slow (ARGS="--sales 20000")
	@$(BIN)/python -m benchmarks.million_sales $(ARGS)

.PHONY: schema-drill
schema-drill: $(INSTALLED)  ## Change the schema by twenty at once, among faults and under load (ARGS="--short")
	@$(BIN)/python -m benchmarks.schema_drill $(ARGS)

.PHONY: drill
drill: $(INSTALLED)  ## Practise what operators and learners do: repair, restore, join, labs (DRILLS=restore for one)
	@$(BIN)/python -m pytest $(ARGS) $(DRILLS:%=tests/drills/drill_%.py)

.PHONY: containers
containers:  ## Check compose/: three nodes, a fourth that joins, a store that stops with a request under way
	@bash .ci/run containers

.PHONY: lint
lint: $(INSTALLED)  ## Check style, types and the way of the imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: postman
postman: $(INSTALLED)  ## Make the Postman collection out of Swagger (needs Node.js)
	@cd docs/postman && npm ci --ignore-scripts --no-progress --loglevel=error
	@$(BIN)/python docs/postman/generate.py

LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
  --all-build-deps --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

.PHONY: lock
lock: $(INSTALLED)  ## Renew requirements*.lock after a change of pyproject.toml
	@$(LOCK) --output-file=requirements.lock pyproject.toml
	@$(LOCK) --extra=lab --extra=management --extra=dev --constraint=requirements.lock --output-file=requirements-dev.lock pyproject.toml

.PHONY: venv
venv: $(INSTALLED)  ## Install the locked packages into .venv

$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or later is needed; name it: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "error: this Python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) \
	  || { echo "error: $(VENV) could not be made (see above); check the disk, then try again" >&2; exit 1; }
	@echo "Installing the locked Python packages"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock \
	  | awk '/^Collecting/ { n++; printf "\r  %d packages found", n; fflush() } /^Installing/ { printf "\n  installing"; fflush() } END { print "" }' \
	  || { echo "error: the packages could not be installed (see above); check the network and the disk, then try again" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . 2> $(VENV)/install.log \
	  || { cat $(VENV)/install.log >&2; echo "error: the project could not be installed into $(VENV) (see above)" >&2; exit 1; }
	@touch $@
