"""What each search of vs_stock found, trained anew under five seeds and tried on test rows that no search has seen.

    python -m benchmarks.winners [cpu|small|gpu] [--seeds 0 1 2] [--only stock ours] [--again ours]

benchmarks/runs/ holds what the searches found, and this puts its runs there. A winner is trained as its search trained
it: the plain library's in a plain Trainer, tuned or not, and ours with the levers of its study.
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

from benchmarks.opponents import OPPONENTS, Diary, plain_trainer
from benchmarks.replay import Replay
from benchmarks.results import kept, markdown
from benchmarks.vs_stock import asked, runs_file, tell

FRESH = range(100, 105)  # seeds that no search uses


@dataclass(frozen=True)
class Winners:
    """The winners of one study seed of a case."""

    case: str
    seed: int

    @cached_property
    def ours(self) -> Replay:
        """The case, and what our runs share."""
        return Replay(self.case, self.seed)

    def found(self, search: str) -> dict[str, Any]:
        """The values that a search of this study seed found best."""

        def missing() -> dict[str, Any]:
            raise SystemExit(f"no search of {search} with seed {self.seed}: run vs_stock first")

        which = {"seed": self.seed, "opponent": search}
        values: dict[str, Any] = kept(runs_file("vs_stock", self.case), which, missing)["values"]
        return values

    def run(self, search: str, fresh: int) -> dict[str, Any]:
        """One training with a search's values: the test rows that it takes for the second of the two classes."""
        values = self.found(search)
        model = self._ours(values, fresh) if search == "ours" else self._plain(search, values, fresh)
        return {"second": np.packbits(self.ours.answers(model) == 1).tobytes().hex()}

    def answers(self, run: Mapping[str, Any]) -> NDArray[Any]:
        """A run's answers on the test rows, one-hot."""
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(run["second"]), np.uint8), count=len(self.ours.test.labels))
        return np.eye(2)[bits]

    def _ours(self, values: Mapping[str, Any], fresh: int) -> Any:
        from hpo.training.trainer import RungTrainer

        trainer = RungTrainer(self.ours.task)
        trainer.run(values, fresh)
        return trainer.settled()

    def _plain(self, search: str, values: Mapping[str, Any], fresh: int) -> Any:
        from hpo.training.checkpoint import remove_accelerate_wrappers

        own = {name: value for name, value in values.items() if name != "warmup_ratio"}  # which the library drops
        own |= {"seed": fresh, "eval_strategy": "no", "save_strategy": "no"}
        with tempfile.TemporaryDirectory(dir=self.ours.folder) as scratch:
            diary = Diary(Path(scratch) / "diary")
            trainer = plain_trainer(self.ours.case, Path(scratch), diary, tuned=search != "stock", **own)
            trainer.train()
        remove_accelerate_wrappers(trainer.model)  # ours are tested in float32 too
        return trainer.model


HEADS = ("seed", "search", "test accuracy", "sd", "ours less this, points", "95 % interval")


def compared(winners: Winners, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Sequence[object]]:
    """A row per search: its mean on test, and how much better ours is, over rows and seeds, as `hpo compare` has it."""
    from hpo.evaluation.statistics import paired_difference, resample_scores

    probabilities = [winners.answers(run) for each in runs.values() for run in each]
    resampled = resample_scores("accuracy", np.array(winners.ours.test.labels), probabilities)
    columns = {name: range(place * len(FRESH), (place + 1) * len(FRESH)) for place, name in enumerate(runs)}
    lines: list[Sequence[object]] = []
    for name, own in columns.items():
        scores = resampled.observed[list(own)]
        cells: tuple[str, ...] = ("", "")
        if name != "ours":
            gain = paired_difference(resampled, columns["ours"], own)
            cells = f"{100 * gain.difference:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
        lines.append((winners.seed, name, f"{scores.mean():.4f}", f"{scores.std(ddof=1):.4f}", *cells))
    return lines


def table(runs: Sequence[Mapping[str, Any]], case: str) -> str:
    """Rows per seed and search."""
    lines: list[Sequence[object]] = []
    for seed in sorted({run["seed"] for run in runs}):
        by: dict[str, list[Any]] = {}
        for run in (run for run in runs if run["seed"] == seed):
            by.setdefault(run["search"], []).append(run)
        lines += compared(Winners(case, seed), by)
    return markdown(HEADS, lines)


def main() -> None:
    given = asked(__doc__, seeds=3, names=tuple(OPPONENTS), against="ours")
    runs = []
    for seed in given.seeds:
        winners = Winners(given.case, seed)
        for fresh, name in product(FRESH, given.only):  # in turns
            which = {"seed": seed, "search": name, "fresh": fresh, "values": winners.found(name)}
            runs.append(kept(given.file, which, partial(winners.run, name, fresh), name in given.again))
    each = f"; each winner under seeds {FRESH[0]} to {FRESH[-1]}"
    tell(given, runs, partial(table, case=given.case), each)


if __name__ == "__main__":
    main()
