"""The commented starter study and search space that `hpo init` writes."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from hpo.atomic import atomic_file
from hpo.errors import SpecError

STARTER_FILES = {"studies/first.toml": "starter_study.toml", "search_spaces/finetune.toml": "starter_space.toml"}


def write_starter(folder: Path) -> list[Path]:
    """Write the starter files below a folder and return their paths.

    Raises SpecError if one of them exists already; then nothing is written.
    """
    existing = [folder / name for name in STARTER_FILES if os.path.lexists(folder / name)]
    if existing:
        raise SpecError(existing[0], "", "exists already; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise SpecError(folder, "", "is a file; choose a folder")
    written = []
    try:
        for name, template in STARTER_FILES.items():
            target = folder / name
            with atomic_file(target) as temporary:
                temporary.write_text((files("hpo.study") / template).read_text(encoding="utf8"), encoding="utf8")
            written.append(target)
    except OSError as error:
        raise SpecError(folder, "", f"cannot be written: {error.strerror}; choose another folder") from None
    return written
