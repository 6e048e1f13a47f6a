# One command to a first merge (`make demo`), one to green tests (`make test`). `make` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal
export VENV

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint types imports format check api-without-torch client-alone bench bench-api
.PHONY: bench-registries bench-scale bench-store docs demo-pair system-packages swift clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | column -t -s '|'

demo: $(VENV)/.demo ## Start the service, sweep λ = 0 … 1 over the demo pair, show the outputs, stop everything
	$(BIN)/python infra/demo/run.py

test: $(VENV)/.dev system-packages swift ## Run the test suite
	$(PYTEST) -m 'not slow'

test-slow: $(VENV)/.dev system-packages swift ## Run what takes minutes: faults at every request, between all registries
	$(PYTEST) -m slow

check: lint types imports ## Lint, types, import rules

lint: $(VENV)/.dev ## ruff, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint infra/docker/*.Dockerfile

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## The import rules of the house
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## Write the pages of docs that are made of the code
	$(BIN)/python -m infra.docs.errors_page
	$(BIN)/python -m infra.docs.build_type_page

api-without-torch: ## Prove in a fresh environment that the API needs no torch
	bash infra/ci/api_without_torch.sh

client-alone: $(VENV)/.dev system-packages ## Prove in a fresh environment that the Python client needs no part of the service
	PYTHON=$(PYTHON) bash infra/ci/client_alone.sh

bench: $(VENV)/.dev system-packages ## Measure a sweep against cp, openssl, a plain loop and mergekit; the API (20 min, 30 GB)
	@PYTHON=$(PYTHON) bash tests/bench/install_peer.sh
	$(BIN)/python -m tests.bench.same_merge
	$(BIN)/python -m tests.bench.sweep_bench $(BENCH)
	$(BIN)/python -m tests.bench.api_bench

bench-api: $(VENV)/.dev system-packages ## Measure the API at 200 requests a second, beside bare FastAPI (5 minutes)
	$(BIN)/python -m tests.bench.api_bench $(BENCH)

bench-store: $(VENV)/.dev system-packages ## Measure the store under a hundred workers on ten thousand units
	$(BIN)/python -m tests.bench.store_bench $(BENCH)

bench-scale: $(VENV)/.dev system-packages ## Measure one sweep by 1, 2 and 4 merge workers (8 GB of scratch)
	$(BIN)/python -m tests.bench.scale_bench $(BENCH)

demo-pair: $(VENV)/.dev ## Train the demo pair again into ./demo-out/pair (15 minutes on two cores)
	$(BIN)/python -m infra.demo.training demo-out/pair

bench-registries: $(VENV)/.dev swift ## Measure S3 to S3 and Hub to Hub against download, merge, upload (8 GB of disk)
	$(BIN)/python -m tests.bench.registry_bench $(BENCH)

swift: $(VENV)/.dev
	@$(BIN)/python -m tests.swift_install

system-packages: $(VENV)/.dev
	@bash infra/ci/system_packages.sh

clean: ## Remove what demo and tests made
	rm -rf $(VENV) .bench .swift demo-out .crossfade .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "crossfade needs Python 3.11 or newer; name one: make PYTHON=python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[api,worker,cli]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.demo
