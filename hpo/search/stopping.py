"""Ask the processes of a search to end, or to end one trial, and wait until they have: `hpo stop`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpo.errors import StudyError
from hpo.store.stop_requests import request_stop
from hpo.store.storage import check_store_writable, load_stored_study
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import is_finished, outcome
from hpo.study.spec import StudySpec

if TYPE_CHECKING:
    from optuna import Study

_POLL_SECONDS = 0.5


def stop_search(spec: StudySpec, url: str, trial: int | None, wait: float) -> list[TrialRecord]:
    """Ask for an end, wait at most `wait` seconds for it, and return the trials that it concerns as they are then.

    These are the running ones, or the one with the number `trial`. Raises StoreError without a store, and StudyError
    for a study or trial that is not there or has ended.
    """
    study = load_stored_study(spec, url)
    check_store_writable(url)
    if trial is not None:
        _check_trial(study, trial)
    running = _find_running(study)
    request_stop(study, trial)
    concerned = running if trial is None else {trial}
    deadline = time.monotonic() + wait
    while concerned & running and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        running = _find_running(study)
    return [TrialRecord.from_trial(stored) for stored in study.get_trials() if stored.number in concerned]


def _check_trial(study: Study, number: int) -> None:
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise StudyError(
            f"study {study.study_name!r} has no trial #{number}; `hpo show` lists its {len(trials)} trials"
        )
    if is_finished(trials[number]):
        raise StudyError(f"trial #{number} of study {study.study_name!r} has ended: {outcome(trials[number])}")


def _find_running(study: Study) -> set[int]:
    return {trial.number for trial in study.get_trials(deepcopy=False) if outcome(trial) == "running"}
