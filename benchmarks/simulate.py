"""Compare samplers, pruners, rungs, starting points and budgets on recorded curves: the basis of the defaults.

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

from benchmarks.curves import CURVES, load_candidates
from benchmarks.ranks import build_rank_tables
from benchmarks.recorded import Array, Curves, Replay, ReplayedTrial, load_recorded_study
from benchmarks.results import markdown_table, write_table
from hpo.study.spec import StudySpec

CLOSE = 0.3  # points of accuracy from the best mean that count as the best
BUDGETS = (8, 16, 32)  # trials
COSTS = (2, 4, 8, 16)  # full trials of average length
SLOW = {"gp"}  # samplers that take a tenth of the repeats


@dataclass(frozen=True)
class Setting:
    """What differs from the default: overrides as in `--set`, starting points, and rows evaluated before the end.

    starts: names in starts.toml, in the order in which they are tried.
    """

    name: str
    overrides: tuple[str, ...] = ()
    starts: str = "e3 a d"
    rows: int | None = None

    def spec(self) -> StudySpec:
        """Return the study with this setting."""
        spec, starts = (
            load_recorded_study(*DEFAULT, *self.overrides),
            {start.source: start for start in load_candidates()},
        )
        space = spec.space.model_copy(update={"known_good": [starts[name] for name in self.starts.split()]})
        return spec.model_copy(update={"space": space})


@dataclass(frozen=True)
class Measures:
    """Costs and regrets of many replayed studies of one setting."""

    costs: Array  # studies x trials: spent at the end of a trial, in full trials of average length
    regrets: Array  # studies x trials: points by which the best trial's configuration is below the best one, in means
    lost: float  # share of studies that pruned a configuration that is as good as the best

    @classmethod
    def of(cls, curves: Curves, studies: Sequence[Sequence[ReplayedTrial]]) -> Measures:
        """Measure studies of equal length."""
        costs = np.cumsum([[trial.cost for trial in study] for study in studies], axis=1)
        regrets = np.array([regrets_of(curves, study) for study in studies])
        lost = [any(each.pruned and is_close(curves.regret[each.configuration]) for each in study) for study in studies]
        return cls(costs, regrets, float(np.mean(lost)))

    def cost_until_found(self) -> Array:
        """Return, per study, the cost until its best trial is as good as the best configuration; infinite if never."""
        hits: Array = is_close(self.regrets)
        return np.where(hits.any(axis=1), self.costs[np.arange(len(hits)), hits.argmax(axis=1)], np.inf)

    def at_cost(self, cost: float) -> Array:
        """Return, per study, the regret after this cost; the largest of all if no trial had ended by then."""
        ended: Array = np.sum(self.costs <= cost, axis=1)
        return np.where(ended, self.regrets[np.arange(len(ended)), ended - 1], float(self.regrets.max()))

    def row(self) -> list[str]:
        """Return the cells of the table without the setting's name."""
        costs = self.cost_until_found()
        median = float(np.median(costs))
        return [
            f"{np.isfinite(costs).mean():.0%}",
            f"{median:.1f}" if np.isfinite(median) else "-",
            " / ".join(f"{self.regrets[:, each - 1].mean():.2f}" for each in BUDGETS),
            " / ".join(f"{self.costs[:, each - 1].mean():.1f}" for each in BUDGETS),
            " / ".join(f"{self.at_cost(each).mean():.2f}" for each in COSTS),
            f"{self.at_cost(COSTS[-2]).std() / len(costs) ** 0.5:.2f}",
            f"{self.lost:.0%}",
        ]


def is_close(regret: Any) -> Any:
    """Return whether a regret in points counts as none."""
    return regret <= CLOSE + 1e-9


def regrets_of(curves: Curves, replayed: Sequence[ReplayedTrial]) -> list[float]:
    """Return, after each trial, how far the mean of the best one's configuration is below the best mean, in points."""
    regrets, best, regret = [], -np.inf, float(curves.regret.max())
    for trial in replayed:
        if trial.value is not None and trial.value > best:
            best, regret = trial.value, float(curves.regret[trial.configuration])
        regrets.append(regret)
    return regrets


def vary(key: str, *values: str) -> list[Setting]:
    """Return a setting for each value of a key of the search section."""
    return [Setting(f"`{key} = {each}`", (f"search.{key}={each}",)) for each in values]


# hpo's default; every other setting changes one thing, and the last ones several.
DEFAULT = ('search.sampler="tpe"', 'search.pruner="asha"', "search.rungs=[0.25, 0.5, 1.0]")
FOUR = "search.rungs=[0.125, 0.25, 0.5, 1.0]"
ALL = "a b d e2 e1 e3"
LATE, GP = 'search.sampler={ name = "tpe", n_startup_trials = 10 }', 'search.sampler="gp"'
TOGETHER = {"four rungs": (FOUR,), "four rungs, tpe after 10": (FOUR, LATE), "tpe after 10": (LATE,)}
SETTINGS = [
    Setting("**tpe, asha, rungs at 1/4, 1/2 and 1, starting points e3, a, d**"),
    *vary("sampler", '"random"', '"qmc"', '"gp"', '"cmaes"'),
    *vary("sampler", '{ name = "tpe", n_startup_trials = 10 }', '{ name = "tpe", prior = true }'),
    *(
        Setting(f"starting points {starts.replace(' ', ', ')}" if starts else "no starting points", starts=starts)
        for starts in ("", "e3", "e3 a", "e3 a b", "e3 a b d", "a", "a e3", "a e3 b", "a b e3", ALL, "b e2 e1 e3 d a")
    ),
    *vary(
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
    *vary("rungs", "[0.125, 0.25, 0.5, 1.0]", "[0.25, 1.0]", "[0.5, 1.0]", "[0.25, 0.5, 0.75, 1.0]"),
    *(Setting(f"{rows} validation rows before the last rung", rows=rows) for rows in (50, 100, 200)),
    Setting("100 validation rows before the last rung, tpe after 10", (LATE,), rows=100),
    Setting("`gp`, which learns from whole trials only, with `pruner = none`", (GP, 'search.pruner="none"')),
    *(
        Setting(f"{text}, starting points {starts.replace(' ', ', ')}", changed, starts)
        for starts in ("e3 a b", ALL)
        for text, changed in TOGETHER.items()
    ),
]


def simulate(curves: Curves, setting: Setting, repeats: int, processes: int) -> Measures:
    """Measure one setting over this many studies of the largest budget."""
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    spec = setting.spec()
    if spec.search.sampler.name in SLOW:
        repeats = max(2, repeats // 10)
    one = delayed(lambda seed: run_quietly(lambda: Replay(curves, spec, seed, setting.rows).run(max(BUDGETS))))
    return Measures.of(curves, Parallel(processes)(one(seed) for seed in range(repeats)))


def build_table(curves: Curves, settings: Sequence[Setting], repeats: int, processes: int) -> str:
    """Return a line per setting, as Markdown."""
    trials, costs = (" / ".join(map(str, each)) for each in (BUDGETS, COSTS))
    heads = [
        "setting",
        "found",
        "median cost until found",
        f"regret after {trials}",
        f"cost of {trials}",
        f"regret at {costs}",
    ]
    heads += [f"± at {COSTS[-2]}", "best pruned"]
    lines: list[list[str]] = []
    for setting in settings:
        lines.append([setting.name, *simulate(curves, setting, repeats, processes).row()])
    return markdown_table(heads, lines)


def run_quietly(call: Callable[[], Any]) -> Any:
    """Call without Optuna's messages about each trial and about experimental features."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=CURVES, help="if it is another file, the table is only printed")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a few settings and repeats; the table is only printed")
    options = parser.parse_args()
    if not options.curves.exists():
        raise SystemExit(f"no file {options.curves}: record the curves first, python -m benchmarks.curves")
    curves = Curves.read(options.curves)
    runs = int(curves.recorded.sum())
    if runs < max(BUDGETS):
        raise SystemExit(f"{options.curves} has {runs} runs; a study takes {max(BUDGETS)} different ones")
    settings, repeats = (SETTINGS[::8], 3) if options.small else (SETTINGS, options.repeats)
    tables = "\n\n".join([build_table(curves, settings, repeats, options.processes), build_rank_tables(curves)])
    if options.small or options.curves != CURVES:
        print(tables)
        return
    seeds = f"{len(curves.epochs)} configurations, {runs} runs, {repeats} studies a setting (gp: {repeats // 10})"
    write_table("simulate", seeds, tables)


if __name__ == "__main__":
    main()
