"""What hpo may replace: only files and folders that it has written itself and that nobody has changed since.

A folder of ours holds a list of its files with checksums. Files that others have put into it are kept when it is
replaced. For single files, some of which have no place for a mark, the study's folder holds the list.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hpo.atomic import atomic_file, atomic_folder, exclusive_lock, folder_lock
from hpo.errors import StudyError

FILE_LIST = ".hpo-files.json"  # in a folder of ours: file -> SHA-256, or null for a large file
OUTPUT_LIST = ".hpo-outputs.json"  # in a study's folder: file, relative to the folder -> its last SHA-256s
CHOOSE_PATH = "choose another --output"
CHOOSE_OTHER = f"{CHOOSE_PATH}, or add --overwrite"
MOVE = "move it elsewhere"
_MAX_CHECKSUMS = 3  # of a file: processes that are killed, or that write at the same time, may leave an older one
_MAX_HASHED = 1 << 20  # bytes; weights are larger, and people do not edit them
# What file managers leave in any folder that somebody has opened.
_IGNORED = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")
# Files of earlier versions, which kept no lists. A folder has these names, a file begins or says so.
_EARLIER_INFO = ("recipe.json", "trial.json")
_EARLIER_NAMES = {
    *_EARLIER_INFO,
    *("README.md", "config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"),
    *("vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "spm.model", "chat_template.jinja"),
}
_EARLIER_MARKS = re.compile(
    rb"Created by hpo \d+\.\d+\.\d+\S* on \d{4}-\d\d-\d\d \d\d:\d\d UTC\."
    rb'|\A# The best configuration of study "'
    rb'|\A\{\n  "study": "[^"]+",\n  "objective": '
    rb"|\A---\n.*?\n- hyperparameter-search\n.*?\n---\n"
    rb'|\A"""The best configuration of study "',
    re.DOTALL,
)


# --- folders ----------------------------------------------------------------------------------------------------------


@contextmanager
def owned_folder(
    folder: Path, may_replace: Callable[[], bool] = lambda: True, overwrite: bool = False
) -> Iterator[Path]:
    """Yield a new folder to write to, as `atomic_folder` does, which replaces a folder of ours.

    Files that others have put into the old folder are kept. Raises StudyError like `check_folder`.
    """

    def may_replace_owned() -> bool:
        if not may_replace():
            return False
        _check_unlocked(folder, MOVE, overwrite)  # again, because writing may have taken long
        _keep_foreign_files(folder, new)
        return True

    check_folder(folder, overwrite=overwrite)
    with atomic_folder(folder, may_replace_owned) as new:
        yield new
        # Written over a list that was copied along with the files of another folder of ours.
        checksums = {name: _checksum(new / name) for name in sorted(_files_in(new))}
        (new / FILE_LIST).write_text(json.dumps({"files": checksums}, indent=2), encoding="utf8")


def check_folder(folder: Path, remedy: str = MOVE, overwrite: bool = False) -> None:
    """Raise StudyError for a path that `owned_folder` may not replace: what others have written or changed.

    With `overwrite`, only a file is refused.
    """
    if not os.path.lexists(folder):
        return
    with ExitStack() as stack:
        with suppress(OSError):  # a folder that may only be read is not replaced while it is checked
            stack.enter_context(folder_lock(folder))
        _check_unlocked(folder, remedy, overwrite)


def _check_unlocked(folder: Path, remedy: str, overwrite: bool) -> None:
    if not folder.is_dir():
        raise StudyError(f"{folder}: is not a folder; {remedy}")
    if overwrite or not _files_in(folder):
        return
    listed = _read_checksums(folder)
    if listed is None:
        raise StudyError(f"{folder}: exists and was not written by hpo; {remedy}")
    for name, checksum in listed.items():
        if checksum is not None and (folder / name).exists() and _checksum(folder / name) != checksum:
            raise StudyError(f"{folder / name}: was changed after hpo had written it; {remedy}")


def remove_owned_folder(folder: Path) -> None:
    """Remove the files of a folder that hpo has written, and the folder if it is empty then."""
    for name in [*(_read_checksums(folder) or {}), FILE_LIST]:
        with suppress(OSError):
            (folder / name).unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            path.rmdir()
    with suppress(OSError):
        folder.rmdir()


def _files_in(folder: Path) -> set[str]:
    """Return every file and link below a folder by its relative path, without the list and what file managers leave."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and not _IGNORED.fullmatch(path.name) and path != folder / FILE_LIST
    }


def _read_checksums(folder: Path) -> Mapping[str, str | None] | None:
    """Return the files that hpo has written into a folder, with checksums; None if the folder is not ours."""
    try:
        stored = json.loads((folder / FILE_LIST).read_text(encoding="utf8"))["files"]
        return {str(name): None if checksum is None else str(checksum) for name, checksum in stored.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        if any((folder / name).is_file() for name in _EARLIER_INFO):
            return dict.fromkeys(_EARLIER_NAMES & _files_in(folder))
        return None


def _keep_foreign_files(old: Path, new: Path) -> None:
    """Link the files that others have put into a folder into the one that replaces it, unless it has the name too."""
    for name in sorted(_files_in(old) - (_read_checksums(old) or {}).keys()):
        if os.path.lexists(new / name):
            continue
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old / name, new / name, follow_symlinks=False)
        except OSError:  # some file systems have no links
            shutil.copy2(old / name, new / name, follow_symlinks=False)


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def owned_file(file: Path, study_folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path to write to, as `atomic_file` does, which replaces a file of ours; the study's list gets its name.

    Raises StudyError like `check_files`.
    """
    check_files([file], study_folder, overwrite=overwrite)
    with atomic_file(file) as new:
        yield new
        check_files([file], study_folder, overwrite=overwrite)  # again, because writing may have taken long
        # Before the file is replaced: a process that is killed in between must not leave a file that is not listed.
        with suppress(OSError):  # a study that may only be read can be exported elsewhere
            _record_output(file, _checksum(new, limit=None), study_folder)


def check_files(files: Iterable[Path], study_folder: Path, remedy: str = CHOOSE_OTHER, overwrite: bool = False) -> None:
    """Raise StudyError for a file that hpo has not written, or that was changed since.

    With `overwrite`, only for what is no file at all, such as a folder or a device, and for a link to another file.
    """
    for file in files:
        if not os.path.lexists(file):
            continue
        if not file.is_file():
            raise StudyError(f"{file}: is {'a folder' if file.is_dir() else 'no file'}; {CHOOSE_PATH}")
        if overwrite and file.is_symlink():
            raise StudyError(f"{file}: is a link to {file.resolve()}; name that file, or remove the link")
        if overwrite:
            continue
        recorded = _read_outputs(study_folder).get(_output_key(file, study_folder))
        if recorded and _checksum(file, limit=None) not in recorded:
            raise StudyError(f"{file}: was changed after hpo had written it; {remedy}")
        if not recorded and not _is_of_earlier_version(file, study_folder):
            raise StudyError(f"{file}: exists and was not written by hpo; {remedy}")


def check_outside(output: Path, needed: Iterable[Path]) -> None:
    """Raise StudyError, whatever the user allows, for an output that is or lies in something that the study needs."""
    resolved = output.resolve()
    for path in map(Path.resolve, needed):
        if path == resolved or path in resolved.parents:
            raise StudyError(f"{output}: the study needs {path.name}, which is not replaced; {CHOOSE_PATH}")


def is_owned_file(file: Path, study_folder: Path) -> bool:
    """Whether hpo has written a file, and nobody has changed it since."""
    try:
        check_files([file], study_folder)
    except StudyError:
        return False
    return file.exists()


def _record_output(file: Path, checksum: str | None, study_folder: Path) -> None:
    study_folder.mkdir(parents=True, exist_ok=True)
    key = _output_key(file, study_folder)
    with exclusive_lock(study_folder, OUTPUT_LIST):
        outputs = _read_outputs(study_folder)
        outputs[key] = [*(old for old in outputs.get(key, []) if old != checksum), str(checksum)][-_MAX_CHECKSUMS:]
        with atomic_file(study_folder / OUTPUT_LIST) as new:
            new.write_text(json.dumps(dict(sorted(outputs.items())), indent=2), encoding="utf8")


def _read_outputs(study_folder: Path) -> dict[str, list[str]]:
    try:
        stored = json.loads((study_folder / OUTPUT_LIST).read_text(encoding="utf8"))
        return {str(key): [str(checksum) for checksum in checksums] for key, checksums in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _output_key(file: Path, study_folder: Path) -> str:
    """Return a file's path as the list has it: relative, so that a project can be moved."""
    return Path(os.path.relpath(os.path.realpath(file), os.path.realpath(study_folder))).as_posix()


def _is_of_earlier_version(file: Path, study_folder: Path) -> bool:
    """Whether a file in a study's folder has a mark of hpo; elsewhere it may be somebody's edited copy."""
    try:
        is_inside = file.resolve().is_relative_to(study_folder.resolve())
        return is_inside and _EARLIER_MARKS.search(file.read_bytes()) is not None
    except OSError:
        return False


def _checksum(file: Path, limit: int | None = _MAX_HASHED) -> str | None:
    """Return the SHA-256 of a file; None for one that is larger than the limit or does not exist."""
    try:
        if limit is not None and file.stat().st_size > limit:
            return None
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return None
