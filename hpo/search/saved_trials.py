"""Saved states of trials, by which a trial that was killed or interrupted continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hpo.search.trial_runner import identify_run
from hpo.store.attributes import RunProvenance
from hpo.store.trial_record import TrialRecord
from hpo.study.spec import StudySpec
from hpo.training.state_saver import SAVED, StateSaver, remove_saved_state

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


def build_trial_saver(
    spec: StudySpec,
    trial: FrozenTrial,
    values: Mapping[str, Any],
    seed: int,
    provenance: RunProvenance,
    notice: Callable[[str], None],
    check_owner: Callable[[], None],
) -> StateSaver:
    """Return what saves and loads the state of a trial."""
    stop = TrialRecord.from_trial(trial).stop
    identity = identify_run(_folder_name(trial.number), seed, values, provenance)
    stopped_after = stop.seconds if stop else None
    return StateSaver(spec.folder, identity, spec.search, notice, f"trial #{trial.number}", stopped_after, check_owner)


def remove_saved_trial(spec: StudySpec, number: int) -> None:
    """Remove the saved state of a trial that has ended."""
    remove_saved_state(spec.folder / SAVED / _folder_name(number))


def sweep_saved_trials(spec: StudySpec, study: Study) -> None:
    """Remove the saved states of trials that have ended, whose workers were killed before they removed them."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and (spec.folder / SAVED / _folder_name(trial.number)).exists():
            remove_saved_trial(spec, trial.number)


def _folder_name(number: int) -> str:
    return f"trial-{number}"
