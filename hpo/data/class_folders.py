"""Read a folder per class with a .txt file per text, and skip what editors and other systems leave in folders."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hpo.data.columns import ReadOptions
from hpo.data.delimited import is_whole_number
from hpo.data.readers import RawTable, reading_errors
from hpo.data.text_encoding import read_text
from hpo.errors import DataError

# Besides names that start with a dot: macOS archives, Windows, Synology, Linux file systems and Python.
_LEFTOVERS = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"}
_LEFTOVERS |= {"lost+found", "__pycache__"}
_UNLABELED = "unsup"  # aclImdb keeps its unlabeled reviews in train/unsup


def is_leftover(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an editor or an operating system."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def find_class_folders(folder: Path, excluded: Collection[str] = ()) -> dict[str, list[Path]]:
    """Return the text files of each class folder below a folder, by the name of the class."""
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_leftover(entry.name))
    files = {
        entry.name: sorted(file for file in entry.glob("*.txt") if not is_leftover(file.name) and file.is_file())
        for entry in folders
        if entry.name != _UNLABELED and entry.name not in excluded
    }
    return {name: paths for name, paths in files.items() if paths}


def read_class_folders(folder: Path, options: ReadOptions, excluded: Collection[str] = ()) -> RawTable:
    """Return the texts of a folder that has a folder per class. Raises DataError if it has none."""
    table = RawTable(str(folder))
    for label, files in find_class_folders(folder, excluded).items():
        for file in files:
            with reading_errors(file):
                table.texts.append(read_text(file, options))
            table.labels.append(label)
    if not table.texts:
        raise DataError(f"{folder}: no texts; expected a folder for each label, with .txt files in it")
    if all(map(is_whole_number, table.labels)):
        table.labels = list(map(int, table.labels))  # so that class 10 comes after class 2
    return table
