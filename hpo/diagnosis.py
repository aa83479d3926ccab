"""Diagnosis: check the environment, a store with its artifacts, and the models of a study. Changes nothing."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.atomic import list_leftovers
from hpo.errors import ModelError
from hpo.search.engines.processes import count_processors
from hpo.store.attributes import WORKER, WorkerIdentity, read_part
from hpo.store.provenance import describe_device, installed_versions
from hpo.store.run_record import remaking_command
from hpo.store.storage import artifact_folder, missing_store_error, store_exists
from hpo.store.store_checks import Finding, StoreContent, StoredRow, check_store
from hpo.store.worker_lock import is_alive
from hpo.study.spec import StudySpec
from hpo.study.storage_url import StorageUrl
from hpo.training.library_internals import has_bf16_instructions
from hpo.training.model_folder import INFO_FILE, check_files, read_model_info

_ARTIFACT_PREFIX = "artifacts:"  # of the system attributes in which Optuna keeps what artifacts a trial has


@dataclass(frozen=True)
class Diagnosis:
    """What a diagnosis has looked at, and what it has found."""

    environment: dict[str, Any]
    findings: list[Finding]

    @property
    def is_damaged(self) -> bool:
        """Whether something is wrong that the next command will not put right by itself."""
        return any(finding.is_damage for finding in self.findings)


def diagnose(spec: StudySpec | None, url: str | None) -> Diagnosis:
    """Check the environment, the store at `url` with its artifacts, and the folders of the study if one is given."""
    findings = list(_check_temporary_files([Path(tempfile.gettempdir())]))
    if url is not None:
        findings += _check_url(StorageUrl.parse(url), url, spec)
    if spec is not None:
        findings += _check_models(spec)
        findings += _check_temporary_files([spec.folder])
    return Diagnosis(describe_environment(), findings)


def describe_environment() -> dict[str, Any]:
    """Return versions, device, threads, and whether the processor multiplies in bfloat16."""
    import torch

    return {
        "versions": installed_versions(),
        "device": describe_device(),
        "threads": torch.get_num_threads(),
        "processors": count_processors(),
        "bf16": has_bf16_instructions() or torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    }


def _check_url(location: StorageUrl, url: str, spec: StudySpec | None) -> list[Finding]:
    if not store_exists(url):
        raise missing_store_error(location.file)
    content = check_store(location)
    findings = list(content.findings)
    if spec is not None:
        findings += _check_workers(content, spec)
    if location.file is not None or spec is not None:
        folder = artifact_folder(url, spec.file.parent if spec else Path())
        findings += _check_artifacts(content, folder)
        findings += _check_temporary_files([folder, folder.parent])
    return findings


def _check_workers(content: StoreContent, spec: StudySpec) -> Iterator[Finding]:
    """Find running trials whose worker is dead."""
    for row in content.rows:
        if row.state != "RUNNING" or row.study.removesuffix("/final") != spec.name:
            continue
        worker = row.user_attrs.get(WORKER)
        if worker is None or is_alive(read_part(WorkerIdentity, worker), spec.folder) is False:
            yield Finding(str(row), "is running, but its worker is dead", "the next command continues it", False)


def _check_artifacts(content: StoreContent, folder: Path) -> Iterator[Finding]:
    """Find artifacts that are missing or damaged, and files in their folder that belong to nothing."""
    known: set[str] = set()
    for row in content.rows:
        for meta in _artifacts_of(row):
            known.add(meta["artifact_id"])
            if problem := _describe_artifact(folder / meta["artifact_id"], row):
                command = remaking_command(str(row.user_attrs.get("system", "")))
                name = meta.get("filename", "artifact")
                yield Finding(str(row), f"its {name} {problem}", f"`{command}` makes it again")
    # Files of the dashboard belong to a study, under names that it keeps to itself; only predictions are ours.
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.name not in known and _is_predictions(file):
            yield Finding(str(file), "belongs to no run: its process was killed", "it may be deleted", False)


def _artifacts_of(row: StoredRow) -> list[dict[str, Any]]:
    stored = [value for key, value in row.system_attrs.items() if key.startswith(_ARTIFACT_PREFIX)]
    metas = []
    for value in stored:
        try:
            meta = value if isinstance(value, dict) else json.loads(value)
        except (ValueError, TypeError):
            continue
        if isinstance(meta, dict) and isinstance(meta.get("artifact_id"), str):
            metas.append(meta)
    return metas


def _describe_artifact(file: Path, row: StoredRow) -> str | None:
    try:
        content = file.read_bytes()
    except OSError:
        return f"is missing from {file.parent}"
    checksum = row.user_attrs.get("predictions_sha256")
    if checksum and hashlib.sha256(content).hexdigest() != checksum:
        return "is damaged"
    return None


def _is_predictions(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(20).startswith(b"row,label,predicted")
    except OSError:
        return False


def _check_models(spec: StudySpec) -> Iterator[Finding]:
    if not (spec.model_folder / INFO_FILE).exists():
        return
    try:
        check_files(spec.model_folder, read_model_info(spec.model_folder))
    except ModelError as error:
        place, _, rest = str(error).partition(": ")
        problem, _, remedy = rest.partition("; ")
        yield Finding(place, problem, remedy)


def _check_temporary_files(folders: Iterable[Path]) -> Iterator[Finding]:
    for folder in folders:
        for path in list_leftovers(folder):
            remedy = "the next command that writes there removes it"
            yield Finding(str(path), "was left by a killed process", remedy, False)
