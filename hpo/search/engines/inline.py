"""Engine `inline`: one worker, in this process."""

from __future__ import annotations

from hpo.search.budget import Budget
from hpo.search.engines.base import SearchRun


def run_inline(search: SearchRun) -> None:
    """Run the only worker here."""
    from hpo.search.worker import Worker  # imports torch, which wrong input should not have to wait for

    budget = Budget.of(search.spec.search, search.study)
    Worker(
        search.context,
        search.storage,
        search.study,
        search.listener,
        budget,
        sampler=search.sampler,
        pruner=search.pruner,
    ).run()
