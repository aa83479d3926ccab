# Two commands do everything from a clean clone: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench readme clean

demo: $(VENV)/demo.ready
	$(BIN)/hpo run studies/quickstart.toml

test: $(VENV)/test.ready
	$(BIN)/python -m pytest

lint: $(VENV)/test.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

readme: $(VENV)/test.ready
	$(BIN)/python -m tests.test_readme

bench: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.memory

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/demo.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/test.ready: $(VENV)/demo.ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
