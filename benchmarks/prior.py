"""Compare samplers with and without a prior around known-good starts, good and bad ones, on simulated scores."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.stats import sem

from benchmarks.results import markdown_table, write_table
from hpo.search.samplers import build_sampler
from hpo.store.trial_queue import enqueue_next
from hpo.study.spec import StudySpec, load_study

SPACE = Path(__file__).parents[1] / "search_spaces" / "finetune.toml"
STUDY = f"""\
name = "prior"
[data]
source = "builtin:reviews"
[model]
checkpoint = "builtin:tiny"
[space]
file = "{SPACE}"
"""
REPEATS, READ_AFTER = 50, (16, 32)  # studies per row, and the trials after which the best is read
NOISE = 0.5  # points between two seeds of the same values
STARTS = {"good": 1, "bad": 20}  # the best learning rate, in multiples of the starting points' usual one


def simulate_accuracy(values: Mapping[str, Any], best_rate: float) -> float:
    """Return an accuracy in points: a bell over the learning rate, narrower with more epochs, and small ripples."""
    off = math.log10(values["learning_rate"] / best_rate) + 0.35 * math.log(values["num_train_epochs"] / 3)
    bell = 43 * math.exp(-((off / (0.75 if off < 0 else 0.6)) ** 2))
    ripples = 0.4 * (values["weight_decay"] / 0.2 - 0.5) ** 2 + 0.3 * (values["warmup_ratio"] / 0.1 - 1) ** 2
    return 50 + bell - 1.5 * math.exp(1 - values["num_train_epochs"]) - ripples


def measure_gaps(spec: StudySpec, off: float) -> list[float]:
    """Return how far the apparently best trial is from the optimum, in points, after each number of trials."""
    study = optuna.create_study(sampler=build_sampler(spec), direction="maximize")
    draw = np.random.default_rng(spec.search.seed)
    best_rate = 2e-5 * off * 10 ** draw.normal(0, 0.2)
    true = []
    for _ in range(READ_AFTER[-1]):
        enqueue_next(study, spec.space)
        trial = study.ask()
        true.append(simulate_accuracy(spec.space.suggest(trial), best_rate))
        study.tell(trial, true[-1] + draw.normal(0, NOISE))
    seen = [trial.value or 0.0 for trial in study.trials]
    return [93 - true[int(np.argmax(seen[:count]))] for count in READ_AFTER]


def format_cells(file: Path, sampler: str, off: float, use: str) -> list[str]:
    """Return the mean gap with its standard error after each number of trials."""
    prior = ", prior = true" if use == "and drawn around" else ""
    overrides = [f'search.sampler={{name = "{sampler}"{prior}}}', *["space.known_good=[]"] * (use == "left out")]
    gaps = np.array(
        [measure_gaps(load_study(file, (*overrides, f"search.seed={seed}")), off) for seed in range(REPEATS)]
    )
    return [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(gaps.mean(0), sem(gaps), strict=True)]


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prior.toml"
        file.write_text(STUDY)
        cases = product(("random", "tpe"), STARTS, ("left out", "tried first", "and drawn around"))
        rows = [[sampler, name, use, *format_cells(file, sampler, STARTS[name], use)] for sampler, name, use in cases]
    heads = ["sampler", "starting points", "use", *(f"gap after {count} trials" for count in READ_AFTER)]
    seeds = f"search.seed 0 to {REPEATS - 1}, a study each"
    write_table("prior", seeds, markdown_table(heads, rows))


if __name__ == "__main__":
    main()
