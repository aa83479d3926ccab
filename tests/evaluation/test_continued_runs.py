"""Final runs that were killed or interrupted continue from their saved state."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import optuna

import hpo
from hpo.evaluation.run_listener import RunListener
from tests.support.search_process import KILLED, SignalPoint, retrain, run_process, search

OVERRIDES = ("search.trials=1", "final.seeds=1", "training.num_train_epochs=3")


class NoticeListener(RunListener):
    """Collects the notices of final runs."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        """Keep a notice."""
        self.notices.append(text)


def read_outcome(folder: Path, url: str) -> Any:
    """Return the scores of the complete runs, and the weights of the model."""
    companion = optuna.load_study(study_name="small/final", storage=url)
    runs = companion.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    keys = ("validation", "test", "metrics", "effective", "steps", "tokens")
    return [[run.user_attrs[key] for key in keys] for run in runs], (folder / "model/model.safetensors").read_bytes()


def test_killed_retraining_continues_bit_for_bit(small: Path) -> None:
    url = f"sqlite:///{small.parent}/store.db"
    search(small, OVERRIDES, url)
    project = small.parent / "killed"
    project.mkdir()
    copied, killed_url = project / "small.toml", f"sqlite:///{project}/store.db"
    shutil.copy(small, copied)
    search(copied, OVERRIDES, killed_url)
    retrain(small, OVERRIDES, url)

    at_step = SignalPoint("hpo.training.trainer:RungTrainer.training_step", 13)
    in_prediction = SignalPoint("hpo.evaluation.retraining:predict_split", 2)
    in_step = SignalPoint(at_step.target, 4, signal=signal.SIGTERM)
    assert run_process(in_step, retrain, copied, OVERRIDES, killed_url) == 130
    assert run_process(at_step, retrain, copied, OVERRIDES, killed_url) == KILLED
    assert run_process(in_prediction, retrain, copied, OVERRIDES, killed_url) == KILLED
    listener = NoticeListener()
    hpo.Study(copied, *OVERRIDES, storage=killed_url).retrain(listener=listener)
    assert read_outcome(project / "small", killed_url) == read_outcome(small.parent / "small", url)
    assert "trial #0, seed 0 continues at step 18 of 18" in listener.notices
    assert not (project / "small" / "saved").exists()
