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
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' locus_memory/_version.py)
# What builds images: docker, podman or buildah. IMAGE_OPTIONS: --build-arg BASE=…, --build-arg EXTRAS=…
ENGINE ?= docker
# Its name is the chart's.
IMAGE ?= $(shell sed -n 's/^  repository: //p' helm/locus-operator/values.yaml):$(VERSION)
IMAGE_OPTIONS ?=
# pip compiles one module after the other, of which oci has thousands that nobody imports.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/(oci|pip)/' $(VENV)/lib

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt hack/install-test-packages
	@PYTHON=$(PYTHON) hack/install-test-packages
	@echo "==> Python environment in $(VENV)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@$(COMPILE) > /dev/null
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
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder --durations=40 --durations-min=5

.PHONY: unit
unit: $(STAMP) ## What needs no server, for a quick look with another Python
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) tests/unit tests/image

.PHONY: kind
kind: $(STAMP) ## The chart and the images on a kind cluster (needs Docker)
	@docker version > /dev/null
	@$(BIN)/python -m pytest -m kind tests/kind $(KIND_OPTIONS)

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

.PHONY: crd-snapshot
crd-snapshot: crds ## Keep today's CRDs as those of this version, until it is released
	@if git rev-parse --quiet --verify refs/tags/v$(VERSION) > /dev/null; then echo "v$(VERSION) is released" >&2; exit 1; fi
	@mkdir -p crds/released/$(VERSION)
	@cp crds/*.yaml crds/released/$(VERSION)/

.PHONY: image
image: ## Build the operator's image
	@$(ENGINE) build --tag $(IMAGE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
		--build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(IMAGE_OPTIONS) .

.PHONY: image-check
image-check: $(STAMP) control-plane ## Build it without an engine, look at it, run it (root; buildah, debootstrap)
	@$(BIN)/python -m hack.image_check

.PHONY: manifests
manifests: $(STAMP) ## Write dist/locus-operator.yaml and dist/crds.yaml, for those without Helm
	@$(BIN)/python -m hack.manifests --output-dir dist $(MANIFEST_OPTIONS)

.PHONY: release-notes
release-notes: $(STAMP) ## Print the notes of this version, or why it cannot be released
	@$(BIN)/python -m hack.release_notes $(VERSION) $(RELEASE_OPTIONS)

.PHONY: bench
bench: $(STAMP) ## Compare with the raw drivers and with the peers, on real servers
	@$(BIN)/python -m benchmarks

.PHONY: clean
clean: ## Remove what make has created in this directory
	rm -rf $(VENV) .cache .demo .playground build/site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
