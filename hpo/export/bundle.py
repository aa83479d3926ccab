"""The bundle: one zip file with everything that another machine needs to reproduce the winner. Its format and reader.

A bundle may come from a stranger. It is read into memory with size limits and checksums, and nothing is unpacked to
disk under a name that the archive chooses.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from hpo.data.splits import Split
from hpo.errors import SpecError
from hpo.evaluation.comparison_result import FrozenRecord
from hpo.results.best_config import SeedScores

Model = TypeVar("Model", bound=BaseModel)
RowDigest = tuple[str, int]  # digest of a row's text, and its label
BUNDLE_VERSION = 1
MANIFEST, STUDY, BEST, DATA, ROWS = "manifest.json", "study.toml", "best.json", "data.json", "rows.csv"
COMPARISON_FILE, CONSTRAINTS = "comparison.json", "constraints.txt"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of a study: it becomes the name of a folder
MAX_BYTES = 256 * 2**20  # of all files of a bundle, unpacked


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


def row_digests(split: Split) -> list[RowDigest]:
    """Return, per row, the first 16 hexadecimal digits of the text's SHA-256, and the label's index."""
    return [
        (hashlib.sha256(text.encode()).hexdigest()[:16], label)
        for text, label in zip(split.texts, split.labels, strict=True)
    ]
