"""Samplers, pruners, rungs, known-good starts and budgets, replayed on recorded curves: the defaults come from here.

    python -m benchmarks.simulate [--curves FILE] [--repeats N] [--processes N] [--small]

A study of 32 trials takes about a tenth of a second; all settings, 200 studies each, a quarter of an hour of one core.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import CURVES, candidates
from benchmarks.ranks import ranks
from benchmarks.recorded import Array, Curves, Replay, Replayed, study
from benchmarks.results import markdown, record
from hpo.study.spec import StudySpec

CLOSE = 0.3  # points of accuracy from the best mean that count as having found it
BUDGETS = (8, 16, 32)  # trials
COSTS = (2, 4, 8, 16)  # full trials of average length
SLOW = {"gp"}  # samplers that take a tenth of the repeats


@dataclass(frozen=True)
class Setting:
    """What differs from the default: overrides as behind `--set`, which starts, and rows evaluated before the end.

    starts: names in starts.toml, in the order in which they are tried.
    """

    name: str
    overrides: tuple[str, ...] = ()
    starts: str = "e3 a d"
    rows: int | None = None

    def spec(self) -> StudySpec:
        """The study with this setting."""
        spec, known = study(*DEFAULT, *self.overrides), {start.source: start for start in candidates()}
        space = spec.space.model_copy(update={"known_good": [known[name] for name in self.starts.split()]})
        return spec.model_copy(update={"space": space})


@dataclass(frozen=True)
class Measures:
    """What many replayed studies of one setting came to."""

    costs: Array  # studies x trials: spent when a trial had ended, in full trials of average length
    regrets: Array  # studies x trials: points that the mean of the best trial's configuration lies below the best
    lost: float  # share of studies that pruned a configuration that is as good as the best

    @classmethod
    def of(cls, curves: Curves, studies: Sequence[Sequence[Replayed]]) -> Measures:
        """The measures of studies of equal length."""
        costs = np.cumsum([[trial.cost for trial in study] for study in studies], axis=1)
        regrets = np.array([regrets_of(curves, study) for study in studies])
        lost = [any(each.pruned and close(curves.regret[each.configuration]) for each in study) for study in studies]
        return cls(costs, regrets, float(np.mean(lost)))

    def found(self) -> Array:
        """Per study, the cost until its best trial's configuration was as good as the best; infinite if never."""
        hits: Array = close(self.regrets)
        return np.where(hits.any(axis=1), self.costs[np.arange(len(hits)), hits.argmax(axis=1)], np.inf)

    def at_cost(self, cost: float) -> Array:
        """Per study, the regret once so much is spent; the largest that there was where no trial had ended by then."""
        ended: Array = np.sum(self.costs <= cost, axis=1)
        return np.where(ended, self.regrets[np.arange(len(ended)), ended - 1], float(self.regrets.max()))

    def row(self) -> list[str]:
        """The cells of the table, the setting's name apart."""
        found = self.found()
        median = float(np.median(found))
        return [
            f"{np.isfinite(found).mean():.0%}",
            f"{median:.1f}" if np.isfinite(median) else "-",
            " / ".join(f"{self.regrets[:, each - 1].mean():.2f}" for each in BUDGETS),
            " / ".join(f"{self.costs[:, each - 1].mean():.1f}" for each in BUDGETS),
            " / ".join(f"{self.at_cost(each).mean():.2f}" for each in COSTS),
            f"{self.at_cost(COSTS[-2]).std() / len(found) ** 0.5:.2f}",
            f"{self.lost:.0%}",
        ]


def close(regret: Any) -> Any:
    """Whether a regret in points is as good as none."""
    return regret <= CLOSE + 1e-9


def regrets_of(curves: Curves, replayed: Sequence[Replayed]) -> list[float]:
    """After each trial, how far the mean of the best one's configuration lies below the best mean, in points."""
    regrets, best, regret = [], -np.inf, float(curves.regret.max())
    for trial in replayed:
        if trial.value is not None and trial.value > best:
            best, regret = trial.value, float(curves.regret[trial.configuration])
        regrets.append(regret)
    return regrets


def by(key: str, *written: str) -> list[Setting]:
    """A setting for each way to write one key of the study file."""
    return [Setting(f"`{key} = {each}`", (f"search.{key}={each}",)) for each in written]


# What hpo has by default; every other setting changes one thing, and the last ones several.
DEFAULT = ('search.sampler="tpe"', 'search.pruner="asha"', "search.rungs=[0.25, 0.5, 1.0]")
FOUR = "search.rungs=[0.125, 0.25, 0.5, 1.0]"
ALL = "a b d e2 e1 e3"
LATE, GP = 'search.sampler={ name = "tpe", n_startup_trials = 10 }', 'search.sampler="gp"'
TOGETHER = {"four rungs": (FOUR,), "four rungs, tpe after 10": (FOUR, LATE), "tpe after 10": (LATE,)}
SETTINGS = [
    Setting("**tpe, asha, rungs at 1/4, 1/2 and 1, starts e3, a, d**"),
    *by("sampler", '"random"', '"qmc"', '"gp"', '"cmaes"'),
    *by("sampler", '{ name = "tpe", n_startup_trials = 10 }', '{ name = "tpe", prior = true }'),
    *(
        Setting(f"starts {starts.replace(' ', ', ') or 'left out'}", starts=starts)
        for starts in ("", "e3", "e3 a", "e3 a b", "e3 a b d", "a", "a e3", "a e3 b", "a b e3", ALL, "b e2 e1 e3 d a")
    ),
    *by(
        "pruner",
        '"none"',
        '{ name = "asha", min_early_stopping_rate = 1 }',
        '{ name = "asha", reduction_factor = 3 }',
        '{ name = "asha", reduction_factor = 4 }',
        '"hyperband"',
        '"median"',
        '{ name = "median", n_startup_trials = 2 }',
        '{ name = "percentile", percentile = 25.0 }',
        '{ name = "percentile", percentile = 75.0 }',
    ),
    *by("rungs", "[0.125, 0.25, 0.5, 1.0]", "[0.25, 1.0]", "[0.5, 1.0]", "[0.25, 0.5, 0.75, 1.0]"),
    *(Setting(f"{rows} validation rows before the last rung", rows=rows) for rows in (50, 100, 200)),
    Setting("100 validation rows before the last rung, tpe after 10", (LATE,), rows=100),
    Setting("`gp`, which learns from whole trials only, with `pruner = none`", (GP, 'search.pruner="none"')),
    *(
        Setting(f"{told}, starts {starts.replace(' ', ', ')}", changed, starts)
        for starts in ("e3 a b", ALL)
        for told, changed in TOGETHER.items()
    ),
]


def simulate(curves: Curves, setting: Setting, repeats: int, processes: int) -> Measures:
    """The measures of one setting over so many studies of the largest budget."""
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    spec = setting.spec()
    if spec.search.sampler.name in SLOW:
        repeats = max(2, repeats // 10)
    one = delayed(lambda seed: quietly(lambda: Replay(curves, spec, seed, setting.rows).run(max(BUDGETS))))
    return Measures.of(curves, Parallel(processes)(one(seed) for seed in range(repeats)))


def table(curves: Curves, settings: Sequence[Setting], repeats: int, processes: int) -> str:
    """A line per setting, as Markdown."""
    trials, costs = (" / ".join(map(str, each)) for each in (BUDGETS, COSTS))
    heads = ["setting", "found", "at a cost of", f"regret after {trials}", f"cost of {trials}", f"regret at {costs}"]
    heads += [f"± at {COSTS[-2]}", "best pruned"]
    lines: list[list[str]] = []
    for setting in settings:
        lines.append([setting.name, *simulate(curves, setting, repeats, processes).row()])
    return markdown(heads, lines)


def quietly(call: Callable[[], Any]) -> Any:
    """What a call returns, without Optuna's words on each trial and on what it calls experimental."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--curves", type=Path, default=CURVES, help="printed and not recorded, where it is another file"
    )
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a few settings and repeats, not recorded")
    options = parser.parse_args()
    if not options.curves.exists():
        raise SystemExit(f"no file {options.curves}: record the curves first, python -m benchmarks.curves")
    curves = Curves.read(options.curves)
    runs = int(curves.recorded.sum())
    if runs < max(BUDGETS):
        raise SystemExit(f"{options.curves} has {runs} runs; a study takes {max(BUDGETS)} different ones")
    settings, repeats = (SETTINGS[::8], 3) if options.small else (SETTINGS, options.repeats)
    tables = "\n\n".join([table(curves, settings, repeats, options.processes), ranks(curves)])
    if options.small or options.curves != CURVES:
        print(tables)
        return
    told = f"{len(curves.epochs)} configurations, {runs} runs, {repeats} studies a setting (gp: {repeats // 10})"
    record("simulate", told, tables)


if __name__ == "__main__":
    main()
