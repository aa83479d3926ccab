"""Train the winner of each search of vs_stock with five new seeds and score it on test rows that no search used.

    python -m benchmarks.winners [cpu|small|gpu] [--seeds 0 1 2] [--only stock ours] [--again ours]

The results of the searches are read from benchmarks/runs/, and runs are stored there. A winner is trained as in its
search: the plain library's in a plain Trainer, tuned or not, and ours with the accelerations of its study.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.opponents import OPPONENTS, ScoreLog, build_plain_trainer
from benchmarks.replay import Replay
from benchmarks.results import load_or_run, markdown_table
from benchmarks.vs_stock import parse_arguments, runs_file, write_results
from hpo.evaluation.statistics import Difference, ResampledScores, Side, paired_difference, resample_scores

FRESH = range(100, 105)  # seeds that no search uses

Array = NDArray[Any]


@dataclass(frozen=True)
class Winners:
    """The winners of one study seed of a case."""

    case: str
    seed: int

    @cached_property
    def ours(self) -> Replay:
        """The case, and what our runs share."""
        return Replay(self.case, self.seed)

    def best_values(self, search: str) -> dict[str, Any]:
        """Return the best values of a search with this study seed."""

        def missing() -> dict[str, Any]:
            raise SystemExit(f"no search of {search} with seed {self.seed}: run vs_stock first")

        key = {"seed": self.seed, "opponent": search}
        values: dict[str, Any] = load_or_run(runs_file("vs_stock", self.case), key, missing)["values"]
        return values

    def run(self, search: str, fresh: int) -> dict[str, Any]:
        """Train once with a search's values; return the test rows that are predicted as the second class."""
        values = self.best_values(search)
        model = self._ours(values, fresh) if search == "ours" else self._plain(search, values, fresh)
        return {"second": np.packbits(self.ours.predict_classes(model) == 1).tobytes().hex()}

    def predictions(self, run: Mapping[str, Any]) -> NDArray[Any]:
        """Return a run's predictions for the test rows, one-hot."""
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(run["second"]), np.uint8), count=len(self.ours.test.labels))
        return np.eye(2)[bits]

    def _ours(self, values: Mapping[str, Any], fresh: int) -> Any:
        from hpo.training.trainer import RungTrainer

        trainer = RungTrainer(self.ours.context)
        trainer.run(values, fresh)
        return trainer.final_model()

    def _plain(self, search: str, values: Mapping[str, Any], fresh: int) -> Any:
        from hpo.training.library_internals import remove_accelerate_wrappers

        plain = {name: value for name, value in values.items() if name != "warmup_ratio"}  # which has no effect there
        plain |= {"seed": fresh, "eval_strategy": "no", "save_strategy": "no"}
        with tempfile.TemporaryDirectory(dir=self.ours.folder) as scratch:
            log = ScoreLog(Path(scratch) / "log")
            trainer = build_plain_trainer(self.ours.case, Path(scratch), log, tuned=search != "stock", **plain)
            trainer.train()
        remove_accelerate_wrappers(trainer.model)  # so that it is tested in float32, as ours is
        return trainer.model


HEADS = ("seed", "search", "test accuracy", "sd", "ours minus this (points)", "95 % confidence interval")


def resample_winners(winners: Winners, runs: Sequence[Mapping[str, Any]]) -> ResampledScores:
    """Score these runs on the test rows and on resamples, which are the same for all study seeds."""
    probabilities = [winners.predictions(run) for run in runs]
    return resample_scores("accuracy", np.array(winners.ours.test.labels), probabilities)


def average_searches(resampled: ResampledScores, sides: Mapping[str, Sequence[Side]]) -> dict[str, Difference]:
    """Return how much better ours is than each other search; the interval covers other test rows and other searches.

    Args:
        resampled: Scores of all runs.
        sides: The retrained runs of each search's winners, a side per study seed.
    """
    columns: list[Array] = []
    averaged: dict[str, Side] = {}
    for search, each in sides.items():
        # A search counts as one run, with the mean of its retrained runs. The recipe, which may be the same in all
        # studies, then has no more than these runs.
        runs = [list(side.columns) for side in each]
        if all((resampled.table[:, run] == resampled.table[:, runs[0]]).all() for run in runs):
            runs = [[column] for column in runs[0]]
        averaged[search] = Side(range(len(columns), len(columns) + len(runs)))
        columns += [np.isin(np.arange(len(resampled.observed)), run) / len(run) for run in runs]
    weights = np.stack(columns, axis=1)
    means = ResampledScores(resampled.observed @ weights, resampled.table @ weights)
    others = (search for search in sides if search != "ours")
    return {search: paired_difference(means, averaged["ours"], averaged[search]) for search in others}


def format_difference(difference: Difference) -> tuple[str, str]:
    """Return a difference in points, and its interval."""
    low, high = (difference.difference + sign * difference.half_width() for sign in (-1, 1))
    return f"{100 * difference.difference:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"


def build_table(runs: Sequence[Mapping[str, Any]], case: str) -> str:
    """Return a row per seed and search, and below the mean over the seeds."""
    seeds, searches = (list(dict.fromkeys(run[key] for run in runs)) for key in ("seed", "search"))
    resampled = resample_winners(Winners(case, seeds[0]), runs)
    sides: dict[str, list[Side]] = {search: [] for search in searches}
    lines: list[Sequence[object]] = []
    for seed in sorted(seeds):
        for search in searches:
            chosen = [index for index, run in enumerate(runs) if (run["search"], run["seed"]) == (search, seed)]
            sides[search].append(Side(chosen))
        for search, each in sides.items():
            cells = "", ""
            if search != "ours":
                cells = format_difference(paired_difference(resampled, sides["ours"][-1], each[-1]))
            scores = resampled.observed[list(each[-1].columns)]
            lines.append((seed, search, f"{scores.mean():.4f}", f"{scores.std(ddof=1):.4f}", *cells))
    if len(seeds) > 1:
        for search, difference in average_searches(resampled, sides).items():
            lines.append(("all", search, "", "", *format_difference(difference)))
    return markdown_table(HEADS, lines)


def main() -> None:
    options = parse_arguments(__doc__, seeds=3, names=tuple(OPPONENTS), against="ours")
    runs = []
    for seed in options.seeds:
        winners = Winners(options.case, seed)
        for fresh, name in product(FRESH, options.only):  # alternating
            key = {"seed": seed, "search": name, "fresh": fresh, "values": winners.best_values(name)}
            runs.append(load_or_run(options.file, key, partial(winners.run, name, fresh), name in options.again))
    each = f"; each winner retrained with seeds {FRESH[0]} to {FRESH[-1]}"
    write_results(options, runs, partial(build_table, case=options.case), each)


if __name__ == "__main__":
    main()
