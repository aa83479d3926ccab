"""Simulate the searches of many seeds, or of one with all that happens in it.

python -m benchmarks.worker_simulation [--seeds FIRST LAST] [--write]
python -m benchmarks.worker_simulation --seed SEED
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from benchmarks.results import markdown_table, write_table
from benchmarks.worker_simulation.scenario import memory_folder
from benchmarks.worker_simulation.simulation import SimulatedSearch, Simulator
from hpo.training.acceleration import frozen_gc

REPORT_EVERY = 500  # seeds


def simulate_seeds(first: int, last: int, write: bool) -> int:
    """Simulate all seeds from `first` to `last`; return how many have failed."""
    failed, events, workers = 0, 0, 0
    started, used = time.monotonic(), time.process_time()
    with memory_folder() as folder:
        simulator = Simulator(folder)
        for seed in range(first, last + 1):
            search = simulator.simulate(seed)
            events, workers = events + search.events, workers + search.workers
            if search.violations:
                failed += 1
                print_violations(search)
            if (seed - first) % REPORT_EVERY == REPORT_EVERY - 1:
                print(f"{seed - first + 1} seeds, {failed} failed, {time.monotonic() - started:.0f} s", flush=True)
    seconds, used = time.monotonic() - started, time.process_time() - used
    seeds = last - first + 1
    heads = ["seeds", "failed", "events", "worker processes", "seconds", "CPU seconds", "CPU seconds per seed"]
    counts = [seeds, failed, events, workers, f"{seconds:.0f}", f"{used:.0f}", f"{used / seeds:.2f}"]
    table = markdown_table(heads, [[str(count) for count in counts]])
    print(table)
    if write:
        write_table("worker_simulation", f"seeds {first} to {last}, one process", table)
    return failed


def print_violations(search: SimulatedSearch) -> None:
    for violation in search.violations:
        print(f"seed {search.seed}: {violation}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="simulate this seed and print what happens")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 9_999), metavar=("FIRST", "LAST"))
    parser.add_argument("--write", action="store_true", help="write the figures to RESULTS.md")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # each failure of the store is in the trace
    if options.seed is None:
        first, last = options.seeds
        with frozen_gc():
            sys.exit(simulate_seeds(first, last, options.write) > 0)
    with memory_folder() as folder:
        search = Simulator(folder).simulate(options.seed)
    print("\n".join(search.trace))
    print_violations(search)
    sys.exit(bool(search.violations))


if __name__ == "__main__":
    main()
