"""Bundles that were tampered with: their files changed, their checksums right again, or not."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from hpo.export.bundle import MANIFEST, STUDY


def contents(path: Path) -> dict[str, bytes]:
    """Name -> content, in the order of the archive."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def altered(path: Path, **changes: Any) -> Path:
    """A bundle beside another, as a clever stranger would make it: JSON files updated, study.toml replaced."""
    files = contents(path)
    for stem, change in changes.items():
        if stem == "study":
            files[STUDY] = change.encode()
        else:
            files[f"{stem}.json"] = json.dumps(json.loads(files[f"{stem}.json"]) | change).encode()
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in manifest["files"]}
    files[MANIFEST] = json.dumps(manifest).encode()
    return zipped(path.with_name(f"altered-{path.name}"), files)
