# Set-up happens on demand: `make run` on a fresh machine needs Python 3.11+ and Java 17+ only.
# Stamp files in .venv record what is installed; a change of pyproject.toml or constraints.txt
# installs again.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PACKAGES := pyproject.toml constraints.txt
DEMO := data/demo
ARGS ?=

##@ Use
.PHONY: run
run: $(DEMO)/.complete  ## Set up, build a demo lake, run the nightly job on it, print a summary
	$(BIN)/crowdfm nightly --conf conf/local.yaml $(ARGS)

.PHONY: install
install: $(VENV)/.run-ready  ## Only set up what scoring needs (no torch)

##@ Develop
.PHONY: test
test: $(VENV)/.test-ready  ## Set up everything (minutes the first time) and run the tests
	@# One thread of torch each: on two cores the threads of two processes wait for one another.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-cluster
test-cluster: $(VENV)/.test-ready  ## Only the tests on a real Spark Standalone cluster
	$(BIN)/pytest -m cluster $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.test-ready  ## Only the tests that take minutes or gigabytes
	$(BIN)/pytest -m slow $(ARGS)

.PHONY: test-gpu
test-gpu: $(VENV)/.test-ready  ## Only the tests that need a GPU; skipped without one
	$(BIN)/pytest -m gpu $(ARGS)

.PHONY: bench
bench: $(VENV)/.test-ready  ## Measure speed, one JSON line each; ARGS="kernel_senti default_senti"
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-lake
bench-lake: $(VENV)/.test-ready  ## Measure the nightly job on drawn lakes; ARGS=senti, 1m, 10m, 40m, 100m
	@$(BIN)/python -m tests.bench.lake_benchmark $(ARGS)

.PHONY: bench-scale
bench-scale: $(VENV)/.test-ready  ## Predict and measure a second worker; ARGS=10m
	@$(BIN)/python -m tests.bench.scale_benchmark $(ARGS)

.PHONY: bench-methods
bench-methods: $(VENV)/.test-ready  ## Measure Dawid-Skene on a drawn lake; ARGS="--annotations 10000000"
	@$(BIN)/python -m tests.bench.engine_benchmark $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev-ready  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: fmt
fmt: $(VENV)/.dev-ready  ## Repair style and format where that is safe
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: type
type: $(VENV)/.dev-ready  ## Check types
	$(BIN)/mypy

.PHONY: clean
clean:  ## Remove the demo lake, its tables and all caches; .venv and training runs stay
	rm -rf $(DEMO) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: help
help:  ## Print this list
	@awk 'BEGIN {FS = ":.*  ## "} \
	    /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*  ## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

# What the targets above stand on; each step says what it does, as some take minutes.

$(VENV)/.python:
	@scripts/require.sh java
	@python=$$(scripts/require.sh python) && \
	    echo "==> environment $(VENV) with $$($$python --version)" && $$python -m venv $(VENV)
	@touch $@

$(VENV)/.run-ready: $(VENV)/.python $(PACKAGES)
	@scripts/require.sh java
	@echo "==> packages for scoring (1 to 3 minutes)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev-ready: $(VENV)/.run-ready
	@echo "==> packages for training and tests, with torch (several gigabytes, minutes)"
	@$(PIP) --editable '.[torch,test,dev]'
	@touch $@

# Without build isolation, as torch-scatter compiles against the torch that is installed here.
$(VENV)/.test-ready: $(VENV)/.dev-ready
	@PYTHON=$(BIN)/python scripts/require.sh compiler
	@echo "==> torch-scatter (compiles for 5 to 10 minutes)"
	@$(PIP) setuptools wheel
	@$(PIP) --no-build-isolation --editable '.[scatter]'
	@# Methods to compare with. Alone, as it asks for torchvision and for old versions of others.
	@$(PIP) --no-deps peerannot
	@touch $@

$(DEMO)/.complete: $(VENV)/.run-ready jobs/demo.py
	@echo "==> demo lake in $(DEMO) (the first start of Spark also fetches 90 MB of jars)"
	$(BIN)/crowdfm demo-lake --out $(DEMO) --overwrite
	@touch $@
