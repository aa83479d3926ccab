"""Checksums of model folders that a test has changed."""

from __future__ import annotations

import json
from pathlib import Path

from hpo.training.model_folder import INFO_FILE, hash_file


def renew_checksums(folder: Path) -> None:
    """Store the checksums of the files as they are now, as whoever crafts a folder can, so that it is read at all."""
    try:
        info = json.loads((folder / INFO_FILE).read_text())
    except (OSError, ValueError):
        return  # without it, the folder is refused anyway
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != INFO_FILE]
    info["files"] = {file.relative_to(folder).as_posix(): hash_file(file) for file in files}
    (folder / INFO_FILE).write_text(json.dumps(info))
