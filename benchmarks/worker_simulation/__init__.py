"""A deterministic simulator of the worker loop: the real code, with simulated training, time, crashes and failures.

What runs is hpo.search.worker with everything below it: budget, queue, samplers, pruners, claims, heartbeats, lock
files, saved states, best weights, and the storage with its retries on a real SQLite file in memory. Replaced are the
training of a model (`trainer.py`), the operating system (`kernel.py`, `environment.py`) and the answers of the database
(`faulty_store.py`). The seed decides which process runs next and what happens to it (`scenario.py`): it is killed
before or after any of its commits and file operations, gets a signal, is suspended for minutes so that another machine
takes over its trial, a clock is set, `hpo stop` is run, statements fail, commits fail or happen without an answer, or
the store is away, also for longer than workers wait. Afterwards undisturbed workers finish the search, and
`invariants.py` checks it.

That it can fail is tested: tests/simulation/test_worker_simulation.py takes single mechanisms out of hpo, and seeds
fail. A seed that fails is repeated, with all that happened, by

    python -m benchmarks.worker_simulation --seed 4711
"""
