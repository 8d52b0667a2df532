# Needs Python 3.10 or newer and the package index; everything else is set up here, in $(VENV).
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two test processes keep two cores busy; more than four only cost memory. In their own order files of few and long
# tests do not all come last, when there is nothing left for the other process.
PYTEST ?= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo test check format-check lint types format docs docs-serve clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## virtual environment with multiseg, editable, and the tools of its development

demo: install ## train one model on datasets that disagree, compare, and write demo/report.html
	$(BIN)/multiseg demo --out demo

test: install ## run the default tests
	$(PYTEST)

check: format-check lint types test ## everything a change must pass

format-check: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

format: install ## format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-docs ## build the documentation into site/
	$(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed-docs ## show the documentation, rebuilt at every change
	$(BIN)/mkdocs serve

clean: ## remove everything that was made here, except demo/ and runs/
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than pyproject.toml, and so made anew, only when what is to be installed may have changed.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "multiseg needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@
