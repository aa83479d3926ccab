"""The weights of the best trial so far, in the study's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.atomic import atomic_folder
from hpo.store.trial_state import is_superseded
from hpo.study.spec import StudySpec
from hpo.training.metrics import Direction


@dataclass(frozen=True)
class BestWeights:
    """What `best/` holds of a study: the model of its best complete trial, and trial.json, which says whose it is."""

    study: optuna.Study
    spec: StudySpec
    direction: Direction

    def offer(self, about: Mapping[str, Any], save: Callable[[Path], None]) -> None:
        """Keep what `save` writes into a folder, where no complete trial is better than the one that it is about."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if all(self._is_better(about["value"], other.value) for other in complete):
            with atomic_folder(self.spec.folder / "best", lambda: not self._is_beaten(about["value"])) as folder:
                save(folder)
                (folder / "trial.json").write_text(json.dumps(about, indent=2), encoding="utf8")

    def _is_better(self, value: float, than: float | None) -> bool:
        return than is None or (value > than if self.direction == "maximize" else value < than)

    def _is_beaten(self, value: float) -> bool:
        """Whether the kept weights are a better trial's of this study, which another worker has just ended."""
        try:
            told = json.loads((self.spec.folder / "best" / "trial.json").read_text(encoding="utf8"))
        except (OSError, ValueError):
            return False
        same = [each for each in self.study.get_trials(deepcopy=False) if each.number == told["trial"]]
        ours = bool(same) and same[0].user_attrs.get(self.spec.search.value) == told["value"]
        return ours and not self._is_better(value, told["value"]) and not is_superseded(same[0])
