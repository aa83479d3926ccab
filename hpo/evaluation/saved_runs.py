"""Saved states of fine-tuned final runs, by which a run that was killed or interrupted continues."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from hpo.search.trial_runner import identify_run
from hpo.training.state_saver import SAVED, StateSaver, remove_saved_state

if TYPE_CHECKING:
    from hpo.evaluation.final_runs import FinalRuns, RunKey


def build_run_saver(final: FinalRuns, run: RunKey, label: str) -> StateSaver:
    """Return what saves and loads the state of a run; `label` names the run in notices."""
    identity = identify_run(_folder_name(run), run.seed, run.key(), final.provenance)
    return StateSaver(final.spec.folder, identity, final.spec.search, final.listener.notice, label, keeps_end=True)


def remove_saved_run(final: FinalRuns, run: RunKey) -> None:
    """Remove the saved state of a run that has ended."""
    remove_saved_state(final.spec.folder / SAVED / _folder_name(run))


def _folder_name(run: RunKey) -> str:
    """Return the name of a run's folder: a run that failed is made by another row of the store, so its key counts."""
    return f"run-{hashlib.sha256(json.dumps(run.key(), sort_keys=True).encode()).hexdigest()[:16]}"
