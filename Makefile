# Two commands do everything from a clean clone: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench bench-gpu bench-small readme pictures clean

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

# Hours, alone on the machine; each line can be run by itself, and the long ones go on where they were stopped.
bench: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.prior
	$(BIN)/python -m benchmarks.simulate
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.replay small
	$(BIN)/python -m benchmarks.replay cpu
	$(BIN)/python -m benchmarks.vs_stock small
	$(BIN)/python -m benchmarks.vs_stock cpu
	$(BIN)/python -m benchmarks.winners small
	$(BIN)/python -m benchmarks.winners cpu

# What needs an NVIDIA GPU, about an hour of it.
bench-gpu: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.replay gpu
	$(BIN)/python -m benchmarks.vs_stock gpu
	$(BIN)/python -m benchmarks.throughput

# Whether the benchmarks still run, on next to nothing; they write nothing down.
bench-small: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.overhead --small
	$(BIN)/python -m benchmarks.simulate --small
	$(BIN)/python -m benchmarks.replay smoke --seeds 0 1
	$(BIN)/python -m benchmarks.vs_stock smoke --seeds 0
	$(BIN)/python -m benchmarks.winners smoke --seeds 0

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
