"""Fit a baseline's run once more to export its model, and check that the result is the model that was compared."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import optuna

from hpo.errors import StudyError
from hpo.evaluation.baselines import BASELINES, find_baseline
from hpo.evaluation.final_runs import FinalRuns, RunKey
from hpo.evaluation.refitted_model import RefittedModel
from hpo.evaluation.scores import compute_metric, normalize_rows
from hpo.evaluation.stored_systems import find_baseline_trials
from hpo.evaluation.winner import find_winner
from hpo.store.attributes import RunProvenance
from hpo.store.run_record import RunRecord
from hpo.study.spec import StudySpec
from hpo.training.metrics import METRICS

TOLERANCE = 1e-4  # of a score on validation; the same machine and versions give the same score to the last digit


def find_baseline_runs(spec: StudySpec, search: optuna.Study, companion: optuna.Study, name: str) -> list[RunRecord]:
    """Return the complete runs of a baseline that can be exported, in the order of their seeds.

    Raises:
        StudyError: The baseline is unknown, has no model to export, or has no complete run.
    """
    baseline = find_baseline(name, spec)
    if baseline.refit is None:
        exportable = ", ".join(known for known, row in BASELINES.items() if row.refit)
        raise StudyError(f"baseline {name} has no model to export; those with one: {exportable}")
    values = find_winner(spec, search, companion)[0].values if baseline.needs_search else {}
    records = map(RunRecord.from_trial, find_baseline_trials(name, spec, companion, values))
    complete = [record for record in records if record.is_complete]
    if not complete:
        raise StudyError(
            f"baseline {name} has no model to export: not all of its runs were made, or they failed; "
            f"`{spec.command('baseline', name)}` makes those that are missing"
        )
    return complete


def refit_run(final: FinalRuns, run: RunRecord, name: str) -> RefittedModel:
    """Fit a stored run of a baseline once more.

    Raises:
        StudyError: Its scores on validation are not those of the stored run, so it is another model.
        TrainingError: It could not be trained again.
    """
    baseline = find_baseline(name, final.spec)
    assert baseline.refit is not None and run.validation is not None
    final.listener.begins(name, run.seed)
    if baseline.fine_tunes:  # the others take seconds
        final.listener.notice(f"{name}, seed {run.seed}: only its scores were kept, so it is trained again")
    model = baseline.refit(final, RunKey(**run.key), name)
    labels, probabilities = np.asarray(final.data.validation.labels), normalize_rows(model.validation)
    for metric in (metric for metric in run.validation.metrics if metric in METRICS):
        score, stored = compute_metric(metric, labels, probabilities), run.validation.metrics[metric]
        if not math.isclose(score, stored, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise StudyError(
                f"{name}, seed {run.seed}: fitted again, it has {metric} {score:.6f} on validation, but {stored:.6f} "
                f"is stored, so it is not the model that was compared; {_explain(run.provenance, final.provenance)}"
            )
    return model


def _explain(stored: RunProvenance, present: RunProvenance) -> str:
    """Say what differs between the provenance of a stored run and that of a present one."""
    differing = [
        f"{package} {version} -> {present.versions.get(package, 'none')}"
        for package, version in stored.versions.items()
        if present.versions.get(package) != version
    ]
    for name in (field.name for field in fields(RunProvenance) if field.name in ("data", "device")):
        if getattr(stored, name) != getattr(present, name):
            differing.append(f"{name} {getattr(stored, name)} -> {getattr(present, name)}")
    return f"what differs: {', '.join(differing)}" if differing else "no recorded version, device or data differ"
