"""Read and write zip files, for bundles that were tampered with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from hpo.export.bundle import MANIFEST, STUDY


def read_zip(path: Path) -> dict[str, bytes]:
    """Return name -> content, in the order of the archive."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of these files; return its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def alter_bundle(path: Path, **changes: Any) -> Path:
    """Write a copy of a bundle with other content and correct checksums: JSON files updated, study.toml replaced."""
    files = read_zip(path)
    for stem, change in changes.items():
        if stem == "study":
            files[STUDY] = change.encode()
        else:
            files[f"{stem}.json"] = json.dumps(json.loads(files[f"{stem}.json"]) | change).encode()
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in manifest["files"]}
    files[MANIFEST] = json.dumps(manifest).encode()
    return write_zip(path.with_name(f"altered-{path.name}"), files)
