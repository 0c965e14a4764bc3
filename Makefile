# Everything runs in .venv, on servers that it starts itself; nothing else on the machine is changed, apart from
# Debian packages that hack/install-test-packages and hack/control-plane name before they install them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests, file by file; each starts servers of its own.
WORKERS ?= 2
# The pip of a new virtual environment may be older than the metadata of today's wheels.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt hack/install-test-packages
	@PYTHON=$(PYTHON) hack/install-test-packages
	@echo "==> Python environment in $(VENV)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: venv
venv: $(STAMP) ## Create .venv with the pinned dependencies

.PHONY: control-plane
control-plane: ## Get a Kubernetes API server for tests and demo (built once, then cached)
	@hack/control-plane > /dev/null

.PHONY: demo
demo: $(STAMP) control-plane ## From YAML to a resumed conversation, on real servers
	@$(BIN)/python -m hack.demo

.PHONY: playground
playground: $(STAMP) control-plane ## The demo's servers, to try things out: docs/tutorial.md
	@$(BIN)/python -m hack.demo.playground

.PHONY: docs
docs: $(STAMP) ## Build the documentation into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "==> build/site/index.html" >&2

.PHONY: test
test: $(STAMP) lint control-plane helm ## Everything that CI runs
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --durations=40 --durations-min=5

.PHONY: lint
lint: $(STAMP) ## Style, types, layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: crds
crds: $(STAMP) ## Generate crds/ from the models
	@$(BIN)/locus-operator crds --output-dir crds

.PHONY: helm
helm: $(STAMP) ## Get the helm binary that the tests use (downloaded once, then cached)
	@$(BIN)/python hack/helm > /dev/null

.PHONY: chart
chart: $(STAMP) crds ## Generate the chart's CRDs, README tables, and examples/operator-rbac.yaml
	@$(BIN)/python -m hack.chart

.PHONY: bench
bench: $(STAMP) ## Compare with the raw drivers and with the peers, on real servers
	@$(BIN)/python -m benchmarks

.PHONY: clean
clean: ## Remove what make has created in this directory
	rm -rf $(VENV) .cache .demo .playground build/site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
