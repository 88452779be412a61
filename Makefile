PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help install lint test test-torch test-slow demo bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[serve]' --group lint --group test
	@touch $@

install: $(VENV)/.installed ## make the virtual environment with everything in it

lint: install ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install ## the tests
	$(BIN)/python -m pytest -n 2 -m "not torch"

clean: ## remove what make made
	rm -rf $(VENV) .venv-torch .demo .bench dist build .mypy_cache .ruff_cache .pytest_cache
