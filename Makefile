# `make demo`, `make test` and `make docs` set everything up on a machine that has python3 (3.11 or later), pip and make.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
# Branches and lines that the suite reaches, in per cent; measured, see CONTRIBUTING.md.
FLOOR ?= 93
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test browser coverage lint docs clean

demo: $(VENV)/.demo
	$(BIN)/meddel demo

test: $(VENV)/.test browser lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu and not real" -n 2 --dist loadfile --no-loadscope-reorder

coverage: $(VENV)/.test browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu and not real" -n 2 --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=term:skip-covered --cov-fail-under=$(FLOOR)

# Pages are tested in a real browser; where it cannot be installed, tests say so.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null \
		|| (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python setup.cfg setup.py $(CONSTRAINTS)
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e .
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info
