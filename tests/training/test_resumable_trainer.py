"""A run that is stopped after any step and continued by another trainer ends bit for bit like one that is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.search.search_listener import SearchListener
from hpo.search.setup import prepare_context
from hpo.study.spec import load_study
from hpo.training.measurements import RunMeasurements, TrialStopped
from hpo.training.saved_state import RunIdentity
from hpo.training.state_saver import StateSaver
from hpo.training.trainer import RungTrainer

SEED = 3
VALUES = {"learning_rate": 2e-3, "num_train_epochs": 3}


class Machine:
    """A trainer and its savers, as a worker has them; a new one stands for a new process."""

    def __init__(self, small: Path, *overrides: str) -> None:
        self.spec = load_study(small, overrides)
        self.trainer = RungTrainer(prepare_context(self.spec, SearchListener())[0])
        self.notices: list[str] = []

    def run(
        self, values: Mapping[str, Any], stop_after: int | None = None, data: str = "fp", keeps_end: bool = False
    ) -> RunMeasurements:
        """Train or continue; stop after a step."""
        identity = RunIdentity("trial-0", SEED, values, self.spec.hash(), data, {"torch": torch.__version__})
        saver = StateSaver(
            self.spec.folder, identity, self.spec.search, self.notices.append, "trial #0", keeps_end=keeps_end
        )

        def stop(step: int, steps: int, loss: float | None) -> None:
            if step == stop_after and loss is not None:
                raise TrialStopped("interrupted")

        self.trainer.on_progress = stop
        measured = self.trainer.run(values, SEED, "", saver)
        if not keeps_end:
            saver.remove()
        return measured

    def outcome(self, measured: RunMeasurements) -> tuple[Any, ...]:
        """Return everything that an interruption may not change."""
        weights = {name: tensor.clone() for name, tensor in self.trainer.final_model().state_dict().items()}
        m = measured
        return m.curve, m.effective, m.steps, m.examples, m.tokens, m.batch_split, m.device_batch, weights


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert one[:-1] == other[:-1]
    assert all(torch.equal(tensor, other[-1][name]) for name, tensor in one[-1].items())


@pytest.mark.parametrize("stop_after", [1, 6, 7, 9, 12, 17])  # epochs end after steps 6, 12 and 18; rungs are 5, 9, 18
@pytest.mark.parametrize(
    ("values", "overrides"),
    [
        (VALUES, ()),
        ({**VALUES, "bf16": True}, ()),
        (VALUES, ('training.speed="exact"',)),
        (VALUES, ('search.value="best"', "training.gradient_accumulation_steps=1")),
        ({**VALUES, "lr_scheduler_type": "reduce_lr_on_plateau", "neftune_noise_alpha": 5.0}, ()),
    ],
    ids=["default", "bf16", "exact", "best", "plateau"],
)
def test_continued_run_equals_whole_run(
    small: Path, values: Mapping[str, Any], overrides: tuple[str, ...], stop_after: int
) -> None:
    whole = Machine(small, *overrides)
    expected = whole.outcome(whole.run(values))
    stopped = Machine(small, *overrides)
    with pytest.raises(TrialStopped):
        stopped.run(values, stop_after)
    continued = Machine(small, *overrides)
    assert_same(continued.outcome(continued.run(values)), expected)
    assert continued.notices == [f"trial #0 continues at step {5 if stop_after == 9 else stop_after} of 18"]
