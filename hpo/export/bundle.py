"""The bundle: one zip file with everything that another machine needs to reproduce the winner; written and read here.

A bundle may come from a stranger. It is read into memory with size limits and checksums, and nothing is unpacked to
disk under a name that the archive chooses.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, Field, ValidationError

from hpo import __version__
from hpo.data.splits import Split, TextData
from hpo.errors import SpecError, StudyError
from hpo.evaluation.comparison_result import FrozenRecord
from hpo.report import write_report
from hpo.results.best_config import SeedScores, best_config_dict, find_best_config, stored_data
from hpo.results.study_results import StudyResults
from hpo.study.spec import StudySpec

Model = TypeVar("Model", bound=BaseModel)
RowDigest = tuple[str, int]  # digest of a row's text, and its label
BUNDLE_VERSION = 1
MANIFEST, STUDY, BEST, DATA, ROWS = "manifest.json", "study.toml", "best.json", "data.json", "rows.csv"
COMPARISON_FILE, CONSTRAINTS = "comparison.json", "constraints.txt"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of a study: it becomes the name of a folder
REPORT_FILES = ("report.html", "report.md", "best_config.toml")
MAX_BYTES = 256 * 2**20  # of all files of a bundle, unpacked
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal content gives equal bundles


class Manifest(FrozenRecord):
    """The files of a bundle with their checksums, and the version of the format."""

    bundle: int = Field(description="Version of the format")
    hpo: str
    study: str = Field(pattern=NAME_PATTERN)
    files: dict[str, str] = Field(description="Name -> SHA-256 of the content")


class OriginalResult(FrozenRecord):
    """The part of `best_config_dict` of the exported study that a reproduction is compared with."""

    objective: str
    values: dict[str, Any]
    validation: SeedScores | None
    test: SeedScores | None
    failed: int = Field(0, description="Retrained runs that failed")
    versions: dict[str, str]
    device: str = ""


class BundledData(FrozenRecord):
    """What a bundle records of the data; the texts themselves are not in it."""

    fingerprint: str
    rows: dict[str, int]
    labels: list[str]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and whose checksums are correct."""

    path: Path
    manifest: Manifest
    study: bytes
    best: OriginalResult
    data: BundledData
    rows: dict[str, list[RowDigest]]  # by split; empty if the texts were missing at the export


# --- writing ----------------------------------------------------------------------------------------------------------


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
        **_report_files(results),
    }
    if results.data is not None:
        files[ROWS] = _rows_csv(results.data)
    if comparison is not None:
        # The command of the exporting machine holds the path of its study file, which is nobody else's business.
        public = comparison.model_copy(update={"baseline_command": "hpo baseline STUDY"})
        files[COMPARISON_FILE] = _json_bytes(public.model_dump())
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest = Manifest(bundle=BUNDLE_VERSION, hpo=__version__, study=results.spec.name, files=checksums)
    _write_archive(target, {MANIFEST: _json_bytes(manifest.model_dump()), **dict(sorted(files.items()))})


def study_as_toml(spec: StudySpec, accelerations: Mapping[str, Any]) -> str:
    """Return a study as one self-contained study file: overrides, search space and defaults are written out.

    The storage URL is left out, because it may hold a password. Accelerations become fixed fields: another device would
    choose others, and so train other weights.
    """
    training = {**spec.fixed, **accelerations, "speed": "exact"}
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


def row_digests(split: Split) -> list[RowDigest]:
    """Return, per row, the first 16 hexadecimal digits of the text's SHA-256, and the label's index."""
    return [
        (hashlib.sha256(text.encode()).hexdigest()[:16], label)
        for text, label in zip(split.texts, split.labels, strict=True)
    ]


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


def _report_files(results: StudyResults) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_report(results, Path(folder))
        files = [Path(folder) / name for name in REPORT_FILES]
        return {file.name: file.read_bytes() for file in files if file.exists()}


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_none(value: Any) -> Any:
    """Remove keys whose value is None, which TOML cannot express."""
    if isinstance(value, Mapping):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


# --- reading ----------------------------------------------------------------------------------------------------------


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and verify every checksum; nothing is unpacked to disk.

    Raises SpecError if the file is no bundle, is damaged or too large, or has a newer format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                limit = f"more than the {MAX_BYTES / 2**20:,.0f} MB of a bundle"
                raise SpecError(path, "", f"holds {size / 2**20:,.0f} MB, {limit}; hpo did not write it")
            manifest = _parse(path, MANIFEST, Manifest, _read_entry(path, archive, MANIFEST))
            if manifest.bundle > BUNDLE_VERSION:
                raise SpecError(path, "", f"was written by hpo {manifest.hpo}, which is newer; pip install -U hpo")
            names = dict.fromkeys([STUDY, BEST, DATA, *manifest.files])
            files = {name: _read_verified(path, archive, manifest, name) for name in names}
    except FileNotFoundError:
        raise SpecError(path, "", "no such file; `hpo export STUDY --format bundle` writes one") from None
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        # zipfile raises any of these for a damaged archive: RuntimeError for an encrypted entry, for example.
        reason = getattr(error, "strerror", None) or error
        raise SpecError(path, "", f"is not a readable bundle: {reason}") from None
    return Bundle(
        path,
        manifest,
        files[STUDY],
        _parse(path, BEST, OriginalResult, files[BEST]),
        _parse(path, DATA, BundledData, files[DATA]),
        _read_rows(path, files.get(ROWS, b"")),
    )


def _read_entry(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a file of the archive by its exact name, but no more bytes than its header announces."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise SpecError(path, "", f"has no {name}, so it is not a bundle of hpo, or it is incomplete") from None
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise SpecError(path, "", f"compresses {name} by a method that hpo does not use; export it again")
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def _read_verified(path: Path, archive: zipfile.ZipFile, manifest: Manifest, name: str) -> bytes:
    content = _read_entry(path, archive, name)
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        raise SpecError(path, "", f"is damaged or was modified: the checksum of {name} differs; copy it again")
    return content


def _parse(path: Path, name: str, model: type[Model], content: bytes) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"{part} " for part in first["loc"])
        raise SpecError(path, "", f"its {name} is invalid: {key}{first['msg']}") from None


def _read_rows(path: Path, content: bytes) -> dict[str, list[RowDigest]]:
    rows: dict[str, list[RowDigest]] = {}
    try:
        for row in csv.DictReader(io.StringIO(content.decode())):
            rows.setdefault(row["split"], []).append((row["text_sha256"], int(row["label"])))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise SpecError(path, "", f"its {ROWS} cannot be read: {error}") from None
    return rows
