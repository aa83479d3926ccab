"""The weights of the best trial so far, in the study's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.ownership import owned_folder
from hpo.store.trial_order import is_better
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import is_superseded
from hpo.study.spec import StudySpec
from hpo.training.metrics import Direction


@dataclass(frozen=True)
class WeightsInfo:
    """Content of trial.json: the trial that the weights belong to. `place` is its replay index."""

    trial: int
    place: int
    objective: str
    value: float
    values: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class BestWeights:
    """The folder `best/` of a study: the model of its best complete trial, and trial.json."""

    study: optuna.Study
    spec: StudySpec
    direction: Direction

    def keep_if_best(self, info: WeightsInfo, save: Callable[[Path], None]) -> None:
        """Keep what `save` writes into a folder, unless a complete trial is as good or better."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if all(other.value is None or is_better(info.value, other.value, self.direction) for other in complete):
            with owned_folder(self.spec.best_folder, lambda: not self._is_beaten(info.value)) as folder:
                save(folder)
                (folder / "trial.json").write_text(json.dumps(asdict(info), indent=2), encoding="utf8")

    def _is_beaten(self, value: float) -> bool:
        """Whether the stored weights belong to a trial of this study that is as good or better.

        Checked again when the folder is moved into place, because another worker may have finished in between.
        """
        try:
            stored = json.loads((self.spec.best_folder / "trial.json").read_text(encoding="utf8"))
        except (OSError, ValueError):
            return False
        owner = next(
            (trial for trial in self.study.get_trials(deepcopy=False) if trial.number == stored["trial"]), None
        )
        if owner is None or is_superseded(owner):
            return False
        # Weights left by another study of the same name do not count: their trial has another value.
        record = TrialRecord.from_trial(owner)
        owner_value = record.best if self.spec.search.value == "best" else record.last
        return owner_value == stored["value"] and not is_better(value, stored["value"], self.direction)
