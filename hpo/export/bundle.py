"""One zip that holds a study as another machine needs it to make the winner again; written here, and safely read."""

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
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpo import __version__
from hpo.data.splits import Split, TextData
from hpo.errors import SpecError, StudyError
from hpo.report import write_report
from hpo.results.best_config import BestConfig, best_config_dict, find_best_config
from hpo.results.study_results import StudyResults
from hpo.study.spec import StudySpec

Model = TypeVar("Model", bound=BaseModel)
BUNDLE_VERSION = 1
MANIFEST, STUDY, BEST, DATA, ROWS = "manifest.json", "study.toml", "best.json", "data.json", "rows.csv"
COMPARISON_FILE, CONSTRAINTS = "comparison.json", "constraints.txt"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of a study; a folder is called after it
REPORT_FILES = ("report.html", "report.md", "best_config.toml")
MAX_BYTES = 256 * 2**20  # bytes of all files of a bundle, unpacked
_WHEN = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal content makes an equal bundle


class Manifest(BaseModel):
    """Which files a bundle holds, and what the reader must know before it looks at them."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a later version may say more

    bundle: int = Field(description="Version of the format")
    hpo: str
    study: str = Field(pattern=NAME_PATTERN)
    files: dict[str, str] = Field(description="Name -> SHA-256 of the content")


class OriginalResult(BaseModel):
    """What `best.as_dict` told of the study that the bundle was made from, as far as it is needed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    objective: str
    values: dict[str, Any]
    validation: SeedScores | None
    test: SeedScores | None
    failed: int = Field(0, description="Fresh runs that did not come to their end")
    versions: dict[str, str]
    device: str = ""


class SeedScores(BaseModel):
    """The objective over fresh runs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mean: float
    sd: float | None
    values: list[float] = Field(min_length=1)
    seeds: list[int]

    @model_validator(mode="after")
    def _a_seed_each(self) -> SeedScores:
        if len(self.seeds) != len(self.values):
            raise ValueError(f"has {len(self.values)} values of {len(self.seeds)} seeds")
        return self


class DataSummary(BaseModel):
    """What is known of the rows without having them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    fingerprint: str
    rows: dict[str, int]
    labels: list[str]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and found whole."""

    path: Path
    manifest: Manifest
    study: bytes
    best: OriginalResult
    data: DataSummary
    rows: dict[str, list[tuple[str, int]]]  # split -> of each row the digest of its text, and its label; may be empty


# --- written ----------------------------------------------------------------------------------------------------------


def write_bundle(record: StudyResults, target: Path) -> None:
    """Put the bundle of a study into a file.

    Raises StudyError where the winner has no fresh runs yet: nobody could say whether others agree with them.
    """
    found = find_best_config(record)
    if not found.runs:
        raise StudyError(
            "the best trial has no fresh runs yet, which a reproduction would be held against; "
            f"`{record.spec.command('retrain')}` makes them"
        )
    files = {
        STUDY: study_as_toml(record.spec, record.levers).encode(),
        BEST: _json(
            {**best_config_dict(record), "failed": _failed(found), "device": record.search.user_attrs["device"]}
        ),
        DATA: _json(record.search.user_attrs["data"]),
        CONSTRAINTS: pip_constraints().encode(),
        **_reports(record),
    }
    if record.data is not None:
        files[ROWS] = _rows(record.data)
    if record.found is not None:
        files[COMPARISON_FILE] = _json(
            {**record.found, "make": "hpo baseline STUDY"}
        )  # without the path of the study file
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest = Manifest(bundle=BUNDLE_VERSION, hpo=__version__, study=record.spec.name, files=sums)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {MANIFEST: _json(manifest.model_dump()), **dict(sorted(files.items()))}.items():
            entry = zipfile.ZipInfo(name, _WHEN)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)


def study_as_toml(spec: StudySpec, levers: Mapping[str, Any]) -> str:
    """A study file that says what a study is, in one file: overrides, space, levers applied, defaults filled in.

    The storage URL is left out, which may hold a password. Levers are fixed, as another device would choose others.
    """
    training = {**spec.fixed, **levers, "speed": "exact"}
    return tomli_w.dumps(_without_none({**spec.resolved(), "training": training}))


def pip_constraints() -> str:
    """What pip needs to install the versions that run here: `name==version`, a line for each distribution.

    Local versions (2.9.0+cpu) are on no index, so their base version stands there, which they satisfy.
    """
    found = {
        str(each.metadata["Name"]).lower().replace("_", "-"): each.version
        for each in distributions()
        if each.metadata["Name"] and each.version
    }
    lines = [f"# Python {platform.python_version()}; pip install --constraint constraints.txt hpo"]
    for name, version in sorted(found.items()):
        base, _, local = version.partition("+")
        lines.append(f"{name}=={base}" + (f"  # here {version}" if local else ""))
    return "\n".join(lines) + "\n"


def row_digests(split: Split) -> list[tuple[str, int]]:
    """Of each row of a split the digest of its text, 16 hexadecimal digits, and its label's place."""
    return [
        (hashlib.sha256(text.encode()).hexdigest()[:16], label)
        for text, label in zip(split.texts, split.labels, strict=True)
    ]


def _rows(data: TextData) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("split", "text_sha256", "label"))
    for name, split in data.splits().items():
        table.writerows((name, digest, label) for digest, label in row_digests(split))
    return text.getvalue().encode()


def _reports(record: StudyResults) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        write_report(record, Path(folder))
        made = [Path(folder) / name for name in REPORT_FILES]
        return {file.name: file.read_bytes() for file in made if file.exists()}


def _failed(found: BestConfig) -> int:
    return len(found.record.spec.final.seed_list) - len(found.runs)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_none(value: Any) -> Any:
    """The same without what is not set, for which TOML has no word."""
    if isinstance(value, Mapping):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


# --- read -------------------------------------------------------------------------------------------------------------


def read_bundle(path: Path) -> Bundle:
    """The bundle in a file, every checksum found right; nothing is unpacked to the disk.

    Raises SpecError for what is no bundle, is damaged or too large, or was made by a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise SpecError(path, "", f"holds {size / 2**20:,.0f} MB, more than a bundle has; it is none of hpo's")
            manifest = _checked(path, MANIFEST, Manifest, _content(path, archive, MANIFEST))
            if manifest.bundle > BUNDLE_VERSION:
                raise SpecError(path, "", f"was made by hpo {manifest.hpo}, which is newer; pip install -U hpo")
            names = dict.fromkeys([STUDY, BEST, DATA, *manifest.files])
            files = {name: _verified(path, archive, manifest, name) for name in names}
    except FileNotFoundError:
        raise SpecError(path, "", "no such file; `hpo export STUDY --format bundle` makes one") from None
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(path, "", f"is no bundle that can be read: {reason}") from None
    return Bundle(
        path,
        manifest,
        files[STUDY],
        _checked(path, BEST, OriginalResult, files[BEST]),
        _checked(path, DATA, DataSummary, files[DATA]),
        _read_rows(path, files.get(ROWS, b"")),
    )


def _content(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive by its exact name, no longer than it says it is."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise SpecError(path, "", f"has no {name}, so it is no bundle of hpo, or not a whole one") from None
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise SpecError(path, "", f"has {name} packed as no bundle of hpo is")
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def _verified(path: Path, archive: zipfile.ZipFile, manifest: Manifest, name: str) -> bytes:
    content = _content(path, archive, name)
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        raise SpecError(path, "", f"is damaged or was changed: the checksum of {name} is another; fetch it once more")
    return content


def _checked(path: Path, name: str, model: type[Model], content: bytes) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part} " for part in first["loc"])
        raise SpecError(path, "", f"its {name} cannot be: {where}{first['msg']}") from None


def _read_rows(path: Path, content: bytes) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(content.decode())):
            found.setdefault(row["split"], []).append((row["text_sha256"], int(row["label"])))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise SpecError(path, "", f"its {ROWS} cannot be read: {error}") from None
    return found
