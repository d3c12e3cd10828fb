# Every target does its own set-up: a fresh machine with Python 3.11 and make needs nothing else.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow bench check wheel clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train, evaluate and sample a small model, then open runs/demo/report.html"
	@echo "make test       the test suite (minutes); make test-slow adds the slow tests"
	@echo "make check      ruff and mypy"
	@echo "make bench      speed against named peers, as ratios measured in one run"
	@echo "make wheel      build dist/*.whl"

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,all]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/nextword run recipes/demo.toml --out runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow or not slow'

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks

wheel: $(STAMP)
	$(BIN)/python -m build --wheel

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
