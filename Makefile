# `make` alone lists what can be made. Everything runs in .venv; everything a run leaves goes to runs/.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

PAPERS := $(VENV)/.papers

.PHONY: help install demo tables test test-slow test-gpu lint format clean \
	bench bench-error-bars bench-ace bench-icc \
	reproduce-interactions reproduce-ace reproduce-icc

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV): a minute or two, 6 GB"
	@$(PYTHON) -m venv $(VENV)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	@touch $(READY)

install: $(READY) ## Set up .venv with pinned versions of everything

runs/digits/model.pt: scripts/train_digits.py xattr_cli/models/zoo.py | $(READY)
	@$(BIN)/python scripts/train_digits.py runs/digits

demo: install runs/digits/model.pt ## Train a small network on real digits, explain 200 held-out images, draw the maps
	@$(BIN)/xattr-cli run configs/digits.yaml --overwrite
	@$(BIN)/xattr-cli plot runs/digits/attributions.h5

runs/iris/model.pt: scripts/train_tables.py | $(READY)
	@$(BIN)/python scripts/train_tables.py runs

tables: install runs/iris/model.pt ## Train two small networks on tables: for configs/iris.yaml and configs/chain.yaml

test: install ## Run the tests (minutes on two cores)
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: install ## Run the long tests too
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not gpu'

test-gpu: install ## Run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

lint: install ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Time and memory against captum and against bare gradient passes
	$(BIN)/python scripts/bench_peers.py
	$(BIN)/python scripts/bench_memory.py

bench-error-bars: install ## Reported against true errors, on trained networks with and without kinks
	$(BIN)/python scripts/bench_error_bars.py

bench-ace: install ## Average causal effects against a loop over alpha, features and Hessian rows
	$(BIN)/python scripts/bench_ace.py

bench-icc: install ## Cost and errors of causal contributions, and of Sobol' indices against SALib
	$(BIN)/python scripts/bench_icc.py

# path-explain and aeon ask for packages, or for old versions, that what is used of them does not need
$(PAPERS): $(READY) pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[papers]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps path-explain==0.0.7 aeon==1.6.0
	@touch $(PAPERS)

reproduce-interactions: $(PAPERS) ## The experiments of arXiv 2002.04138: remove and retrain, XOR, a real table
	$(BIN)/python scripts/reproduce_interactions.py

reproduce-ace: $(PAPERS) ## The experiments of arXiv 1902.02302: iris, sequences, latents of digits, spoken vowels
	$(BIN)/python scripts/reproduce_ace.py

reproduce-icc: $(PAPERS) ## The experiments of arXiv 2505.09660: which ranking knows what a network can do without
	$(BIN)/python scripts/reproduce_icc.py

clean: ## Remove what runs have left (not .venv)
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
