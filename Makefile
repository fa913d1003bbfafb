# make setup | make demo | make test          (GNU make, Linux or macOS, Python 3.11 or 3.12)

# The first of these that is Python 3.11 or 3.12; choose another with `make setup PYTHON=...`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	2>/dev/null && echo $$python && break; done)
# How pip is asked for torch. For the small CPU-only build on Linux:
# make setup TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo test fuzz kill lint docs clean

help:
	@echo 'make setup  install everything into .venv'
	@echo 'make demo   the same, then serve the web page'
	@echo 'make test   the same, then lint, types and tests'
	@echo 'make fuzz   the same as setup, then an hour of changed inputs (FUZZ_SECONDS, FUZZ_SEED)'
	@echo 'make kill   the same as setup, then kill commands at random moments and compare what they leave'
	@echo 'make docs   the same, then the documentation as a site in site/'

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'avsr needs Python 3.11 or 3.12; name it: make setup PYTHON=/path/to/python3.12' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/avsr demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread each: the tests already run on two cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Inputs that go wrong stay in build/fuzz, under KIND-SEED-NUMBER.
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

# Kills commands twenty times each and runs them again; prints a table.
kill: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kill

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'open site/index.html, or with a search: .venv/bin/python -m http.server --directory site'

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
