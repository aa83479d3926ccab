"""The trials of a search as a data frame, which notebooks, plots and `hpo export --format trials-csv` use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas

from hpo.store.attributes import Seconds
from hpo.store.trial_record import TrialRecord

# Fields of TrialRecord that become a column under their own name, in this order.
NUMBER_FIELDS = (
    "replay_index",
    "seed",
    "best",
    "best_rung",
    "steps",
    "examples",
    "tokens",
    "peak_memory",
    "batch_split",
)
TEXT_FIELDS = ("source", "retry_of", "reason")


def build_trials_table(trials: Sequence[TrialRecord], objectives: Sequence[str] = ("value",)) -> pandas.DataFrame:
    """Return a data frame with one row per trial, by number.

    Columns, of which those that are empty for every trial are left out:

    - `number`; `state`, which is Optuna's, and `outcome`, which says why a trial ended;
    - `value`, or one `value_<objective>` per objective if there are several;
    - `rung`: the last one reached, in thousandths of the trial's schedule;
    - `params_<name>`: hyperparameters as sampled; `effective_<name>`: values read back from the live run;
    - `metric_<name>`: scores on validation at the last rung;
    - `seconds_<part>`: `wall`, `train`, `evaluation`;
    - `replay_index`: the trial's position in a search that was never interrupted; `seed`;
    - `best`, `best_rung`: the best objective at any rung, and that rung;
    - `steps`, `examples`, `tokens`, `peak_memory` (bytes), `batch_split` (parts of a device batch);
    - `start`, `end`, `source` of a published starting point, `retry_of`, `reason`, `device`, `host`, `process`.
    """
    table = pandas.DataFrame([_row(trial, objectives) for trial in trials])
    return table.dropna(axis="columns", how="all").convert_dtypes() if len(table) else table


def _row(trial: TrialRecord, objectives: Sequence[str]) -> dict[str, Any]:
    names = ["value"] if len(objectives) == 1 else [f"value_{name}" for name in objectives]
    values: Sequence[float | None] = trial.values or [None] * len(objectives)
    seconds = trial.seconds.measured() if trial.seconds != Seconds() else {}
    return {
        "number": trial.number,
        "state": trial.state,
        "outcome": trial.outcome,
        **dict(zip(names, values, strict=False)),
        "rung": trial.last_rung,
        **{f"params_{name}": value for name, value in trial.params.items()},
        **{f"effective_{name}": value for name, value in trial.effective.items()},
        **{f"metric_{name}": value for name, value in trial.last_scores.items()},
        **{f"seconds_{name}": value for name, value in seconds.items()},
        **{name: getattr(trial, name) for name in NUMBER_FIELDS},
        "start": trial.started,
        "end": trial.completed,
        **{name: getattr(trial, name) for name in TEXT_FIELDS},
        "device": trial.provenance.device or None,
        "host": trial.worker.host if trial.worker else None,
        "process": trial.worker.pid if trial.worker else None,
    }
