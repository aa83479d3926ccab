"""What each search of vs_stock found, trained anew under five seeds and tried on test rows that no search has seen.

    python -m benchmarks.winners [cpu|small|short|gpu] [--seeds 0 1 2] [--keep FOLDER]

FOLDER holds what `vs_stock` kept there. A winner is trained as its search trained it: the plain library's in a plain
Trainer, tuned or not, and ours with the levers of its study. A run that FOLDER holds already is not made again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.opponents import OPPONENTS, Diary, plain_trainer
from benchmarks.replay import Replay
from benchmarks.results import made, markdown, record, told
from benchmarks.vs_stock import KEEP, SETTINGS, Setting, asked, options, rows

FRESH = range(100, 105)  # seeds that no search uses


@dataclass(frozen=True)
class Winners:
    """The winners of one study seed, whose case lies in a folder."""

    setting: Setting
    folder: Path

    @cached_property
    def ours(self) -> Replay:
        """The case, and what our runs share."""
        return Replay(self.folder)

    @cached_property
    def test(self) -> Any:
        """The test split."""
        return rows(self.setting, self.folder).test

    def found(self, search: str) -> dict[str, Any]:
        """The values that a search of this study seed found best."""
        kept = self.folder.with_name(f"{self.folder.name}-{search}.json")
        if not kept.exists():
            raise SystemExit(f"no file {kept}: run vs_stock first")
        values: dict[str, Any] = json.loads(kept.read_text())["values"]
        return values

    def run(self, search: str, fresh: int) -> dict[str, Any]:
        """One training with a search's values: which test rows it has right; kept, and read where it is there."""
        kept = self.folder.with_name(f"{self.folder.name}-{search}-test-{fresh}.json")
        values = self.found(search)
        if kept.exists() and (known := json.loads(kept.read_text()))["values"] == values:
            return dict(known)
        shares = self._shares(self._ours(values, fresh) if search == "ours" else self._plain(search, values, fresh))
        done = {"seed": self.ours.case.seed, **made(), "values": values, "shares": shares.round(6).tolist()}
        kept.write_text(json.dumps(done))
        print(f"{kept.name} done", file=sys.stderr, flush=True)
        return done

    def _ours(self, values: Mapping[str, Any], fresh: int) -> Any:
        from hpo.training.trainer import RungTrainer

        trainer = RungTrainer(self.ours.task)
        trainer.run(values, fresh)
        return trainer.settled()

    def _plain(self, search: str, values: Mapping[str, Any], fresh: int) -> Any:
        from hpo.training.model import unwrap

        own = {name: value for name, value in values.items() if name != "warmup_ratio"}  # which the library drops
        own |= {"seed": fresh, "eval_strategy": "no", "save_strategy": "no"}
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            diary = Diary(Path(scratch) / "diary")
            trainer = plain_trainer(self.ours.case, Path(scratch), diary, tuned=search != "stock", **own)
            trainer.train()
        unwrap(trainer.model)  # ours are tested in float32 too
        return trainer.model

    def _shares(self, model: Any) -> NDArray[Any]:
        """The model's class probabilities on the test rows."""
        from hpo.data.tokens import encode
        from hpo.training.inference import probabilities

        tokenizer = self.ours.task.checkpoint.tokenizer
        return probabilities(model, tokenizer, encode(self.test, tokenizer, self.ours.case.max_length))


HEADS = ("seed", "search", "test accuracy", "sd", "ours less this, points", "95 % interval")


def compared(winners: Winners, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Sequence[object]]:
    """A row per search: its mean on test, and how much better ours is, over rows and seeds, as `hpo compare` has it."""
    from hpo.final.statistics import difference, resample

    probabilities = [np.array(run["shares"]) for each in runs.values() for run in each]
    resampled = resample("accuracy", np.array(winners.test.labels), probabilities)
    columns = {name: range(place * len(FRESH), (place + 1) * len(FRESH)) for place, name in enumerate(runs)}
    table: list[Sequence[object]] = []
    for name, own in columns.items():
        scores = resampled.observed[list(own)]
        cells: tuple[str, ...] = ("", "")
        if name != "ours":
            gain = difference(resampled, columns["ours"], own)
            cells = f"{100 * gain.difference:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
        table.append((winners.ours.case.seed, name, f"{scores.mean():.4f}", f"{scores.std(ddof=1):.4f}", *cells))
    return table


def main() -> None:
    given = asked(options(__doc__, seeds=3, keep=KEEP))
    table, all_runs = [], []
    for seed in given.seeds:
        winners = Winners(SETTINGS[given.case], given.keep / given.case / str(seed))
        runs: dict[str, list[Any]] = {name: [] for name in OPPONENTS}
        for fresh in FRESH:  # in turns
            for name, own in runs.items():
                own.append(winners.run(name, fresh))
        table += compared(winners, runs)
        all_runs += [run for each in runs.values() for run in each]
    seeds = f"{told(all_runs)}; each winner under seeds {FRESH[0]} to {FRESH[-1]}"
    if given.case == "smoke":
        print(markdown(HEADS, table))
    else:
        record(f"winners {given.case}", seeds, markdown(HEADS, table))


if __name__ == "__main__":
    main()
