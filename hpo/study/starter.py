"""The commented starter study and search space that `hpo init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from hpo.errors import SpecError

STARTER_FILES = {"studies/first.toml": "starter_study.toml", "search_spaces/finetune.toml": "starter_space.toml"}


def write_starter(folder: Path) -> list[Path]:
    """Write the starter files below a folder and return their paths.

    Raises SpecError if one of them exists already; then nothing is written.
    """
    existing = [folder / name for name in STARTER_FILES if (folder / name).exists()]
    if existing:
        raise SpecError(existing[0], "", "exists already; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise SpecError(folder, "", "is a file; choose a folder")
    written = []
    try:
        for name, template in STARTER_FILES.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((files("hpo.study") / template).read_text(encoding="utf8"), encoding="utf8")
            written.append(target)
    except OSError as error:
        raise SpecError(folder, "", f"cannot be written: {error.strerror}; choose another folder") from None
    return written
