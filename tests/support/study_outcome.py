"""What a project must be after its commands were killed and run to their end: the same as without kills."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

# Attributes that do not depend on time, machine or process.
_EXACT = ("seed", "metrics", "effective", "steps", "tokens", "validation", "test", "reason", "starting_point", "source")
_PREDICTIONS = "predictions_sha256"
# What differs between two undisturbed runs: dates, seconds, and how often the test split was used.
_VOLATILE = re.compile(r"\.hpo-\w+\.json|recipe\.json|trial\.json|report\.(html|md)|store\.db(-wal|-shm)?|README\.md")
_LISTS = {".hpo-files.json", ".hpo-outputs.json"}  # of checksums, which stay


def read_outcome(project: Path, study: str) -> dict[str, Any]:
    """Return everything about a study that no kill may change: trials, final runs, predictions, verdict, and files."""
    outcome: dict[str, Any] = {"files": _read_files(project)}
    storage = f"sqlite:///{project}/store.db"
    for name in optuna.get_all_study_names(storage):
        stored = optuna.load_study(study_name=name, storage=storage)
        outcome["verdict"] = stored.user_attrs.get("verdict") or outcome.get("verdict") or {}
        if name == study:
            outcome["trials"] = _describe_trials(stored.get_trials())
        else:
            outcome["runs"] = _describe_runs(stored.get_trials())
    outcome["verdict"] = {key: value for key, value in outcome["verdict"].items() if key != "when"}
    return json.loads(json.dumps(outcome))


def find_faults(place: Path, study: str, expected: dict[str, Any]) -> list[str]:
    """Return what is wrong in a folder of `Place` after the last command has ended; nothing if all is well."""
    project = place / "project"
    outcome = read_outcome(project, study)
    faults = [f"differs: {difference}" for difference in _list_differences(expected, outcome, "")]
    faults += [f"left over: {path}" for path in _find_leftovers(place, study)]
    storage = f"sqlite:///{project}/store.db"
    referenced = set()
    for name in optuna.get_all_study_names(storage):
        stored = optuna.load_study(study_name=name, storage=storage)
        for trial in stored.get_trials():
            if trial.state in (TrialState.RUNNING, TrialState.WAITING):
                faults.append(f"{name}: #{trial.number} is {trial.state.name}")
            referenced |= {meta.artifact_id for meta in get_all_artifact_meta(trial, storage=stored._storage)}
    folder = project / "store.artifacts"
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    faults += [f"orphan artifact {name}" for name in sorted(present - referenced)]
    faults += [f"missing artifact {name}" for name in sorted(referenced - present)]
    with sqlite3.connect(project / "store.db") as connection:
        ((integrity,),) = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return faults + ([f"integrity of the store: {integrity}"] if integrity != "ok" else [])


def _describe_trials(trials: list[FrozenTrial]) -> list[Any]:
    """Return one entry per trial, by its place in the order of an undisturbed search."""
    described = [
        [
            trial.user_attrs.get("place"),
            trial.state.name,
            trial.params,
            trial.value,
            trial.intermediate_values,
            {key: trial.user_attrs[key] for key in _EXACT if key in trial.user_attrs},
        ]
        for trial in trials
        if not str(trial.user_attrs.get("reason")).startswith("surplus")  # two workers have started the same one
    ]
    return sorted(described, key=lambda trial: json.dumps(trial[0]))


def _describe_runs(runs: list[FrozenTrial]) -> dict[str, list[Any]]:
    """Return the complete runs by key: one each. A run that was killed failed, and another row continued it."""
    described: dict[str, list[Any]] = {}
    for run in runs:
        if run.state == TrialState.FAIL and str(run.user_attrs.get("reason")).startswith(("killed", "interrupted")):
            continue
        key = json.dumps(run.user_attrs.get("key"), sort_keys=True)
        exact = {name: run.user_attrs[name] for name in (*_EXACT, _PREDICTIONS) if name in run.user_attrs}
        described.setdefault(key, []).append([run.state.name, run.value, exact])
    return described


def _read_files(project: Path) -> dict[str, str | None]:
    """Return the files of a project with their checksums. Artifacts have random names; runs have their checksums."""
    files: dict[str, str | None] = {}
    for path in sorted(path for path in project.rglob("*") if path.is_file()):
        if path.parent.name != "store.artifacts" and not path.name.startswith("store.db-"):
            is_exact = not _VOLATILE.fullmatch(path.name)
            name = path.relative_to(project).as_posix()
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest() if is_exact else None
    return files


def _find_leftovers(place: Path, study: str) -> list[str]:
    # Torch keeps a cache there, one per user, also without kills.
    temporary = [path for path in (place / "tmp").iterdir() if not path.name.startswith("torchinductor_")]
    ours = [
        path
        for folder in ("project", "cache")
        for path in (place / folder).rglob("*")
        if path.name.startswith(".hpo-") and path.name not in _LISTS
    ]
    states = [folder for name in ("workers", "saved") if (folder := place / "project" / study / name).exists()]
    return [path.relative_to(place).as_posix() for path in [*temporary, *ours, *states]]


def _list_differences(expected: Any, outcome: Any, path: str) -> Iterator[str]:
    """Yield where two JSON values differ, and how."""
    if isinstance(expected, dict) and isinstance(outcome, dict):
        pairs = [(str(key), expected.get(key), outcome.get(key)) for key in {**expected, **outcome}]
    elif isinstance(expected, list) and isinstance(outcome, list) and len(expected) == len(outcome):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(expected, outcome, strict=True))]
    elif expected != outcome:
        yield f"{path}: {str(expected)[:200]} -> {str(outcome)[:200]}"
        return
    else:
        return
    for key, before, after in pairs:
        yield from _list_differences(before, after, f"{path}/{key}")
