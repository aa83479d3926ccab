# From a clean clone, `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long lint bench bench-gpu bench-small readme pictures clean

demo: $(VENV)/demo.ready
	$(BIN)/hpo run studies/quickstart.toml

# Two processes with one thread each: tests are many small runs, which a second thread does not speed up.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

test: $(VENV)/test.ready
	$(PYTEST) --dist loadfile -m "not long"

# The end-to-end tests, each longer than 30 seconds: whole paths through the shell, the five projects, the built wheel.
test-long: $(VENV)/test.ready
	$(PYTEST) --dist load -m long

lint: $(VENV)/test.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Write the table of study-file keys in docs/study-file.md from the models.
readme: $(VENV)/test.ready
	$(BIN)/python -m tests.test_readme

pictures: $(VENV)/test.ready demo
	$(BIN)/python -m docs.pictures

# Takes hours and needs the machine for itself. Each line can be run alone; interrupted long ones continue.
bench: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.prior
	$(BIN)/python -m benchmarks.worker_simulation --write
	$(BIN)/python -m benchmarks.store_load --write
	$(BIN)/python -m benchmarks.simulate
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.size_and_power
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.replay small
	$(BIN)/python -m benchmarks.replay cpu
	$(BIN)/python -m benchmarks.vs_stock small
	$(BIN)/python -m benchmarks.vs_stock cpu
	$(BIN)/python -m benchmarks.winners small
	$(BIN)/python -m benchmarks.winners cpu

# Needs an NVIDIA GPU for about an hour.
bench-gpu: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.replay gpu
	$(BIN)/python -m benchmarks.vs_stock gpu
	$(BIN)/python -m benchmarks.throughput

# Check that the benchmarks still run, on tiny inputs. Nothing is written to RESULTS.md.
bench-small: $(VENV)/test.ready
	$(BIN)/python -m benchmarks.overhead --small
	$(BIN)/python -m benchmarks.simulate --small
	$(BIN)/python -m benchmarks.worker_simulation --seeds 0 9
	$(BIN)/python -m benchmarks.store_load --small
	$(BIN)/python -m benchmarks.size_and_power --small
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
