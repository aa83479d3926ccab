"""Read a folder per class with a .txt file per text, and skip what editors and other systems leave in folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from hpo.data.columns import Columns
from hpo.data.delimited import is_whole_number
from hpo.data.readers import RawTable, reading_errors
from hpo.data.text_encoding import read_text
from hpo.data.text_validation import is_empty
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
        entry.name: sorted(file for file in entry.iterdir() if file.suffix.lower() == ".txt" and is_text_file(file))
        for entry in folders
        if entry.name != _UNLABELED and entry.name not in excluded
    }
    return {name: paths for name, paths in files.items() if paths}


def is_text_file(path: Path) -> bool:
    """Whether a path is a file that is meant, not one that an editor or an operating system has left."""
    return path.is_file() and not is_leftover(path.name)


def read_class_folders(folder: Path, columns: Columns, excluded: Collection[str] = ()) -> RawTable:
    """Return the texts of a folder that has a folder per class.

    Raises DataError if it has none, for a bad file, and for a study that needs columns.
    """
    columns.refuse_split_columns(folder)
    table = RawTable(str(folder))
    classes = find_class_folders(folder, excluded)
    for label, files in classes.items():
        for file in files:
            with reading_errors(file):
                table.texts.append(read_text(file, columns.options))
            if is_empty(table.texts[-1]):
                raise DataError(f"{file}: is empty; fill or remove it")
            table.labels.append(label)
    if not table.texts:
        raise DataError(f"{folder}: no texts; expected a folder for each label, with .txt files in it")
    if all(map(is_whole_number, table.labels)):
        table.labels = list(map(int, table.labels))  # so that class 10 comes after class 2
    if ignored := _find_ignored(folder, classes, excluded):
        first = ignored[0].relative_to(folder)
        table.notices.append(
            f"{folder}: {len(ignored)} files are not read, such as {first}: a class is a folder with .txt files in it"
        )
    return table


def _find_ignored(folder: Path, classes: Mapping[str, list[Path]], excluded: Collection[str]) -> list[Path]:
    """Return the files below a folder that belong to no class: of other formats, or in deeper folders."""
    known = {file for files in classes.values() for file in files}
    candidates = [
        path
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name not in excluded and not is_leftover(entry.name)
        for path in sorted(entry.rglob("*"))
    ]
    return [
        path
        for path in candidates
        if path not in known and path.is_file() and not any(map(is_leftover, path.relative_to(folder).parts))
    ]
