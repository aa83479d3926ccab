"""Trials -> a data frame: a row per trial, a column for everything that one might sort, plot or average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas
from optuna.trial import FrozenTrial

from hpo.store.trial_state import outcome

# Attributes that become a column under their own name, in this order.
PLAIN_COLUMNS = ("place", "seed", "best", "best_rung", "steps", "examples", "tokens", "peak_memory", "batch_split")
TEXT_COLUMNS = ("source", "retry_of", "reason")


def build_trials_table(trials: Sequence[FrozenTrial], objectives: Sequence[str] = ("value",)) -> pandas.DataFrame:
    """A row per trial, by number.

    Columns: number, state (Optuna's) and ending (why), `value` (`value_<objective>` where there are several), rung
    (the last that was reached), `params_<name>` as sampled, `effective_<name>` as read back from the live run,
    `metric_<name>` on validation at the last rung, `seconds_<part>`, steps, examples, tokens, peak memory in bytes,
    seed, start and end, source of a known-good start, reason, device, host and process. What no trial has is left out.
    """
    table = pandas.DataFrame([_row(trial, objectives) for trial in trials])
    return table.dropna(axis="columns", how="all").convert_dtypes() if len(table) else table


def _row(trial: FrozenTrial, objectives: Sequence[str]) -> dict[str, Any]:
    attributes = trial.user_attrs
    rung = max(trial.intermediate_values, default=None)
    metrics = attributes.get("metrics") or {}
    values = trial.values or [None] * len(objectives)
    heads = ["value"] if len(objectives) == 1 else [f"value_{name}" for name in objectives]
    worker = attributes.get("worker") or {}
    return {
        "number": trial.number,
        "state": trial.state.name,
        "ending": outcome(trial),
        **dict(zip(heads, values, strict=False)),
        "rung": rung,
        **{f"params_{name}": value for name, value in trial.params.items()},
        **{f"effective_{name}": value for name, value in (attributes.get("effective") or {}).items()},
        **{f"metric_{name}": value for name, value in metrics.get(str(rung), {}).items()},
        **{f"seconds_{name}": value for name, value in (attributes.get("seconds") or {}).items()},
        **{name: attributes.get(name) for name in PLAIN_COLUMNS},
        "start": trial.datetime_start,
        "end": trial.datetime_complete,
        **{name: attributes.get(name) for name in TEXT_COLUMNS},
        "device": (attributes.get("provenance") or {}).get("device"),
        "host": worker.get("host"),
        "process": worker.get("pid"),
    }
