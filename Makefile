# `make` alone lists what can be made. Everything runs in .venv; everything a run leaves goes to runs/.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: help install demo test test-slow test-gpu lint format bench bench-error-bars clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

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

clean: ## Remove what runs have left (not .venv)
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
