"""Where a result comes from: versions, device, and the state of the working folder."""

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
    """Package -> installed version, Python included."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, and whether anything beside it lies changed, of the repository around a folder; None without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "dirty": bool((_git(folder, "status", "--porcelain") or "").strip())}


def format_commit(git: Mapping[str, Any] | None) -> str:
    """What `git_state` found, in words."""
    if git is None:
        return "no repository"
    return str(git["commit"]) + (" with uncommitted changes" if git["dirty"] else "")


def describe_device() -> str:
    """The accelerator that training runs on, or the processor and its number of threads."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {platform.machine()}, {torch.get_num_threads()} threads"


def collect_provenance(spec: StudySpec, data: dict[str, Any]) -> dict[str, Any]:
    """What is stored with a study: hash and overrides of its file, data, code, versions, device and seed."""
    return {
        "spec_hash": spec.hash(),
        "overrides": spec.told_overrides,
        "data": data,
        "git": git_state(spec.file.parent),
        "versions": installed_versions(),
        "device": describe_device(),
        "seed": spec.search.seed,
    }


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
