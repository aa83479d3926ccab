"""Write the bundle of a study; see `hpo.export.bundle` for the format."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import tomli_w

from hpo import __version__
from hpo.data.splits import TextData
from hpo.errors import StudyError
from hpo.export.bundle import (
    BEST,
    BUNDLE_VERSION,
    COMPARISON_FILE,
    CONSTRAINTS,
    DATA,
    MANIFEST,
    ROWS,
    STUDY,
    Manifest,
    row_digests,
)
from hpo.report import build_report
from hpo.results.best_config import best_config_dict, find_best_config, stored_data
from hpo.results.study_results import StudyResults
from hpo.study.spec import StudySpec

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal content gives equal bundles


def write_bundle(results: StudyResults, target: Path) -> None:
    """Write the bundle of a study to a file.

    It holds the report and the comparison, which the ledger of the test split records. Raises StudyError if the winner
    has no retrained runs: a reproduction could not be compared with anything.
    """
    best = find_best_config(results)
    if not best.runs:
        raise StudyError(
            "the best trial has no retrained runs that a reproduction could be compared with; "
            f"`{results.spec.command('retrain')}` trains them"
        )
    comparison = results.compare()
    original = {
        **best_config_dict(results),
        "failed": len(results.spec.final.seed_list) - len(best.runs),
        "device": results.study.device,
    }
    files = {
        STUDY: study_as_toml(results.spec, results.accelerations).encode(),
        BEST: _json_bytes(original),
        DATA: _json_bytes(asdict(stored_data(results))),
        CONSTRAINTS: pip_constraints().encode(),
        **{name: content.encode() for name, content in build_report(results).items()},
    }
    if results.data is not None:
        files[ROWS] = _rows_csv(results.data)
    if comparison is not None:
        files[COMPARISON_FILE] = _json_bytes(comparison.without_paths().model_dump())
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest = Manifest(bundle=BUNDLE_VERSION, hpo=__version__, study=results.spec.name, files=checksums)
    _write_archive(target, {MANIFEST: _json_bytes(manifest.model_dump()), **dict(sorted(files.items()))})


def study_as_toml(spec: StudySpec, accelerations: Mapping[str, Any]) -> str:
    """Return a study as one self-contained study file: overrides, search space and defaults are written out.

    The storage URL is left out, because it may hold a password. Accelerations become fixed fields: another device would
    choose others, and so train other weights. The speed stays: it decides about kernels, which differ in the last bits.
    """
    training = {**spec.fixed, **accelerations, "speed": spec.speed}
    return tomli_w.dumps(_without_none({**spec.resolved(), "training": training}))


def pip_constraints() -> str:
    """Return the installed versions as pip constraints: `name==version`, one distribution per line.

    A local version such as 2.9.0+cpu is on no package index. Its base version is, and the local one satisfies it.
    """
    versions = {
        str(distribution.metadata["Name"]).lower().replace("_", "-"): distribution.version
        for distribution in distributions()
        if distribution.metadata["Name"] and distribution.version
    }
    lines = [f"# Python {platform.python_version()}; pip install --constraint constraints.txt hpo"]
    for name, version in sorted(versions.items()):
        base, _, local = version.partition("+")
        lines.append(f"{name}=={base}" + (f"  # installed: {version}" if local else ""))
    return "\n".join(lines) + "\n"


def _write_archive(target: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)


def _rows_csv(data: TextData) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "text_sha256", "label"))
    for name, split in data.splits().items():
        writer.writerows((name, digest, label) for digest, label in row_digests(split))
    return text.getvalue().encode()


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_none(value: Any) -> Any:
    """Remove keys whose value is None, which TOML cannot express."""
    if isinstance(value, Mapping):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
