"""Provenance of a result: versions, device, data, and the state of the Git repository."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpo.study.spec import StudySpec

PACKAGES = (
    "hpo",
    "torch",
    "transformers",
    "optuna",
    "datasets",
    "evaluate",
    "accelerate",
    "scikit-learn",
    "numpy",
)


def installed_versions() -> dict[str, str]:
    """Return package -> installed version, including Python's own."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the repository that a folder is in, and whether it has uncommitted changes, or None."""
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "dirty": bool((_run_git(folder, "status", "--porcelain") or "").strip())}


def format_commit(git: Mapping[str, Any] | None) -> str:
    """Return the result of `git_state` as text."""
    if git is None:
        return "no repository"
    return str(git["commit"]) + (" with uncommitted changes" if git["dirty"] else "")


def describe_device() -> str:
    """Return the name of the accelerator that training runs on, or the CPU's architecture and number of threads."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {platform.machine()}, {torch.get_num_threads()} threads"


def collect_provenance(spec: StudySpec, data: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance that is stored with a study, as its attributes; see `records.StudyRecord`."""
    return {
        "spec_hash": spec.hash(),
        "overrides": spec.public_overrides,
        "data": data,
        "git": git_state(spec.file.parent),
        "versions": installed_versions(),
        "device": describe_device(),
        "seed": spec.search.seed,
    }


def _run_git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout if process.returncode == 0 else None
