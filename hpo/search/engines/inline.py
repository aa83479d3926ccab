"""Engine `inline`: one worker, in this process."""

from __future__ import annotations

from hpo.search.budget import Budget
from hpo.search.engines.base import SearchRun
from hpo.search.requested_stop import RequestedStop
from hpo.store.optuna_internals import storage_of
from hpo.training.acceleration import frozen_gc


def run_inline(search: SearchRun) -> None:
    """Run the only worker here."""
    from hpo.search.worker import Worker  # imports scikit-learn, which wrong input should not have to wait for

    worker = Worker(
        search.context,
        storage_of(search.study),
        search.study,
        search.listener,
        Budget.of(search.spec.search, search.study),
        RequestedStop(study=search.study, known=search.known_stop),
        sampler=search.sampler,
        pruner=search.pruner,
    )
    with frozen_gc():
        worker.run()
