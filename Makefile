# Two commands do everything from a clean clone: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench readme pictures clean

demo: $(VENV)/demo.ready
	$(BIN)/hpo run studies/quickstart.toml

# Two processes of one thread each: tests are many small runs, which a second thread does not make faster.
test: $(VENV)/test.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/test.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

readme: $(VENV)/test.ready
	$(BIN)/python -m tests.test_readme

pictures: $(VENV)/test.ready demo
	$(BIN)/python -m docs.pictures

bench: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.report

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/demo.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dashboard]'
	touch $@

$(VENV)/test.ready: $(VENV)/demo.ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
