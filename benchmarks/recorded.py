"""Recorded curves as arrays, and a study that runs on them instead of on a model.

A replayed study is a real Optuna study with hpo's samplers and pruners. A proposed configuration gets the scores of the
nearest recorded one (every axis scaled to one, logarithmic if the search space is) that has a run which this study has
not used yet. So a sampler may return to a good region, as in a real search, where a neighbor would score alike under
another seed. No run is used twice, because the same scores again would be no new evidence.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves import STUDY
from hpo.store.trial_queue import enqueue_next
from hpo.store.trial_state import DIVERGED
from hpo.study.spec import StudySpec, load_study

if TYPE_CHECKING:
    import optuna
    from pandas import DataFrame

    from hpo.study.search_space import SearchSpace

Array = NDArray[Any]
EVALUATION = 1 / 3  # cost of a forward pass, in forward and backward passes


def load_recorded_study(*overrides: str) -> StudySpec:
    """Load the study that the curves were recorded in, with overrides like those of `--set`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "curves.toml"
        file.write_text(STUDY, encoding="utf8")
        return load_study(file, overrides)


class Curves:
    """Recorded curves: configurations x seeds x rungs, and which validation rows were classified correctly."""

    def __init__(self, table: DataFrame, space: SearchSpace, train: int, rows: int) -> None:
        self.space, self.train, self.rows = space, train, rows
        values = table.groupby("configuration")[list(space.parameters)].first()
        self.points = np.array([scale_values(space, dict(row)) for _, row in values.iterrows()])
        self.epochs = values["num_train_epochs"].to_numpy(float)
        self.rungs = sorted(map(int, table["rung"].unique()))
        positions = {configuration: index for index, configuration in enumerate(values.index)}
        shape = (len(values), int(table["seed"].max()) + 1, len(self.rungs))
        self.reached = np.zeros(shape, dtype=bool)
        self.right = np.zeros((*shape, rows), dtype=bool)
        self.loss = np.full(shape, np.nan)
        for row in table.itertuples():
            at = positions[row.configuration], row.seed, self.rungs.index(row.rung)
            self.reached[at], self.loss[at] = True, row.loss
            self.right[at] = np.unpackbits(np.frombuffer(bytes.fromhex(row.correct), np.uint8), count=rows)
        self.recorded: Array = np.any(self.reached, axis=2)
        end = self.accuracy()[:, :, -1]
        # A run that diverged counts as the worst that did not; a run without any rung is left out.
        self.mean = np.nanmean(np.where(self.recorded & np.isnan(end), np.nanmin(end), end), axis=1)
        self.regret = 100 * (self.mean.max() - self.mean)  # points
        self.unit = float(train * self.epochs.mean() + EVALUATION * rows)

    @classmethod
    def read(cls, file: Path) -> Curves:
        """Read the curves from a parquet file that benchmarks.curves wrote."""
        import pandas

        spec = load_recorded_study()
        return cls(pandas.read_parquet(file), spec.space, spec.data.rows["train"], spec.data.rows["validation"])

    def accuracy(self, chosen: Any = slice(None)) -> Array:
        """Return accuracy on the chosen validation rows, configurations x seeds x rungs; NaN for rungs not reached."""
        return np.where(self.reached, self.right[..., chosen].mean(axis=-1), np.nan)

    def cost(self, configuration: int, rung: int, evaluated: int) -> float:
        """Return the cost of a trial up to a rung, in full trials of average length; `evaluated` counts rows."""
        return float(self.train * self.epochs[configuration] * rung / 1000 + EVALUATION * evaluated) / self.unit


def scale_values(space: SearchSpace, values: Mapping[str, Any]) -> Array:
    """Return values as a point of the unit cube, on the scale on which Optuna's samplers draw."""
    from optuna._transform import _SearchSpaceTransform

    axes = {name: axis.distribution() for name, axis in space.parameters.items()}
    return _SearchSpaceTransform(axes, transform_0_1=True).transform(dict(values))


@dataclass(frozen=True)
class ReplayedTrial:
    """One trial of a replayed study; its value is None if it was pruned or diverged."""

    configuration: int
    cost: float
    value: float | None
    pruned: bool = False


class Replay:
    """One study on recorded curves; everything random in it follows from its seed."""

    def __init__(self, curves: Curves, spec: StudySpec, seed: int, rows: int | None = None) -> None:
        import optuna

        from hpo.search.pruners import build_pruner
        from hpo.search.samplers import build_sampler

        search = spec.search.model_copy(update={"seed": seed})
        self.curves, self.spec = curves, spec.model_copy(update={"search": search})
        self.draw = np.random.default_rng(seed)
        self.unseen: Array = curves.recorded.copy()
        assert isinstance(search.rungs, list)
        self.rungs = [round(1000 * share) for share in search.rungs]
        early = curves.accuracy(self.draw.permutation(curves.rows)[:rows]) if rows else curves.accuracy()
        self.scores = {rung: early[:, :, curves.rungs.index(rung)] for rung in self.rungs[:-1]}
        self.scores[self.rungs[-1]] = curves.accuracy()[:, :, -1]
        self.evaluated = dict.fromkeys(self.rungs[:-1], rows or curves.rows) | {self.rungs[-1]: curves.rows}
        self.study = optuna.create_study(
            study_name=str(seed),
            direction="maximize",
            sampler=build_sampler(self.spec),
            pruner=build_pruner(self.spec),
        )

    def run(self, count: int) -> list[ReplayedTrial]:
        """Run this many trials, one after the other, as a worker would."""
        return [self._trial() for _ in range(count)]

    def _trial(self) -> ReplayedTrial:
        from optuna.trial import TrialState

        enqueue_next(self.study, self.spec.space)
        trial = self.study.ask()
        configuration, seed = self._nearest(self.spec.space.suggest(trial))
        done = self._pass(trial, configuration, seed)
        state = TrialState.PRUNED if done.pruned else TrialState.FAIL if done.value is None else TrialState.COMPLETE
        if state == TrialState.FAIL:
            trial.set_user_attr("reason", DIVERGED)  # without a reason it would count as killed, and be retried
        self.study.tell(trial, done.value, state)
        return done

    def _pass(self, trial: optuna.Trial, configuration: int, seed: int) -> ReplayedTrial:
        """Run a trial rung by rung to its end, or until it is pruned or diverges."""
        evaluated = 0
        for rung in self.rungs:
            value = float(self.scores[rung][configuration, seed])
            if np.isnan(value):  # diverged before this rung
                return ReplayedTrial(configuration, self.curves.cost(configuration, rung, evaluated), None)
            evaluated += self.evaluated[rung]
            trial.report(value, rung)
            if rung != self.rungs[-1] and trial.should_prune():
                return ReplayedTrial(configuration, self.curves.cost(configuration, rung, evaluated), None, pruned=True)
        return ReplayedTrial(configuration, self.curves.cost(configuration, self.rungs[-1], evaluated), value)

    def _nearest(self, values: Mapping[str, Any]) -> tuple[int, int]:
        """Return the nearest configuration with an unused run in this study, and the seed of one of them, drawn."""
        distance = np.square(self.curves.points - scale_values(self.spec.space, values)).sum(axis=1)
        configuration = int(np.where(self.unseen.any(axis=1), distance, np.inf).argmin())
        seed = int(self.draw.choice(np.flatnonzero(self.unseen[configuration])))
        self.unseen[configuration, seed] = False
        return configuration, seed
